"""How well scores rank: average precision, in NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def average_precision(positive: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps, without interpolation.

    Clips with equal scores enter together, so their order does not matter.

    Args:
      positive: bool [num_clips], whether the clip belongs to the class; at least one does.
      scores: float [num_clips], score of the class.

    Source: AP = sum_n (R_n - R_(n-1)) P_n over descending thresholds, the convention of scikit-learn.

    >>> average_precision([True, False, True], [0.9, 0.8, 0.7])
    0.8333333333333333
    """
    positive, scores = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    hits, taken = hits[last_of_equals], np.flatnonzero(last_of_equals) + 1
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * (hits / taken)))


def class_average_precisions(targets: ArrayLike, scores: ArrayLike) -> list[float | None]:
    """Average precision of each class; None of one that no clip has.

    Args:
      targets: bool [num_clips, num_classes].
      scores: float [num_clips, num_classes].
    """
    true, values = np.asarray(targets, dtype=bool), np.asarray(scores, dtype=np.float64)
    return [average_precision(own, value) if own.any() else None for own, value in zip(true.T, values.T, strict=True)]


def mean_average_precision(targets: ArrayLike, scores: ArrayLike) -> float:
    """Mean of the classes' average precision, without those that no clip has.

    Args:
      targets: bool [num_clips, num_classes]; one at least is true.
      scores: float [num_clips, num_classes].
    """
    return float(np.mean([value for value in class_average_precisions(targets, scores) if value is not None]))
