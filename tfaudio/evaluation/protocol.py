"""How results of several test sets become one number, and what a stored result must say of itself."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Protocol, TypeVar

import numpy as np

import tfaudio
from tfaudio.config import RunConfig
from tfaudio.data.spec import DatasetSpec
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import bootstrap_interval, grouped_bootstrap_interval, wilson_interval
from tfaudio.registry import unknown_name_message

# folds: each official fold tested by a model trained on the others. nested: the same, with every choice made
# inside the training folds. official: one official training and test set. leave_one_group_out: each speaker or
# source tested by a model that never heard it. hash: one test set by a hash of the group. shuffled_labels: a control by
# any of them, whose models learnt labels that mean nothing.
PROTOCOLS = ("folds", "nested", "official", "leave_one_group_out", "hash", "shuffled_labels")

NO_MEASURE = "no_measure_of_unknown_recordings"  # in a result: why its figures are none

_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-io")


@dataclass(frozen=True)
class FoldResult:
    """What one trained model did on the clips that it was not trained on.

    Args:
      fold: name of the fold or of the group left out.
      correct: for each test clip, whether its class was found; in the order of the data set.
      seed: seed of the training; a fold may be given once a seed.
      details: anything else worth keeping, such as `Metrics.to_dict()`.
      of_group: what was left out is a group (a speaker), and the figure is to be of other groups.

    Raises:
      TfaudioError: if there is no clip.
    """

    fold: str
    correct: tuple[bool, ...]
    seed: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    of_group: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "fold", str(self.fold))
        object.__setattr__(self, "correct", tuple(bool(value) for value in self.correct))
        if not self.correct:
            raise TfaudioError(f"Fold '{self.fold}' has no test clips; leave it out.")

    @property
    def accuracy(self) -> float:
        """Share of correct clips."""
        return fmean(self.correct)

    @property
    def value(self) -> float:
        """What choices are made by: the accuracy."""
        return self.accuracy


class Result(Protocol):
    """What one trained model did, of whichever kind: a `FoldResult`, or a tagger's."""

    @property
    def fold(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def value(self) -> float: ...


R = TypeVar("R", bound=Result)


def by_fold_and_seed(results: Iterable[R]) -> dict[str, dict[int, R]]:
    """Sorts results by fold, in the order given, and seed.

    Raises:
      TfaudioError: if there is none, or a fold is given twice with one seed.
    """
    by_fold: dict[str, dict[int, R]] = {}
    for result in results:
        seeds = by_fold.setdefault(result.fold, {})
        if result.seed in seeds:
            raise TfaudioError(f"Fold '{result.fold}' is given twice with seed {result.seed}; leave one out.")
        seeds[result.seed] = result
    if not by_fold:
        raise TfaudioError("There are no folds to summarise; evaluate at least one.")
    return by_fold


def summarize_folds(results: Iterable[FoldResult]) -> dict[str, Any]:
    """Brings the folds together.

    Several seeds of a fold are averaged clip by clip first, so that they make the estimate steadier without
    passing for more clips than there are.

    Returns:
      mean: mean accuracy of the folds, each counting the same.
      standard_deviation: over the folds, with n - 1; None for a single fold.
      pooled: accuracy over all clips; equal to the mean if the folds have one size.
      interval: lower and upper end of the 95 % bootstrap interval of `pooled` over clips; Wilson's where all clips are
        right, or all wrong, since resampling them knows no doubt. It holds for other clips of the same kind, not for
        other trainings. Of groups left out in turn that differ, of bootstrap over the groups.
      interval_over: "recordings" or "groups".
      accuracy_per_fold: by name, in the order given.
      num_clips: number of distinct test clips.
      seeds: the seeds, sorted.
      accuracy_per_seed: mean accuracy of the folds by seed, as text; of the seeds that all folds have.
      standard_deviation_over_seeds: of these, with n - 1; None for fewer than two.

    Raises:
      TfaudioError: if there is no result, or the seeds of a fold do not cover the same clips.
    """
    by_fold = by_fold_and_seed(results)
    shares = []
    for name, of_seed in by_fold.items():
        rows = [result.correct for result in of_seed.values()]
        if len({len(row) for row in rows}) > 1:
            raise TfaudioError(
                f"The seeds of fold '{name}' were tested on different numbers of clips; evaluate them anew."
            )
        shares.append(np.mean(rows, axis=0))
    accuracies = [float(share.mean()) for share in shares]
    common = sorted(set.intersection(*(set(of_seed) for of_seed in by_fold.values())))
    by_seed = {str(seed): fmean(of_seed[seed].accuracy for of_seed in by_fold.values()) for seed in common}
    clips = np.concatenate(shares)
    of_groups = all(result.of_group for seeds in by_fold.values() for result in seeds.values())
    over_groups = of_groups and len(set(accuracies)) > 1  # groups that are all alike know no doubt, as one does
    return {
        "mean": fmean(accuracies),
        "standard_deviation": stdev(accuracies) if len(accuracies) > 1 else None,
        "pooled": float(clips.mean()),
        "interval": list(grouped_bootstrap_interval(shares) if over_groups else _interval(clips)),
        "interval_over": "groups" if over_groups else "recordings",
        "accuracy_per_fold": dict(zip(by_fold, accuracies, strict=True)),
        "num_clips": len(clips),
        "seeds": sorted({seed for of_seed in by_fold.values() for seed in of_seed}),
        "accuracy_per_seed": by_seed,
        "standard_deviation_over_seeds": stdev(by_seed.values()) if len(by_seed) > 1 else None,
    }


def best_guess(results: Iterable[FoldResult]) -> float:
    """Returns the accuracy of always naming the most frequent class: what knows nothing is not expected to exceed it.

    Args:
      results: whose details hold "support", the test clips of each class.
    """
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.details["support"])
    return max(counts.values()) / counts.total()


