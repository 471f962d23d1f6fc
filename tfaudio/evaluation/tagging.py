"""How good the scores of a tagger are, which may give a recording several classes; in NumPy alone.

There is no accuracy here: whether all classes of a recording were found says little where there are many, and a class
that is rare is found or missed by its threshold alone. So classes are ranked: average precision asks of each class
whether its recordings come before the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import bootstrap_draws, check_scores, grouped_bootstrap_interval
from tfaudio.evaluation.protocol import by_fold_and_seed
from tfaudio.labels import LabelMap
from tfaudio.model_settings import tag_thresholds
from tfaudio.ranking import class_average_precisions, mean_average_precision

_RESAMPLES = 1000

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class TagMetrics:
    """Results of a tagger on one test set. All rates are in [0, 1].

    A class without a clip in the test set has None for its rates and is left out of the means over classes.

    Args:
      mean_average_precision: mean average precision of the classes, each counting the same.
      lwlrap: label-weighted label-ranking average precision: each label of each clip counts the same.
      macro_f1: mean F1 of the classes at their thresholds.
      micro_f1: F1 of all decisions together, those on classes without a clip too.
      per_class: for each class, in the order of the labels: label, threshold, precision, recall, f1,
        average_precision (floats or None) and support (number of clips). The precision of a class that was never
        given is 0.
      num_clips: size of the test set.
    """

    mean_average_precision: float
    lwlrap: float
    macro_f1: float
    micro_f1: float
    per_class: list[dict[str, Any]]
    num_clips: int

    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers, strings, lists and None: ready for JSON, without NaN."""
        return dataclasses.asdict(self)


def compute_tag_metrics(
    targets: ArrayLike, scores: ArrayLike, labels: LabelMap, thresholds: Mapping[str, float] | None = None
) -> TagMetrics:
    """Compares scores with the true classes, of which a clip may have several.

    Args:
      targets: 0 or 1 [num_clips, num_classes]; every clip has a class.
      scores: float [num_clips, num_classes], in [0, 1].
      labels: the classes, num_classes of them.
      thresholds: score from which on a class is given, by label; 0.5 for those that are not named.

    Raises:
      TfaudioError: if there is no clip or a score is not finite.
      ValueError: if the shapes do not fit together, or a clip has no class.

    >>> m = compute_tag_metrics([[1, 1], [0, 1]], [[0.9, 0.8], [0.2, 0.4]], LabelMap(("cat", "dog")))
    >>> m.mean_average_precision, m.per_class[1]["recall"]
    (1.0, 0.5)
    """
    true, values = _checked(targets, scores, len(labels))
    cuts = tag_thresholds(labels, thresholds or {})
    given = values >= np.array([cuts[label] for label in labels])
    hits, support, taken = ((x).sum(axis=0) for x in (given & true, true, given))
    rows, precisions = [], class_average_precisions(true, values)
    for index, label in enumerate(labels):
        row: dict[str, Any] = {"label": label, "threshold": cuts[label], "support": int(support[index])}
        if support[index]:
            row |= {
                "precision": float(hits[index] / taken[index]) if taken[index] else 0.0,
                "recall": float(hits[index] / support[index]),
                "f1": float(2 * hits[index] / (support[index] + taken[index])),
                "average_precision": precisions[index],
            }
        else:
            row |= dict.fromkeys(("precision", "recall", "f1", "average_precision"))
        rows.append(row)
    present = [row for row in rows if row["support"]]
    return TagMetrics(
        mean_average_precision=fmean(row["average_precision"] for row in present),
        lwlrap=lwlrap(true, values),
        macro_f1=fmean(row["f1"] for row in present),
        micro_f1=float(2 * hits.sum() / (support.sum() + taken.sum())),
        per_class=rows,
        num_clips=len(true),
    )


def _checked(targets: ArrayLike, scores: ArrayLike, num_classes: int) -> tuple[Flags, Floats]:
    values = np.asarray(scores, np.float64)
    true = np.asarray(targets).astype(bool)
    if true.ndim != 2 or values.shape != (len(true), num_classes) or true.shape != values.shape:
        raise ValueError(
            f"Expected targets and scores [n, {num_classes}], not {list(true.shape)} and {list(values.shape)}."
        )
    check_scores(values)
    if not true.any(axis=1).all():
        raise ValueError("Every clip must have a class.")
    return true, values


