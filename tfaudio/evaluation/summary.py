"""The folds of a protocol brought together, of classifiers and of taggers alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfaudio.evaluation.protocol import FoldResult, summarize_folds
from tfaudio.evaluation.tagging import TagResult, summarize_tags

# What people read, by the key of a result's main figure.
METRICS: Mapping[str, str] = {"accuracy": "accuracy", "mean_average_precision": "mean average precision"}


def summarize(results: Sequence[FoldResult | TagResult]) -> dict[str, Any]:
    """Brings the folds together.

    Returns:
      What `summarize_folds` gives, or `summarize_tags` of taggers, and
      metric: key of the main figure, one of METRICS.
      value: the main figure.

    Raises:
      TfaudioError: as those do.
      ValueError: if results of both kinds are given, whose figures have no mean.
    """
    tags = [result for result in results if isinstance(result, TagResult)]
    if 0 < len(tags) < len(results):
        raise ValueError("Results of classifiers and of taggers have no mean.")
    if tags:
        summary = summarize_tags(tags)
        return {**summary, "metric": "mean_average_precision", "value": summary["mean"]}
    summary = summarize_folds([result for result in results if isinstance(result, FoldResult)])
    return {**summary, "metric": "accuracy", "value": summary["pooled"]}


def metric_of(record: Mapping[str, Any]) -> str:
    """The key of the main figure that a record holds."""
    return next(name for name in METRICS if name in record)
