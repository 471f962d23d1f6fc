"""The commands of `tfaudio`, one module each, and the contract between them and the dispatcher.

`tfaudio COMMAND [flags] [arguments]` is answered by the module that `tfaudio.cli.main.COMMANDS` names. Such a
module defines three names and nothing that the dispatcher has to guess:

    USAGE: str
        The text above the flags in `tfaudio COMMAND --help`: the call's form on the first line, then, after a
        blank line, what the command does and an example. It is printed as written.

    def define_flags(flag_values: absl.flags.FlagValues) -> None
        Defines the command's flags on `flag_values`, never on the global `absl.flags.FLAGS`:
        `flags.DEFINE_integer("epochs", 60, "Passes over the training examples.", flag_values=flag_values)`.
        Required flags by `flags.mark_flag_as_required("run_dir", flag_values)`. Help lists them in this order.

    def main(flag_values: absl.flags.FlagValues, arguments: list[str]) -> int
        Does the work and returns the exit code: 0, or 1 where the work was done and its outcome is a refusal
        (an export that fails its gate). `flag_values.epochs` is a parsed value; `arguments` is what was given
        besides flags, in any position, without the command's own name.

Results go to stdout; progress and warnings go to stderr. A mistake that the user can mend is a `TfaudioError`,
which the dispatcher prints as one line; a wrong combination of flags or arguments is a `UsageError`, which
exits with 2 and points to `--help`. A command without arguments calls `refuse_arguments(arguments)`.

A module imports TensorFlow, and whatever imports it, inside `main`, so that its `--help` and its complaints
about flags come at once. Since each call has its own `FlagValues`, several commands can run in one process:
`tfaudio.cli.main.main(["train", ...])` returns the exit code and does not exit.
"""

from __future__ import annotations

import shlex
import sys

from tfaudio.errors import TfaudioError
from tfaudio.files import printable
from tfaudio.terminal import native_messages_hidden


class UsageError(TfaudioError):
    """Flags or arguments that do not go together; the command exits with 2 and points to its help."""


def refuse_arguments(arguments: list[str]) -> None:
    """Raises UsageError if something other than flags was given to a command that takes flags only."""
    if arguments:
        how = "--set=section.name=value, once for each setting" if "=" in arguments[0] else "--name=value"
        raise UsageError(f"Unexpected argument '{arguments[0]}'; this command takes flags only ({how}).")


def command_line() -> str:
    """Returns the command as typed, for whoever wants a stored figure again."""
    return printable(shlex.join(["tfaudio", *sys.argv[1:]]))


def load_tensorflow() -> None:
    """Imports TensorFlow without the half dozen lines on GPU libraries that it writes where there is no GPU.

    Commands call it when they have checked their flags and are about to do what takes TensorFlow.
    """
    with native_messages_hidden():
        import tensorflow

        tensorflow.config.list_physical_devices()  # which is when it looks for GPUs; it starts none
        # A command that runs one model after the other traces each once, which TensorFlow takes for a mistake.
        tensorflow.get_logger().addFilter(lambda record: "tf.function retracing" not in record.getMessage())
