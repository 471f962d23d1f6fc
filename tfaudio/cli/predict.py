"""`tfaudio predict`: classify files, folders or standard input."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Protocol

from absl import flags

from tfaudio.cli import UsageError
from tfaudio.cli.recordings import expand_recordings
from tfaudio.errors import TfaudioError

if TYPE_CHECKING:
    from tfaudio.data.spec import Skipped

USAGE = """tfaudio predict --model=MODEL FILE_OR_FOLDER... [flags]

Classifies recordings of any format, rate and length. MODEL is a .tflite file, a SavedModel folder or a run folder;
labels, rate and window length come from it. A folder is searched for recordings; `-` reads one from standard input.
A long recording is read piece by piece; its score is the mean over its windows, or, with --per_window, each window
is told on its own. Where the run was calibrated (`tfaudio calibrate`), what is probably no class of the model's is told
as unknown. A model of sound and text (`tfaudio train --model=audio_text`) is told what is known of the recordings by
--text; without it their text is missing. Of a model that gives several classes all are told that reach their
thresholds, unless --top asks for a number of them.

  tfaudio predict --model=export/model_int8.tflite recordings --format=csv > labels.csv
"""

_FORMATS = ("table", "csv", "jsonl")


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("model", None, "The .tflite file, SavedModel or run folder.", flag_values=flag_values)
    flags.DEFINE_enum("format", "table", _FORMATS, "What to print.", flag_values=flag_values)
    flags.DEFINE_integer(
        "top",
        None,
        "Labels to show for each recording; left out, the best one, or all that reach their thresholds.",
        flag_values=flag_values,
        lower_bound=1,
    )
    flags.DEFINE_boolean("per_window", False, "One row a window instead of one a recording.", flag_values=flag_values)
    flags.DEFINE_string(
        "text", None, "About the recordings, for a model that takes text beside the sound.", flag_values=flag_values
    )
    flags.DEFINE_integer("threads", 1, "Threads of the TFLite interpreter.", flag_values=flag_values, lower_bound=1)
    flags.mark_flag_as_required("model", flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Classifies and prints; 1 if a recording could not be read."""
    if not arguments:
        raise UsageError("Name at least one file or folder to classify, or `-` for standard input.")
    if flag_values.top is not None and flag_values.format == "jsonl":
        raise UsageError("--format=jsonl tells the score of every label, so --top has no place beside it.")
    if flag_values["threads"].present and os.path.isdir(flag_values.model):
        raise UsageError(f"--threads is for .tflite files, and --model={flag_values.model} is a folder; leave it out.")
    skipped: list[Skipped] = []
    files = list(expand_recordings(arguments, skipped))

    from tqdm import tqdm

    from tfaudio.cli.models import open_model
    from tfaudio.runtime.audio import duration_seconds, read_windows
    from tfaudio.runtime.classifier import average, classify_windows

    model = open_model(flag_values.model, threads=flag_values.threads, text=flag_values.text)
    tells_unknown = model.unknown_below is not None
    top = 1 if flag_values.top is None and model.thresholds is None else flag_values.top
    top = None if top is None else min(top, len(model.labels))  # as many columns as there will be cells
    writer = _WRITERS[flag_values.format](top, flag_values.per_window, max(map(len, files)), tells_unknown)
    # Asked of regular files alone: a pipe would be read to its end for its length, and then be empty.
    durations = [duration_seconds(name) if name != "-" and os.path.isfile(name) else None for name in files]
    total = None if None in durations else sum(d for d in durations if d)
    failures = len(skipped)
    for left_out in skipped:
        print(f"tfaudio predict: {left_out.path}: {left_out.reason}", file=sys.stderr)
    with tqdm(total=total, unit="s", desc="classifying", disable=None, unit_scale=True, leave=False) as bar:
        for name in files:
            source: str | IO[bytes] = sys.stdin.buffer if name == "-" else name

            def windows(source: str | IO[bytes] = source) -> Iterator[tuple[float, Any]]:
                heard = 0.0
                for start, window in read_windows(source, sample_rate=model.sample_rate, clip=model.clip):
                    yield start, window
                    end = start + len(window) / model.sample_rate
                    bar.update(round(end - heard, 3))
                    heard = end

            try:
                predictions = classify_windows(
                    windows(),
                    model.score_batch,
                    labels=model.labels,
                    sample_rate=model.sample_rate,
                    batch_size=model.batch_size,
                    unknown_below=model.unknown_below,
                    thresholds=model.thresholds,
                )
                for prediction in predictions if flag_values.per_window else [average(predictions)]:
                    bar.clear()  # where both go to one terminal
                    writer.write(name, prediction)
            except TfaudioError as error:
                failures += 1
                bar.clear()
                print(f"tfaudio predict: {error}", file=sys.stderr)
    if failures:
        count = len(files) + len(skipped)
        print(f"tfaudio predict: {failures} of {count} recordings could not be classified.", file=sys.stderr)
    return 1 if failures else 0


