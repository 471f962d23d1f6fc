"""`tfaudio transcribe`: strings of known words, such as digits."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfaudio.cli import UsageError, command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.settings import assignments, define_recipe, define_set, joined
from tfaudio.errors import TfaudioError
from tfaudio.files import check_can_write, refuse_existing_folder, write_json
from tfaudio.recipes import recipe

if TYPE_CHECKING:
    from tfaudio.config import RunConfig

USAGE = """tfaudio transcribe --run_dir=RUN RECORDING...

Writes down which words follow each other in recordings. It knows the words that it was trained on and no others, spoken
by one voice at a time with little noise: a small recogniser for digits or commands, not one for speech.

  tfaudio transcribe --dataset=fsdd --data_dir=FSDD --test_speakers=theo,lucas --output_dir=runs/digits
  tfaudio transcribe --run_dir=runs/digits number.wav

The first line trains on recordings of single words, joined to strings anew in every epoch, and reports the word error
rate on strings of the speakers that were left out.
"""


# What classifiers heed and recognisers do not.
_UNHEEDED = (
    *("clip.", "text.", "model.name", "model.score_activation", "training.label_smoothing", "data.test_"),
    *("data.validation_fraction", "data.left_out_fold", "data.train_on_all"),
)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("run_dir", None, "Recogniser to use.", flag_values=flag_values)
    flags.DEFINE_string("output_dir", None, "Train, into this folder.", flag_values=flag_values)
    flags.DEFINE_string(
        "dataset", "folder", "Single words to train on, as of `tfaudio train`.", flag_values=flag_values
    )
    flags.DEFINE_string("data_dir", None, "Where they lie.", flag_values=flag_values)
    flags.DEFINE_list(
        "test_speakers", None, "Speakers (groups) to test on and not to train on.", flag_values=flag_values
    )
    flags.DEFINE_integer("epochs", None, "Passes over as many strings as strings.per_epoch.", flag_values=flag_values)
    flags.DEFINE_integer("seed", None, "Every random choice follows from it.", flag_values=flag_values)
    flags.DEFINE_integer(
        "beam", 16, "Beginnings that the search keeps; 1 takes the likeliest symbol of each step.", lower_bound=1,
        flag_values=flag_values,
    )  # fmt: skip
    flags.DEFINE_string("json", None, "Write the result of training here too.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace what stands.", flag_values=flag_values)
    define_recipe(flag_values)
    define_set(flag_values, example="strings.longest=8")


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Trains, or transcribes."""
    if (flag_values.run_dir is None) == (flag_values.output_dir is None):
        raise UsageError("Give --run_dir with recordings to transcribe, or --output_dir to train.")
    return _transcribe(flag_values, arguments) if flag_values.run_dir else _train(flag_values, arguments)


def _transcribe(flag_values: flags.FlagValues, files: list[str]) -> int:
    if given := [name for name in flag_values if flag_values[name].present and name not in ("run_dir", "beam")]:
        raise UsageError(f"--{given[0]} is for training; with --run_dir there is nothing to train.")
    if not files:
        raise UsageError("Name at least one recording.")
    from tfaudio.config import ClipConfig
    from tfaudio.runtime.audio import read_windows

    load_tensorflow()
    from tfaudio.transcription.recognizer import load_recognizer

    recognizer = load_recognizer(flag_values.run_dir)
    rate, failed = recognizer.config.front_end.sample_rate, 0
    for file in files:
        try:
            ((_, waveform),) = read_windows(file, sample_rate=rate, clip=ClipConfig(seconds=None))
            (words,) = recognizer.transcribe([waveform], width=flag_values.beam)
        except TfaudioError as error:
            failed += 1
            print(json.dumps({"path": file, "error": str(error)}, ensure_ascii=False))
            continue
        print(json.dumps({"path": file, "words": list(words)}, ensure_ascii=False), flush=True)
    return 1 if failed else 0


