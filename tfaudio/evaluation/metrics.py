"""How good the scores of a classifier are, in NumPy alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.ranking import average_precision

_CELLS = 4_000_000  # of resampled weights at a time


@dataclass(frozen=True)
class Metrics:
    """Results on one test set. All rates are in [0, 1].

    A class without a clip in the test set has None for its rates and is left out of the means over
    classes, since nothing was learnt about it; clips wrongly given to it still count as errors.

    Args:
      accuracy: share of clips whose highest score is that of their class.
      balanced_accuracy: mean recall of the classes.
      macro_f1: mean F1 of the classes.
      mean_average_precision: mean average precision of the classes, each against all others.
      per_class: for each class, in the order of the labels: label, precision, recall, f1,
        average_precision (floats or None) and support (number of clips). The precision of a class that
        was never predicted is 0.
      confusion: clips counted by true class (row) and predicted class (column).
      num_clips: size of the test set.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    mean_average_precision: float
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    num_clips: int

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers, strings, lists and None: ready for JSON, without NaN."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Metrics:
        """Takes back what `to_dict` gave."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})


def compute_metrics(targets: ArrayLike, scores: ArrayLike, labels: LabelMap) -> Metrics:
    """Compares scores with the true classes.

    Args:
      targets: int [num_clips], index of the true class.
      scores: float [num_clips, num_classes], higher is more likely: logits or probabilities. Of equal
        highest scores the first class is the prediction.
      labels: the classes, num_classes of them.

    Returns:
      The metrics; see `Metrics` for classes that the test set lacks.

    Raises:
      TfaudioError: if there is no clip or a score is not finite.
      ValueError: if the shapes do not fit together or a target is no class.

    >>> m = compute_metrics([0, 1], [[0.9, 0.1], [0.6, 0.4]], LabelMap(("cat", "dog")))
    >>> m.accuracy, m.confusion
    (0.5, [[1, 0], [1, 0]])
    """
    targets, scores = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    num_classes = len(labels)
    if targets.ndim != 1 or scores.shape != (len(targets), num_classes):
        raise ValueError(
            f"Expected targets [n] and scores [n, {num_classes}], not {list(targets.shape)} and {list(scores.shape)}."
        )
    check_scores(scores)
    if not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0 or targets.max() >= num_classes:
        raise ValueError(f"Targets must be integers from 0 to {num_classes - 1}.")
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (targets, scores.argmax(axis=1)), 1)
    per_class = [
        _class_metrics(name, index, confusion, targets == index, scores[:, index]) for index, name in enumerate(labels)
    ]
    present = [row for row in per_class if row["support"]]
    return Metrics(
        accuracy=float(confusion.trace() / len(targets)),
        balanced_accuracy=float(np.mean([row["recall"] for row in present])),
        macro_f1=float(np.mean([row["f1"] for row in present])),
        mean_average_precision=float(np.mean([row["average_precision"] for row in present])),
        per_class=per_class,
        confusion=confusion.tolist(),
        num_clips=len(targets),
    )


def check_scores(scores: NDArray[np.float64]) -> None:
    """Raises TfaudioError if there are no scores [num_clips, num_classes], or some that are not finite."""
    if not len(scores):
        raise TfaudioError("There is no recording to evaluate; choose a test set that is not empty.")
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        # argmax would call NaN the best score, and a broken model would get an accuracy.
        raise TfaudioError(
            f"The scores of {len(bad)} of {len(scores)} recordings (the first is number {bad[0]}) are not finite; "
            "the model is broken: train it anew with a lower learning rate."
        )


def _class_metrics(
    name: str, index: int, confusion: NDArray[np.int64], positive: NDArray[np.bool_], scores: NDArray[np.float64]
) -> dict[str, Any]:
    hits, support, predicted = (
        int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
    )
    if not support:
        return {
            "label": name, "precision": None, "recall": None, "f1": None, "average_precision": None, "support": 0,
        }  # fmt: skip
    return {
        "label": name,
        "precision": hits / predicted if predicted else 0.0,
        "recall": hits / support,
        "f1": 2 * hits / (support + predicted),
        "average_precision": average_precision(positive, scores),
        "support": support,
    }


def wilson_interval(correct: int, total: int, *, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a proportion that also holds near 0 and 1 and for few clips.

    Args:
      correct: number of correct clips.
      total: number of clips, at least 1.
      level: confidence, in (0, 1).

    Raises:
      ValueError: if the counts are impossible.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22, 1927, without continuity correction.
    """
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"Impossible counts: {correct} correct of {total}.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = correct / total
    centre = share + z**2 / (2 * total)
    spread = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return max(0.0, float((centre - spread) / scale)), min(1.0, float((centre + spread) / scale))


def bootstrap_interval(
    correct: ArrayLike, *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over clips.

    It takes clips as independent, which clips of one source are not (`grouped_bootstrap_interval`); and it has no
    width where all clips are correct, where `wilson_interval` says more.

    Args:
      correct: bool [num_clips], or float in [0, 1] for clips judged several times (by several seeds).
      seed: makes the interval reproducible.
      resamples: number of resampled test sets.
      level: confidence, in (0, 1).

    Returns:
      Lower and upper end.

    Raises:
      TfaudioError: if there is no clip.
    """
    values = np.asarray(correct, dtype=np.float64).ravel()
    if not len(values):
        raise TfaudioError("There is no recording to evaluate; choose a test set that is not empty.")
    # How often each distinct value turns up in a resample is multinomial, so whole resamples need not be drawn.
    levels, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=resamples)
    low, high = np.quantile(drawn @ levels / len(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def grouped_bootstrap_interval(
    groups: Sequence[ArrayLike], *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over clips, of which whole groups are drawn.

    It holds for other groups (speakers, say), where one over clips holds for more clips of these. Of few groups it is
    too narrow rather than too wide.

    Args:
      groups: for each group, what `bootstrap_interval` takes.
      seed: makes the interval reproducible.
      resamples: number of resampled test sets.
      level: confidence, in (0, 1).

    Returns:
      Lower and upper end.
    """
    parts = [np.asarray(group, dtype=np.float64).ravel() for group in groups]
    sums, counts = np.array([part.sum() for part in parts]), np.array([len(part) for part in parts])
    draws = bootstrap_draws(len(parts), np.random.default_rng(seed), resamples)
    means = np.concatenate([(drawn @ sums) / (drawn @ counts) for drawn in draws])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_draws(count: int, rng: np.random.Generator, resamples: int) -> Iterator[NDArray[np.float64]]:
    """Yields how often each of `count` is drawn: float64 [resamples, count], in parts that memory holds."""
    step = max(1, _CELLS // count)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
