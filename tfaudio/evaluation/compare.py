"""Is one classifier better than another, by what both said of the same recordings?"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfaudio.bundle import PREDICTIONS, SPLIT, check_whole, fold_folders, is_run_folder, read_config, read_split
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import bootstrap_interval
from tfaudio.evaluation.protocol import caveats

_COLUMNS = ("path", "label", "predicted")


@dataclass(frozen=True, order=True)
class Recording:
    """What a prediction is of, wherever the data set lies.

    Args:
      path: below the folder that holds all recordings.
      part: of several clips of one file, which, by their order.
    """

    path: str
    part: int


@dataclass(frozen=True)
class Prediction:
    """True and predicted label of a recording."""

    label: str
    predicted: str

    @property
    def correct(self) -> bool:
        return self.label == self.predicted


def read_predictions(path: Path, *, seed: int | None = None) -> dict[Recording, Prediction]:
    """Reads what was predicted, by recording; several of one file are told apart by their order.

    Args:
      path: a run folder, that of a cross-validation, the folder of a report, or a CSV file of `path,label,predicted`.
      seed: of a folder with runs of several seeds, those to take.

    Raises:
      TfaudioError: if there are no predictions, or of several seeds of which none is chosen, or the file is none of
        predictions, or of tags.
    """
    rows: list[tuple[str, str, str]] = []
    for file in _files(path, seed):
        rows += _read_rows(file)
    if not rows:
        raise TfaudioError(f"{path} holds no predictions; name another.")
    try:
        root = os.path.commonpath({os.path.dirname(name) for name, _, _ in rows}) or "."
    except ValueError as error:  # some absolute and some not
        raise TfaudioError(
            f"The paths in {path} have no folder in common ({error}); write all of them alike."
        ) from error
    parts: Counter[str] = Counter()
    found = {}
    for name, label, predicted in rows:
        relative = os.path.relpath(name, root)
        found[Recording(Path(relative).as_posix(), parts[relative])] = Prediction(label, predicted)
        parts[relative] += 1
    return found


def check_same_test(a: Path, b: Path) -> None:
    """Raises TfaudioError if two folders of runs were tested on recordings of other names below the data set's root.

    Predictions hold whole paths, of which only what differs within a file is compared: two speakers' folders whose
    recordings have the same names look alike by them.
    """
    tested: list[set[tuple[str, str]]] = []
    for path in (a, b):
        runs = _runs(path)
        if not runs or not all((run / SPLIT).is_file() for run in runs):
            return  # files of predictions tell nothing of where they are from
        tested.append({(read_config(run).data.dataset, name) for run in runs for name in read_split(run)["test"]})
    of_one_data_set = len({dataset for names in tested for dataset, _ in names}) == 1
    if of_one_data_set and tested[0] != tested[1]:
        _, other = min(tested[0] ^ tested[1])
        raise TfaudioError(f"{a} and {b} were not tested on the same recordings ({other}); compare runs that were.")


def caveats_of(path: Path) -> dict[str, str]:
    """Returns what the runs of a folder have to say against their figures; files of predictions tell nothing."""
    return {name: why for run in _runs(path) for name, why in caveats(read_config(run)).items()}


def _runs(path: Path) -> list[Path]:
    """A run folder as it is, or those of a cross-validation; none of anything else."""
    if not path.is_dir():
        return []
    return [path] if is_run_folder(path) else fold_folders(path)


def _files(path: Path, seed: int | None) -> list[Path]:
    """The predictions of each run; a run's folds do not overlap, its seeds do."""
    if path.is_file():
        return [path]
    runs = [] if is_run_folder(path) else fold_folders(path)
    if not runs:
        if (path / PREDICTIONS).is_file():
            return [path / PREDICTIONS]
        if is_run_folder(path):
            raise TfaudioError(
                f"{path} was not scored yet; do so by `tfaudio evaluate --run_dir={path} --report_dir=DIR`, and name "
                "that DIR here."
            )
        raise TfaudioError(
            f"{path} holds no {PREDICTIONS}; name a run folder, one that `tfaudio evaluate --report_dir` wrote, or "
            "a CSV file of predictions."
        )
    check_whole(path)
    seeds = {run: read_config(run).training.seed for run in runs}
    known = sorted(set(seeds.values()))
    if seed is None and len(known) > 1:
        raise TfaudioError(
            f"{path} holds predictions of {len(known)} seeds for each recording, and a test of two classifiers takes "
            f"one; choose it by --seed={known[0]}."
        )
    if len(known) == 1:
        return [run / PREDICTIONS for run in runs]
    if seed not in known:
        raise TfaudioError(f"{path} holds no run of seed {seed}; it has {', '.join(map(str, known))}.")
    return [run / PREDICTIONS for run in runs if seeds[run] == seed]