def lwlrap(targets: ArrayLike, scores: ArrayLike) -> float:
    """Label-weighted label-ranking average precision.

    For each class of each clip: of the classes that have its score or a higher one, the share that the clip has; the
    mean over all of them.

    Args:
      targets: bool [num_clips, num_classes]; at least one is true.
      scores: float [num_clips, num_classes].

    Source: D. Ellis for the Freesound Audio Tagging task of DCASE 2019; with weights of the number of labels it is
    scikit-learn's `label_ranking_average_precision_score`.

    >>> lwlrap([[True, False, True]], [[0.9, 0.8, 0.7]])
    0.8333333333333333
    """
    total, count = 0.0, 0
    for true, row in zip(np.asarray(targets, bool), np.asarray(scores, np.float64), strict=True):
        own = np.sort(row[true])
        above = len(row) - np.searchsorted(np.sort(row), own)
        total += float(np.sum((len(own) - np.searchsorted(own, own)) / above))
        count += len(own)
    return total / count


def chance_average_precision(positives: int, total: int) -> float:
    """Expected average precision of a ranking at random, exact.

    Args:
      positives: clips of the class, at least 1.
      total: clips.

    The clip at rank k is positive with probability p / n; the k - 1 before it hold (k - 1) (p - 1) / (n - 1) others on
    the average.

    >>> chance_average_precision(1, 2)
    0.75
    """
    ranks = np.arange(1, total + 1)
    others = (ranks - 1) * (positives - 1) / max(1, total - 1)
    return float(np.mean((1 + others) / ranks))


@dataclass(frozen=True, eq=False)
class TagResult:
    """What one trained tagger did on the clips that it was not trained on.

    Args:
      fold: name of the fold or of the group left out.
      targets: bool [clips, classes], in the order of the data set.
      scores: float [clips, classes].
      seed: seed of the training; a fold may be given once a seed.
      details: anything else worth keeping.
      of_group: what was left out is a group (a speaker), and the figure is to be of other groups.

    Raises:
      TfaudioError: if there is no clip.
    """

    fold: str
    targets: NDArray[Any]
    scores: NDArray[Any]
    seed: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    of_group: bool = False

    def __post_init__(self) -> None:
        if not len(self.targets):
            raise TfaudioError(f"Fold '{self.fold}' has no test clips; leave it out.")

    @property
    def value(self) -> float:
        """Mean average precision."""
        return mean_average_precision(self.targets, self.scores)