def mean_by_inputs(results: Iterable[FoldResult]) -> dict[str, float]:
    """Returns the accuracy by what a model of sound and text was given, over the clips of all trainings.

    Args:
      results: whose details hold "by_inputs", the accuracy of each; empty where they do not.
    """
    found: dict[str, list[tuple[float, int]]] = {}
    for result in results:
        for name, accuracy in result.details.get("by_inputs", {}).items():
            found.setdefault(name, []).append((accuracy, len(result.correct)))
    return {
        name: sum(accuracy * count for accuracy, count in of_name) / sum(count for _, count in of_name)
        for name, of_name in found.items()
    }


def _interval(clips: np.ndarray) -> tuple[float, float]:
    if len(np.unique(clips)) == 1 and clips[0] in (0.0, 1.0):
        return wilson_interval(int(clips.sum()), len(clips))
    return bootstrap_interval(clips)


def protocol_of(config: RunConfig, spec: DatasetSpec, *, chosen: bool = False) -> str:
    """Returns the name of the protocol by which a run found its test set, or of the control that it is.

    Args:
      config: of the run.
      spec: its data set.
      chosen: its settings were chosen inside its training folds.
    """
    if config.training.shuffle_labels:
        return "shuffled_labels"
    if chosen:
        return "nested"
    if config.data.test_group is not None:
        return "leave_one_group_out"
    return "folds" if config.data.test_fold is not None else "official" if spec.has_official_split else "hash"


def caveats(config: RunConfig) -> dict[str, str]:
    """Returns what every result of a run has to say against itself, under its own names; empty where there is nothing.

    >>> caveats(RunConfig())
    {}
    """
    if config.training.shuffle_labels:
        return {NO_MEASURE: "a control, which learnt labels that were shuffled"}
    if config.training.initial_weights_saw_test:
        return {NO_MEASURE: "the weights to start from may know test recordings"}
    return {}


