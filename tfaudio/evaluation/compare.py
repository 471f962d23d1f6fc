"""Is one classifier, or tagger, better than another, by what both said of the same recordings?"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.bundle import (
    PREDICTIONS,
    SCORE_COLUMN,
    SPLIT,
    check_whole,
    fold_folders,
    is_run_folder,
    read_config,
    read_split,
)
from tfaudio.data.spec import LABEL_SEPARATOR
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import bootstrap_interval
from tfaudio.evaluation.protocol import caveats
from tfaudio.evaluation.tagging import TagResult, difference_interval

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


@dataclass(frozen=True, eq=False)
class TaggedSet:
    """What a tagger said of recordings that it was tested on together.

    Args:
      recordings: n of them.
      labels: names of the classes.
      targets: bool [n, classes].
      scores: float64 [n, classes].
    """

    recordings: tuple[Recording, ...]
    labels: tuple[str, ...]
    targets: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]

    def taken(self, recordings: Sequence[Recording], labels: Sequence[str]) -> TagResult:
        """Returns what it said of some of the recordings and of all classes, in another order."""
        place = {recording: row for row, recording in enumerate(self.recordings)}
        rows, columns = [place[recording] for recording in recordings], [self.labels.index(name) for name in labels]
        return TagResult("test", self.targets[rows][:, columns], self.scores[rows][:, columns])


def gives_tags(path: Path, *, seed: int | None = None) -> bool:
    """Whether predictions are of a tagger; see `read_predictions` for the arguments and what is raised."""
    return any("labels" in _read(file)[0] for file in _files(path, seed))


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
    recordings = _recordings(path, [name for name, _, _ in rows])
    return {of: Prediction(label, predicted) for of, (_, label, predicted) in zip(recordings, rows, strict=True)}


def read_tags(path: Path, *, seed: int | None = None) -> list[TaggedSet]:
    """Reads what taggers said, a test set a run: scores of different runs have no order in common.

    Args:
      path: as of `read_predictions`; a CSV file has `path,labels` and a column `score:LABEL` of each class.
      seed: likewise.

    Raises:
      TfaudioError: as `read_predictions`, if the file is none of tags, or the runs have other classes.
    """
    files = _files(path, seed)
    found = [_read_tag_rows(file) for file in files]
    if other := [file for file, (labels, _, _) in zip(files, found, strict=True) if set(labels) != set(found[0][0])]:
        raise TfaudioError(f"{files[0]} and {other[0]} have other classes; name runs of one data set.")
    recordings = iter(_recordings(path, [name for _, rows, _ in found for name, _ in rows]))
    return [
        TaggedSet(
            recordings=tuple(next(recordings) for _ in rows),
            labels=labels,
            targets=np.array([[label in own for label in labels] for _, own in rows]),
            scores=scores,
        )
        for labels, rows, scores in found
        if rows
    ]


def _recordings(path: Path, names: Sequence[str]) -> list[Recording]:
    """What predictions are of, by their paths, one for each."""
    if not names:
        raise TfaudioError(f"{path} holds no predictions; name another.")
    try:
        root = os.path.commonpath({os.path.dirname(name) for name in names}) or "."
    except ValueError as error:  # some absolute and some not
        raise TfaudioError(
            f"The paths in {path} have no folder in common ({error}); write all of them alike."
        ) from error
    parts: Counter[str] = Counter()
    found = []
    for name in names:
        relative = os.path.relpath(name, root)
        found.append(Recording(Path(relative).as_posix(), parts[relative]))
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


def _read(file: Path) -> tuple[Sequence[str], list[dict[str, str]]]:
    """Names of the columns, and the rows."""
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
    if "path" in columns and not all(row["path"] for row in rows):
        raise TfaudioError(f"{file} has a row without a path; say of which recording each prediction is.")
    return columns, rows


def _read_rows(file: Path) -> list[tuple[str, str, str]]:
    columns, rows = _read(file)
    if "labels" in columns:
        raise TfaudioError(f"{file} gives recordings several labels each; compare it with results of that kind.")
    if any(row.get(column) is None for row in rows for column in _COLUMNS):
        raise TfaudioError(f"{file} is no file of predictions: it needs the columns {', '.join(_COLUMNS)}.")
    return [(row["path"], row["label"], row["predicted"]) for row in rows]


def _read_tag_rows(file: Path) -> tuple[tuple[str, ...], list[tuple[str, set[str]]], npt.NDArray[np.float64]]:
    """The classes; path and labels of each recording; the scores, [recordings, classes]."""
    columns, rows = _read(file)
    labels = tuple(name.removeprefix(SCORE_COLUMN) for name in columns if name.startswith(SCORE_COLUMN))
    if "labels" not in columns:
        raise TfaudioError(f"{file} gives recordings one label each; compare it with results of that kind.")
    if not labels or "path" not in columns:
        raise TfaudioError(
            f"{file} has no scores of all classes (path,labels,{SCORE_COLUMN}LABEL); write it anew by `tfaudio "
            "evaluate --run_dir=RUN --report_dir=DIR`, and name that DIR."
        )
    if any(None in row.values() for row in rows):
        raise TfaudioError(f"{file} has a row that is cut short; evaluate the run again.")
    try:
        scores = np.array([[float(row[SCORE_COLUMN + label]) for label in labels] for row in rows])
        if not np.isfinite(scores).all():
            raise ValueError("one is not finite")
    except ValueError as error:
        raise TfaudioError(f"{file} has a score that is no number ({error}); evaluate the run again.") from error
    owned = [(row["path"], set(row["labels"].split(LABEL_SEPARATOR))) for row in rows]
    if unknown := sorted(set().union(*(own for _, own in owned)) - set(labels)):
        raise TfaudioError(f"{file} has no scores of '{unknown[0]}', which a recording is; evaluate the run again.")
    return labels, owned, scores


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


def _check_same_recordings(a: set[Recording], b: set[Recording]) -> None:
    if a != b:
        raise TfaudioError(
            f"A was tested on {len(a)} recordings and B on {len(b)}, of which {len(a & b)} are the same "
            f"(not {min(a ^ b).path}); compare results on the same test recordings."
        )


def compare(a: Mapping[Recording, Prediction], b: Mapping[Recording, Prediction]) -> Comparison:
    """Compares what two classifiers said of the same recordings.

    Raises:
      TfaudioError: if the recordings or their true labels are not the same.
    """
    _check_same_recordings(set(a), set(b))
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


@dataclass(frozen=True)
class TagComparison:
    """Two taggers on the same recordings.

    Args:
      num_clips: recordings.
      mean_average_precision_a: of the first, mean over the test sets.
      mean_average_precision_b: of the second.
      difference: b less a.
      interval: lower and upper end of its 95 % interval, by bootstrap over the recordings of each test set, both
        taggers' scores of one drawn together. It takes them as independent, as `Comparison` does.
    """

    num_clips: int
    mean_average_precision_a: float
    mean_average_precision_b: float
    difference: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return {**asdict(self), "interval": list(self.interval)}

    def to_text(self, a: str, b: str) -> str:
        """Lays the comparison out under the names of the two."""
        low, high = self.interval
        figures = (("A", a, self.mean_average_precision_a), ("B", b, self.mean_average_precision_b))
        rows = [("recordings", str(self.num_clips)), *((f"{x}: {name}", f"{value:.1%}") for x, name, value in figures)]
        width = max(len(name) for name, _ in rows)
        apart = low > 0 or high < 0
        return "\n".join(
            [
                *(f"{name:<{width}}  {value:>8}" for name, value in rows),
                "",
                f"B's mean average precision is {100 * self.difference:+.1f} points from A's (95 % interval "
                f"{100 * low:+.1f} to {100 * high:+.1f}): "
                f"{'a difference' if apart else 'no difference that these recordings could show'}",
                "",
            ]
        )


def compare_tags(a: Sequence[TaggedSet], b: Sequence[TaggedSet]) -> TagComparison:
    """Compares what two taggers said of the same recordings.

    Recordings are ranked among those of their own test set: of the two, that of the one who has more of them.

    Args:
      a: the test sets of the first, one a fold.
      b: those of the second.

    Raises:
      TfaudioError: if the recordings, their labels or the classes are not the same.
    """
    _check_same_recordings(*({of for test_set in side for of in test_set.recordings} for side in (a, b)))
    labels = a[0].labels
    if set(labels) != set(b[0].labels):
        (name, *_) = sorted(set(labels) ^ set(b[0].labels))
        raise TfaudioError(f"'{name}' is a class of but one of A and B; compare taggers of the same classes.")
    pairs = []
    for fold in a if len(a) >= len(b) else b:
        first, second = (_holding(side, fold.recordings).taken(fold.recordings, labels) for side in (a, b))
        differing = (first.targets != second.targets).any(axis=1)
        if differing.any():
            path = fold.recordings[int(np.argmax(differing))].path
            raise TfaudioError(f"{path} has other labels in A than in B; evaluate both on the same labels.")
        pairs.append((first, second))
    value_a, value_b = (float(np.mean([pair[side].value for pair in pairs])) for side in (0, 1))
    return TagComparison(
        num_clips=sum(len(fold.targets) for fold, _ in pairs),
        mean_average_precision_a=value_a,
        mean_average_precision_b=value_b,
        difference=value_b - value_a,
        interval=difference_interval(pairs),
    )


def _holding(test_sets: Sequence[TaggedSet], recordings: Sequence[Recording]) -> TaggedSet:
    for test_set in test_sets:
        if set(recordings) <= set(test_set.recordings):
            return test_set
    raise TfaudioError(
        "A and B were tested in other folds, and scores of several models have no order in common; compare runs of "
        "the same folds."
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