def summarize_tags(results: Iterable[TagResult], *, resamples: int = _RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Brings the folds together, as `tfaudio.evaluation.protocol.summarize_folds` does those of classifiers.

    Clips of different folds are not ranked together: two models' scores have no order in common. So the figure is the
    mean of the folds, each the mean of its seeds.

    Args:
      results: of each fold, once a seed.
      resamples: test sets that are drawn for the interval.
      seed: of the draws.

    Returns:
      mean: mean average precision, mean over the folds.
      standard_deviation: over the folds, with n - 1; None for a single fold.
      interval: lower and upper end of its 95 % bootstrap interval over the clips of each fold; all models that are
        tested on a clip are drawn with it. A class that a draw lacks is left out of that draw. Of groups left out in
        turn that differ, of bootstrap over the groups.
      interval_over: "recordings" or "groups".
      mean_average_precision_per_fold: by name, in the order given.
      num_clips: number of distinct test clips.
      seeds: the seeds, sorted.
      mean_average_precision_per_seed: mean of the folds by seed, as text; of the seeds that all folds have.
      standard_deviation_over_seeds: of these, with n - 1; None for fewer than two.

    Raises:
      TfaudioError: if there is no result, or the seeds of a fold were not tested on the same clips.
    """
    by_fold = by_fold_and_seed(results)
    for name, of_seed in by_fold.items():
        first, *others = of_seed.values()
        if any(not np.array_equal(first.targets, other.targets) for other in others):
            raise TfaudioError(f"The seeds of fold '{name}' were tested on different clips; evaluate them anew.")
    figures = {name: fmean(result.value for result in of_seed.values()) for name, of_seed in by_fold.items()}
    common = sorted(set.intersection(*(set(of_seed) for of_seed in by_fold.values())))
    by_seed = {str(s): fmean(of_seed[s].value for of_seed in by_fold.values()) for s in common}
    mean = fmean(figures.values())
    of_groups = all(result.of_group for of_seed in by_fold.values() for result in of_seed.values())
    over_groups = of_groups and len(set(figures.values())) > 1  # groups that are all alike know no doubt, as one does
    if over_groups:
        low, high = grouped_bootstrap_interval([[figure] for figure in figures.values()], seed=seed)
    else:
        rng = np.random.default_rng(seed)
        drawn = np.mean([_resampled(list(of_seed.values()), rng, resamples) for of_seed in by_fold.values()], axis=0)
        low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "mean": mean,
        "standard_deviation": stdev(figures.values()) if len(figures) > 1 else None,
        # A clip that is drawn twice is ranked beside itself, which lifts small test sets' draws a little.
        "interval": [min(float(low), mean), max(float(high), mean)],
        "interval_over": "groups" if over_groups else "recordings",
        "mean_average_precision_per_fold": figures,
        "num_clips": sum(len(next(iter(of_seed.values())).targets) for of_seed in by_fold.values()),
        "seeds": sorted({s for of_seed in by_fold.values() for s in of_seed}),
        "mean_average_precision_per_seed": by_seed,
        "standard_deviation_over_seeds": stdev(by_seed.values()) if len(by_seed) > 1 else None,
    }


def _resampled(results: Sequence[TagResult], rng: np.random.Generator, resamples: int) -> Floats:
    """Mean average precision of test sets drawn with replacement, mean over models of one fold, float64 [resamples]."""
    draws = bootstrap_draws(len(results[0].targets), rng, resamples)
    return np.concatenate([np.mean([_weighted_mean(result, drawn) for result in results], axis=0) for drawn in draws])


def _weighted_mean(result: TagResult, weights: Floats) -> Floats:
    """Mean average precision where clips count several times, or not at all: of weights [draws, clips], [draws]."""
    true = np.asarray(result.targets, bool)
    total, present = np.zeros(len(weights)), np.zeros(len(weights))
    for index in np.flatnonzero(true.any(axis=0)):
        own = np.asarray(result.scores[:, index], np.float64)
        order = np.argsort(-own, kind="stable")
        last_of_equals = np.append(np.diff(own[order]) != 0, True)
        drawn = weights[:, order]
        taken = np.cumsum(drawn, axis=1)[:, last_of_equals]
        hits = np.cumsum(drawn * true[order, index], axis=1)[:, last_of_equals]
        there = hits[:, -1] > 0
        gained = np.diff(hits, axis=1, prepend=0.0) * hits / np.maximum(taken, 1.0)
        total += np.where(there, gained.sum(axis=1) / np.maximum(hits[:, -1], 1.0), 0.0)
        present += there
    return total / present


def difference_interval(
    pairs: Sequence[tuple[TagResult, TagResult]], *, resamples: int = _RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Ends of the 95 % bootstrap interval of how much better the second taggers rank than the first.

    Args:
      pairs: of each fold, the results of both on the same clips; these are drawn for both together.
      resamples: test sets that are drawn.
      seed: of the draws.

    Returns:
      Lower and upper end of the difference of the mean average precisions, mean over the folds.
    """
    rng = np.random.default_rng(seed)
    drawn = np.mean(
        [
            np.concatenate([_weighted_mean(b, part) - _weighted_mean(a, part) for part in draws])
            for a, b in pairs
            for draws in [bootstrap_draws(len(a.targets), rng, resamples)]
        ],
        axis=0,
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def chance(results: Iterable[TagResult]) -> float:
    """Returns the mean average precision of scores at random, mean over the results: what knows nothing has."""
    return fmean(
        fmean(chance_average_precision(int(n), len(result.targets)) for n in np.sum(result.targets, axis=0) if n)
        for result in results
    )