def _train(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    refuse_arguments(arguments)
    if not flag_values.test_speakers:
        raise UsageError("--test_speakers is needed: what a recogniser makes of voices it knows says little.")
    if flag_values.beam == 1:
        raise UsageError("--beam=1 searches greedily, which training measures anyway; give 2 or more, or leave it out.")
    started, output_dir = time.monotonic(), Path(flag_values.output_dir)
    refuse_existing_folder(output_dir, overwrite=flag_values.overwrite)
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)
    config, string_settings = _settings(flag_values)

    load_tensorflow()
    from tfaudio.bundle import RESULT
    from tfaudio.data.labelled import read_labelled_data
    from tfaudio.evaluation.protocol import versions
    from tfaudio.transcription.recognizer import evaluate_recognizer, train_recognizer, words_of_speakers
    from tfaudio.transcription.strings import StringConfig

    strings = StringConfig.from_dict(string_settings)
    check_can_write(output_dir / RESULT, overwrite=flag_values.overwrite)
    data = read_labelled_data(config)
    for left_out in data.recordings.skipped:
        print(f"not used: {left_out.path}: {left_out.reason}", file=sys.stderr)
    recognizer = train_recognizer(config, strings, data, test_speakers=flag_values.test_speakers)
    recognizer.save(output_dir)  # before it is measured, which may fail, or be stopped
    words = {s: w for s, w in words_of_speakers(data).items() if s in flag_values.test_speakers}
    width = flag_values.beam
    errors = evaluate_recognizer(recognizer, words, width=width)
    record = {
        "dataset": data.spec.name,
        "protocol": "held_out_speakers",
        "train_speakers": list(recognizer.speakers),
        "by_speaker": errors,
        "word_error_rate": {
            search: sum(e[search]["word_error_rate"] for e in errors.values()) / len(errors)
            for search in ("greedy", "beam")
        },
        "beam_width": width,
        "skipped": [{"path": s.path, "reason": s.reason} for s in data.recordings.skipped],
        "seed": config.training.seed,
        "command": command_line(),
        "duration_seconds": round(time.monotonic() - started, 1),
        "versions": versions(),
        "strings": strings.to_dict(),
        "config": config.to_dict(),
    }
    write_json(output_dir / RESULT, record)
    if flag_values.json:
        write_json(flag_values.json, record)
    print(_table(errors))
    print(f"recogniser: {output_dir}")
    return 0


def _settings(flag_values: flags.FlagValues) -> tuple[RunConfig, dict[str, Any]]:
    """The settings of the run, and those of its strings."""
    from tfaudio.config import RunConfig

    chosen = {f"data.{name}": flag_values[name].value for name in ("dataset", "data_dir")}
    for name in ("epochs", "seed"):
        if flag_values[name].value is not None:
            chosen[f"training.{name}"] = flag_values[name].value
    chosen = joined(chosen, assignments(flag_values))
    for key in chosen:
        if f"{key}.".startswith(_UNHEEDED) or any(name.startswith(f"{key}.") for name in _UNHEEDED):
            raise UsageError(f"--set={key} has no effect here: speakers are left out, and strings are heard whole.")
    strings = {key.removeprefix("strings."): chosen.pop(key) for key in list(chosen) if key.startswith("strings.")}
    settings = recipe(flag_values.dataset, "ctc", name=flag_values.recipe)
    return RunConfig().override(joined(settings, {"model.name": "ctc"}, chosen)), strings


def _table(errors: dict[str, Any]) -> str:
    lines = [f"{'speaker':<16}{'search':<9}{'word errors':>12}{'95 % interval':>20}{'strings right':>15}"]
    for speaker, found in errors.items():
        for search, row in found.items():
            low, high = row["interval"]
            lines.append(
                f"{speaker:<16}{search:<9}{row['word_error_rate']:>12.1%}{f'{low:.1%} to {high:.1%}':>20}"
                f"{row['strings_right']:>15.1%}"
            )
    return "\n".join(lines)