class _Writer(Protocol):
    """Prints one prediction.

    Made from the number of labels to show (None: those that reach their thresholds), whether windows are told apart,
    and the longest name.
    """

    def write(self, name: str, prediction: Any) -> None: ...


class _Table:
    """Columns for people; names are not cut, so that they can be copied."""

    def __init__(self, top: int | None, per_window: bool, name_width: int, tells_unknown: bool) -> None:
        del tells_unknown  # every prediction knows
        self._top, self._per_window, self._name_width = top, per_window, name_width

    def write(self, name: str, prediction: Any) -> None:
        best = "  ".join(f"{label} {score:.1%}" for label, score in _shown(prediction, self._top)) or "-"
        time = f"  {prediction.start:8.2f} s" if self._per_window else ""
        print(f"{name:<{self._name_width}}{time}  {'unknown: ' if prediction.unknown else ''}{best}", flush=True)


class _Csv:
    """Comma-separated values with a header."""

    def __init__(self, top: int | None, per_window: bool, name_width: int, tells_unknown: bool) -> None:
        del per_window, name_width  # every row has its times; columns need no padding
        self._top, self._tells_unknown = top, tells_unknown
        ranks = [] if top is None else [""] if top == 1 else [f"_{rank + 1}" for rank in range(top)]
        columns = [c for r in ranks for c in (f"label{r}", f"score{r}")] or ["labels", "scores"]
        self._row(["path", "start", "end", *columns, *["unknown"] * tells_unknown])

    def write(self, name: str, prediction: Any) -> None:
        shown = _shown(prediction, self._top)
        best = [value for label, score in shown for value in (label, f"{score:.6f}")]
        if self._top is None:
            best = [";".join(label for label, _ in shown), ";".join(f"{score:.6f}" for _, score in shown)]
        if self._tells_unknown:
            best.append(str(int(prediction.unknown)))
        self._row([name, f"{prediction.start:.3f}", f"{prediction.end:.3f}", *best])

    def _row(self, values: list[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        print(text.getvalue(), end="", flush=True)


class _JsonLines:
    """One JSON object a line, with the score of every class."""

    def __init__(self, top: int | None, per_window: bool, name_width: int, tells_unknown: bool) -> None:
        del top, per_window, name_width, tells_unknown  # every score is there

    def write(self, name: str, prediction: Any) -> None:
        scores = {
            label: round(float(score), 6) for label, score in zip(prediction.labels, prediction.scores, strict=True)
        }
        print(json.dumps({"path": name, **prediction.to_dict(), "scores": scores}, ensure_ascii=False), flush=True)


def _shown(prediction: Any, top: int | None) -> list[tuple[str, float]]:
    """Labels and scores to show of a prediction."""
    shown: list[tuple[str, float]] = prediction.tags() if top is None else prediction.top(top)
    return shown


_Make = Callable[[int | None, bool, int, bool], _Writer]
_WRITERS: dict[str, _Make] = {"table": _Table, "csv": _Csv, "jsonl": _JsonLines}