def caveats_text(record: Mapping[str, Any]) -> str:
    """Lays out what a result says against itself, a line each; "" where there is nothing."""
    return f"{NO_MEASURE.replace('_', ' ')}: {record[NO_MEASURE]}\n" if NO_MEASURE in record else ""


def provenance(dataset: str, config: RunConfig, command: str) -> dict[str, Any]:
    """Returns how figures came about that are no result of a protocol, for their file.

    Args:
      dataset: its name.
      config: of the run that they are of.
      command: the command line that gives them again.
    """
    made = {"dataset": dataset, "model": config.model.name, "command": command, "versions": versions()}
    return {**made, **caveats(config)}


def fold_of(config: RunConfig) -> str:
    """Returns what a run is tested on: the number of a fold, the name of a group, or "test"."""
    data = config.data
    return data.test_group or ("test" if data.test_fold is None else str(data.test_fold))


def result_record(
    *,
    dataset: str,
    protocol: str,
    model: str,
    accuracy: float | None = None,
    mean_average_precision: float | None = None,
    interval: Sequence[float],
    seeds: Sequence[int],
    command: str,
    duration_seconds: float,
    num_clips: int,
    versions: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Makes the content of a stored result: a number that cannot be separated from how it came about.

    Args:
      dataset: name of the data set.
      protocol: one of PROTOCOLS.
      model: name of the model.
      accuracy: in [0, 1]; None of a tagger.
      mean_average_precision: in [0, 1], of a tagger; None otherwise.
      interval: lower and upper end of the 95 % interval, around that figure.
      seeds: seeds of the trainings; empty for what is not random.
      command: the command line that gives the number again.
      duration_seconds: wall-clock time of the command.
      num_clips: size of the test set, over all folds.
      versions: versions of the packages; None asks `versions()`.
      extra: further values, under their own names.

    Returns:
      A dictionary that goes to JSON.

    Raises:
      TfaudioError: if the protocol is unknown or a value cannot be.
      ValueError: if a value of `extra` cannot go to JSON.
    """
    if protocol not in PROTOCOLS:
        raise TfaudioError(unknown_name_message("protocol", protocol, list(PROTOCOLS)))
    given = {"accuracy": accuracy, "mean_average_precision": mean_average_precision}
    figures = {name: float(value) for name, value in given.items() if value is not None}
    if len(figures) != 1:
        raise ValueError("A result has an accuracy or a mean average precision.")
    ((name, figure),) = figures.items()
    rounding = 1e-9
    if (
        len(interval) != 2
        or not -rounding <= interval[0] - rounding <= figure <= interval[1] + rounding <= 1 + 2 * rounding
    ):
        text = name.replace("_", " ").capitalize()
        raise TfaudioError(f"{text} {figure} must lie in [0, 1] and within its interval {list(interval)}.")
    if num_clips < 1 or duration_seconds < 0:
        raise TfaudioError(f"A result needs clips and a duration, not {num_clips} clips and {duration_seconds} s.")
    record = {
        "dataset": dataset,
        "protocol": protocol,
        "model": model,
        **figures,
        "interval": [float(end) for end in interval],
        "num_clips": int(num_clips),
        "seeds": [int(seed) for seed in seeds],
        "command": command,
        "duration_seconds": float(duration_seconds),
        "versions": dict(_versions() if versions is None else versions),
    }
    if taken := sorted(set(record) & set(extra or {})):
        raise TfaudioError(f"extra holds '{taken[0]}', which the result states already; rename it.")
    record.update(extra or {})
    try:
        json.dumps(record, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"The result cannot go to JSON: {error}.") from error
    return record


def versions() -> dict[str, str]:
    """Returns the versions of Python, tfaudio and what results depend on, as far as it is installed.

    Nothing is imported for it.
    """
    found = {"python": platform.python_version(), "tfaudio": tfaudio.__version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


_versions = versions  # `result_record` has a parameter of that name
