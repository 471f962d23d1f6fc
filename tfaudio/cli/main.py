"""Finds the command, parses its flags, runs it, and turns mistakes into one line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass
from typing import Protocol, cast

from absl import flags

import tfaudio
from tfaudio.cli import UsageError
from tfaudio.errors import TfaudioError
from tfaudio.terminal import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, bear_any_name, leave

EXIT_FAILURE = 1
EXIT_USAGE = 2

_HELP_FLAGS = ("--help", "-help", "-h", "--helpfull", "--helpshort")


class CommandModule(Protocol):
    """What a module of `tfaudio.cli` offers; see the package's docstring."""

    USAGE: str

    def define_flags(self, flag_values: flags.FlagValues) -> None: ...

    def main(self, flag_values: flags.FlagValues, arguments: list[str]) -> int: ...


@dataclass(frozen=True)
class Command:
    """A command's module, imported only when it is called, and its line in `tfaudio --help`."""

    module: str
    summary: str

    def load(self) -> CommandModule:
        return cast(CommandModule, importlib.import_module(self.module))


COMMANDS: dict[str, Command] = {
    "train": Command("tfaudio.cli.train", "train a classifier on labelled recordings, into a run folder"),
    "pretrain": Command("tfaudio.cli.pretrain", "find weights to start from on recordings without labels"),
    "evaluate": Command("tfaudio.cli.evaluate", "score a run on its test recordings"),
    "ensemble": Command("tfaudio.cli.ensemble", "average what several runs say, and score that"),
    "compare": Command("tfaudio.cli.compare", "test whether one run is better than another on the same recordings"),
    "robustness": Command("tfaudio.cli.robustness", "score a run on noisy, clipped, coded and echoing recordings"),
    "calibrate": Command("tfaudio.cli.calibrate", "make a run's scores as sure as they are right, and find thresholds"),
    "export": Command("tfaudio.cli.export", "write a SavedModel and .tflite files, and prove that they agree"),
    "optimize": Command("tfaudio.cli.optimize", "make a run smaller or better in int8 by training it on"),
    "predict": Command("tfaudio.cli.predict", "classify files and folders with a run or an exported model"),
    "transcribe": Command("tfaudio.cli.transcribe", "write down strings of known words, such as digits"),
    "features": Command("tfaudio.cli.features", "compute and draw features, or compare them all with librosa's"),
    "benchmark": Command("tfaudio.cli.benchmark", "measure what .tflite files take: time, memory, operators"),
    "info": Command("tfaudio.cli.info", "show what a run folder or a model file holds"),
    "models": Command("tfaudio.cli.models_table", "list the architectures: parameters, multiplications, papers"),
    "recipes": Command("tfaudio.cli.recipes", "list the settings that are known to work, by task"),
    "datasets": Command("tfaudio.cli.datasets", "list, fetch or audit data sets"),
}


def run(argv: list[str] | None = None) -> None:
    """Runs the console script, or a launcher's command, and exits with its code."""
    bear_any_name()
    leave(main(sys.argv[1:] if argv is None else argv))


def main(argv: list[str]) -> int:
    """Runs `tfaudio` with these arguments (without the program's name) and returns its exit code.

    Raises:
      Exception: whatever a command raises that is no TfaudioError: a defect, which keeps its traceback. What the
        system refuses at a path is none.
    """
    # Before the first import of TensorFlow, which reads them once. What the user has set stands.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    program = "tfaudio"
    try:
        if not argv or argv[0] in _HELP_FLAGS or argv == ["help"]:
            print(_overview())
            return 0
        if argv[0] == "--version":
            print(f"tfaudio {tfaudio.__version__}")
            return 0
        name, arguments = (argv[1], ["--help"]) if argv[0] == "help" else (argv[0], argv[1:])
        command = _find_command(name)
        program = f"tfaudio {name}"
        code = _run_command(program, command.load(), arguments)
        sys.stdout.flush()  # so that a closed pipe shows here, not at the interpreter's end
        return code
    except UsageError as error:
        return _complain(program, f"{error} See `{program} --help`.", EXIT_USAGE)
    except TfaudioError as error:
        return _complain("tfaudio", str(error), EXIT_FAILURE)
    except KeyboardInterrupt:
        return _complain("tfaudio", "interrupted", EXIT_INTERRUPTED, kind="")
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if not isinstance(error.filename, (str, bytes, os.PathLike)):
            raise
        problem = f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}; check the path and its permissions."
        return _complain("tfaudio", problem, EXIT_FAILURE)