def _read_rows(file: Path) -> list[tuple[str, str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns, rows = reader.fieldnames or (), list(reader)
    except OSError as error:
        raise TfaudioError(f"Cannot read {file}: {error.strerror}; finish the run, or name another.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TfaudioError(
            f"{file} is no CSV file of predictions ({error}); name one with path,label,predicted."
        ) from error
    if "labels" in columns:
        raise TfaudioError(
            f"{file} gives recordings several labels each, and McNemar's test takes answers that are right or wrong; "
            "compare mean_average_precision and its interval in the two result.json."
        )
    if any(row.get(column) is None for row in rows for column in _COLUMNS):
        raise TfaudioError(f"{file} is no file of predictions: it needs the columns {', '.join(_COLUMNS)}.")
    return [(row["path"], row["label"], row["predicted"]) for row in rows]


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same recordings.

    Interval and test take the recordings as independent. Several of one speaker, or of one source, are not: both are
    then surer than they may be.

    Args:
      num_clips: recordings.
      accuracy_a: of the first.
      accuracy_b: of the second.
      only_a: recordings that the first alone has right.
      only_b: recordings that the second alone has right.
      difference: accuracy_b - accuracy_a.
      interval: lower and upper end of its 95 % interval, by bootstrap over recordings, both answers to one drawn
        together; without width where nobody is right alone.
      p_value: of McNemar's test, exact and two-sided: how likely at least so unequal a division of only_a + only_b is
        between classifiers that are equally good.
    """

    num_clips: int
    accuracy_a: float
    accuracy_b: float
    only_a: int
    only_b: int
    difference: float
    interval: tuple[float, float]
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return {**asdict(self), "interval": list(self.interval)}

    def to_text(self, a: str, b: str) -> str:
        """Lays the comparison out under the names of the two."""
        low, high = self.interval
        rows = [
            ("recordings", str(self.num_clips)),
            (f"A: {a}", f"{self.accuracy_a:.1%}"),
            (f"B: {b}", f"{self.accuracy_b:.1%}"),
            ("right in A alone", str(self.only_a)),
            ("right in B alone", str(self.only_b)),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value:>8}" for name, value in rows]
        verdict = "a difference" if self.p_value < 0.05 else "no difference that these recordings could show"
        lines += [
            "",
            f"B is {100 * self.difference:+.1f} points from A (95 % interval {100 * low:+.1f} to {100 * high:+.1f})",
            f"McNemar's exact test: p = {self.p_value:.3g}: {verdict}",
        ]
        return "\n".join(lines) + "\n"


def compare(a: Mapping[Recording, Prediction], b: Mapping[Recording, Prediction]) -> Comparison:
    """Compares what two classifiers said of the same recordings.

    Raises:
      TfaudioError: if the recordings or their true labels are not the same.
    """
    if a.keys() != b.keys():
        only = sorted(a.keys() ^ b.keys())
        raise TfaudioError(
            f"A was tested on {len(a)} recordings and B on {len(b)}, of which {len(a.keys() & b.keys())} are the same "
            f"(not {only[0].path}); compare results on the same test recordings."
        )
    for recording, prediction in a.items():
        if prediction.label != b[recording].label:
            raise TfaudioError(
                f"{recording.path} is '{prediction.label}' in A and '{b[recording].label}' in B; evaluate both on the "
                "same labels."
            )
    right = np.array([[a[recording].correct, b[recording].correct] for recording in sorted(a)])
    only_a, only_b = int((right[:, 0] & ~right[:, 1]).sum()), int((right[:, 1] & ~right[:, 0]).sum())
    accuracy_a, accuracy_b = right.mean(axis=0)
    return Comparison(
        num_clips=len(right),
        accuracy_a=float(accuracy_a),
        accuracy_b=float(accuracy_b),
        only_a=only_a,
        only_b=only_b,
        difference=(only_b - only_a) / len(right),
        interval=bootstrap_interval(right[:, 1].astype(float) - right[:, 0]),
        p_value=mcnemar_p(only_a, only_b),
    )


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided p-value of McNemar's test by the binomial distribution, exact for any counts.

    Args:
      only_a: cases that the first alone has right.
      only_b: cases that the second alone has right.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 1947; the exact form counts how a fair coin would have divided the discordant cases.

    >>> mcnemar_p(1, 5)
    0.21875
    """
    total, fewer = only_a + only_b, min(only_a, only_b)
    ways = term = 1
    for taken in range(1, fewer + 1):
        term = term * (total - taken + 1) // taken
        ways += term
    return min(1.0, 2 * ways / 2**total)