def _run_command(program: str, module: CommandModule, arguments: list[str]) -> int:
    flag_values = flags.FlagValues()
    module.define_flags(flag_values)
    before_separator = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if any(argument in _HELP_FLAGS for argument in before_separator):
        print(_command_help(module, flag_values))
        return 0
    return module.main(flag_values, _parse(program, flag_values, arguments))


def _parse(program: str, flag_values: flags.FlagValues, arguments: list[str]) -> list[str]:
    """Sets the flags and returns the other arguments.

    Raises:
      UsageError: on an unknown flag, a value that does not fit, or a required flag left out.
    """
    # Otherwise the first file name would end the flags, and `predict a.wav --format=csv` look for a file of that name.
    flag_values.set_gnu_getopt(True)
    try:
        return list(flag_values([program, *_as_meant(flag_values, arguments)])[1:])
    except flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname.replace("-", "_"), list(flag_values), n=1)
        hint = f" Did you mean --{close[0]}?" if close else ""
        raise UsageError(f"Unknown flag --{error.flagname}.{hint}") from error
    except (flags.Error, ValueError) as error:  # a plain ValueError for --noflag=value
        raise UsageError(_reworded(str(error))) from error


def _reworded(message: str) -> str:
    """Says what absl says about a flag, in the words of someone who types it and knows no Python."""
    if missing := re.fullmatch(r"flag --(\w+)=None: Flag --\w+ must have a value other than None\.", message):
        return f"--{missing[1]} is needed."
    if number := re.fullmatch(
        r"flag --(\w+)=(.*): (invalid literal for int|could not convert string to float).*", message
    ):
        kind = "an integer" if "int" in number[3] else "a number"
        return f"--{number[1]} must be {kind}, not '{number[2]}'."
    return f"{message[:1].upper()}{message[1:].rstrip('.')}."


def _as_meant(flag_values: flags.FlagValues, arguments: list[str]) -> list[str]:
    """Accepts --data-dir for --data_dir, which many type by habit, and ~ behind a =, where shells leave it as it is."""
    result: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return result + arguments[position:]
        spelling, equals, value = argument.partition("=")
        name = spelling[2:].replace("-", "_")
        if name.startswith("no_") and name[3:] in flag_values:
            name = "no" + name[3:]
        known = spelling.startswith("--") and (name in flag_values or name.removeprefix("no") in flag_values)
        if value.startswith("~/"):
            value = os.path.expanduser(value)
        result.append(f"--{name}{equals}{value}" if known else argument)
    return result


def _find_command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    kind = "flag" if name.startswith("-") else "command"
    close = difflib.get_close_matches(name, list(COMMANDS), n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise UsageError(f"Unknown {kind} '{name}'; commands: {', '.join(COMMANDS)}.{hint}")


def _complain(program: str, message: str, code: int, *, kind: str = "error: ") -> int:
    print(f"{program}: {kind}{' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "tfaudio: from a labelled folder of recordings to a classifier that runs on a device.",
        "",
        "Usage: tfaudio COMMAND [--flag=value ...] [FILE ...]",
        "",
        *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        "`tfaudio COMMAND --help` lists a command's flags; `tfaudio --version` tells the version.",
    ]
    return "\n".join(lines)


def _command_help(module: CommandModule, flag_values: flags.FlagValues) -> str:
    width = min(100, max(60, shutil.get_terminal_size().columns))
    lines = [module.USAGE.strip(), "", "Flags:"]
    # By module, then in the order of definition: flags that commands share come from a helper module.
    for flag in [flag for group in flag_values.flags_by_module_dict().values() for flag in group]:
        text = re.sub(r"^<[^>]*>: ", "", flag.help or "").strip()  # absl's own list of an enum's values
        text = text.removesuffix(";\n    repeat this option to specify a list of values")
        if flag.default not in (None, "", []) and not flag.boolean:
            text += f" Default: {_default_text(flag)}."
        elif flag.boolean and flag.default:
            text += " Default: on."
        lines.append(f"  {_spelling(flag)}")
        lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _spelling(flag: flags.Flag) -> str:
    if flag.boolean:
        return f"--[no]{flag.name}"
    choices = getattr(flag.parser, "enum_values", None)
    if choices:
        return f"--{flag.name}={'|'.join(choices)}"
    kind = {"int": "INTEGER", "float": "NUMBER"}.get(flag.flag_type(), "VALUE")
    return f"--{flag.name}={kind}"


def _default_text(flag: flags.Flag) -> str:
    default = flag.default
    return ",".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)


if __name__ == "__main__":
    run()
