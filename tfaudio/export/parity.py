"""The gate: the same clips through Keras and through every artifact, before an artifact gets its name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError, first_line
from tfaudio.export.report import SAVED_MODEL, STREAMING, GateConfig
from tfaudio.ranking import class_average_precisions, mean_average_precision

Array = npt.NDArray[np.float32]
# float32 [batch, num_samples] to scores float32 [batch, classes]; of what takes text with a list of texts beside them.
Score = Callable[..., Array]

BATCH_SIZE = 32
# These compute what Keras computes, so their scores are held to Keras' and not only their decisions.
EXACT = (SAVED_MODEL, "float32", STREAMING)


@dataclass(frozen=True)
class Measurement:
    """How one artifact compares with Keras; see FormatReport, of taggers too."""

    accuracy: float | None
    agreement: float
    max_score_difference: float
    latency_ms: float
    problems: tuple[str, ...] = ()
    class_accuracy: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class GateResult:
    """The gate's findings; `artifacts` by name, and why of those that failed. Of taggers, accuracies are average
    precisions."""

    clips: int
    keras_accuracy: float | None
    keras_latency_ms: float
    keras_class_accuracy: tuple[float | None, ...] | None = None
    artifacts: dict[str, Measurement] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def run_gate(
    keras_score: Score,
    artifacts: Mapping[str, Score],
    *,
    waveforms: Iterable[Array],
    targets: Iterable[Any] | None,
    gate: GateConfig,
    batch_size: int = BATCH_SIZE,
    texts: Sequence[str] | None = None,
    thresholds: Sequence[float] | None = None,
) -> GateResult:
    """Compares artifacts with Keras on the same clips.

    Args:
      keras_score: the reference.
      artifacts: by format name, which decides the rules: `EXACT` ones must give the same scores, the others the same
        decisions.
      waveforms: windows, float32 [num_samples] each; an array [clips, num_samples] will do. They are read once and
        never all held in memory.
      targets: class index of each window, of taggers 0 or 1 for each class, or None if unknown.
      gate: the thresholds.
      batch_size: windows scored at a time; 1 takes windows of unequal length.
      texts: of each window, "" where there is none; None scores windows alone.
      thresholds: of taggers, the score from which on each class is given; None of what gives one class.

    Raises:
      TfaudioError: if there are no clips, or not one target and text for each.
    """
    labelled, judge = targets is not None, _OneClass() if thresholds is None else _Tags(np.asarray(thresholds))
    expected = list(targets) if targets is not None else []
    reference: list[Array] = []
    scores: dict[str, list[Array]] = {name: [] for name in artifacts}
    failures: dict[str, str] = {}
    first: tuple[Any, ...] | None = None
    count = 0
    for batch in batches(waveforms, batch_size):
        given = (batch,) if texts is None else (batch, list(texts[count : count + len(batch)]))
        count += len(batch)
        if texts is not None and len(texts) < count:
            raise TfaudioError(f"The export gate got {count} clips or more but {len(texts)} texts.")
        first = tuple(part[:1] for part in given) if first is None else first
        reference.append(keras_score(*given))
        for name in [name for name in artifacts if name not in failures]:
            try:
                scores[name].append(artifacts[name](*given))
            except (RuntimeError, ValueError) as error:  # one that fails says nothing of the others
                reason = first_line(error).removesuffix(".")
                failures[name] = f"it fails on a test clip ({reason})."
    if first is None:
        raise TfaudioError("The export gate needs at least one clip to compare the artifacts on; none was given.")
    wanted = np.concatenate(reference)
    if labelled and len(expected) != len(wanted):
        raise TfaudioError(f"The export gate got {len(wanted)} clips but {len(expected)} targets.")
    truth = np.asarray(expected) if labelled else None
    result = GateResult(
        len(wanted),
        judge.accuracy(wanted, truth) if truth is not None else None,
        median_latency_ms(keras_score, *first),
        judge.class_accuracy(wanted, truth) if truth is not None else None,
        failures=failures,
    )
    for name, score in artifacts.items():
        if name in failures:
            continue
        found = np.concatenate(scores[name])
        measurement = Measurement(
            accuracy=judge.accuracy(found, truth) if truth is not None else None,
            agreement=judge.agreement(found, wanted),
            max_score_difference=float(np.abs(found - wanted).max()) if np.isfinite(found).all() else float("inf"),
            latency_ms=median_latency_ms(score, *first),
            class_accuracy=judge.class_accuracy(found, truth) if truth is not None else None,
        )
        problems = tuple(_problems(name, measurement, result, gate, judge))
        result.artifacts[name] = Measurement(**{**vars(measurement), "problems": problems})
    return result


def _problems(name: str, found: Measurement, result: GateResult, gate: GateConfig, judge: _Judge) -> Iterator[str]:
    if not np.isfinite(found.max_score_difference):
        yield "it gives scores that are not finite."
        return
    if found.agreement < gate.min_agreement:
        yield (f"{judge.agrees} {found.agreement:.1%} of {result.clips} clips, below {gate.min_agreement:.1%}.")
    if found.accuracy is not None and result.keras_accuracy is not None:
        drop = result.keras_accuracy - found.accuracy
        allowed = max(gate.max_accuracy_drop, 1.0 / result.clips)
        if drop > allowed + 1e-9:
            yield (
                f"its {judge.metric} {found.accuracy:.4f} is {drop:.4f} below that of Keras "
                f"({result.keras_accuracy:.4f}); {allowed:.4f} is allowed."
            )
    if name in EXACT and found.max_score_difference > gate.score_difference:
        yield (
            f"its scores differ from those of Keras by up to {found.max_score_difference:.1e}; "
            f"{gate.score_difference:.1e} is allowed (--max_score_difference)."
        )


class _Judge(Protocol):
    """What scores are worth, and whether two decide alike. Targets are one a clip, as `run_gate` takes them."""

    metric: str
    agrees: str

    def accuracy(self, scores: Array, targets: npt.NDArray[Any]) -> float: ...

    def class_accuracy(self, scores: Array, targets: npt.NDArray[Any]) -> tuple[float | None, ...]: ...

    def agreement(self, scores: Array, others: Array) -> float: ...


class _OneClass:
    metric, agrees = "accuracy", "its best class is that of Keras on"

    def accuracy(self, scores: Array, targets: npt.NDArray[Any]) -> float:
        return float(np.mean(scores.argmax(axis=1) == targets))

    def class_accuracy(self, scores: Array, targets: npt.NDArray[Any]) -> tuple[float | None, ...]:
        """Share of each class's clips that get its label; None for a class without clips."""
        hits = scores.argmax(axis=1) == targets
        return tuple(float(hits[targets == c].mean()) if (targets == c).any() else None for c in range(scores.shape[1]))

    def agreement(self, scores: Array, others: Array) -> float:
        return float(np.mean(scores.argmax(axis=1) == others.argmax(axis=1)))


class _Tags:
    metric, agrees = "mean average precision", "its tags and those of Keras have in common, on the average,"

    def __init__(self, thresholds: npt.NDArray[np.float64]) -> None:
        self._thresholds = thresholds

    def accuracy(self, scores: Array, targets: npt.NDArray[Any]) -> float:
        return mean_average_precision(targets, np.nan_to_num(scores))

    def class_accuracy(self, scores: Array, targets: npt.NDArray[Any]) -> tuple[float | None, ...]:
        return tuple(class_average_precisions(targets, np.nan_to_num(scores)))

    def agreement(self, scores: Array, others: Array) -> float:
        """Mean over the clips of how many tags both give of all that either gives; 1 where neither gives any."""
        first, second = scores >= self._thresholds, others >= self._thresholds
        both, either = (first & second).sum(axis=1), (first | second).sum(axis=1)
        return float(np.mean(np.where(either > 0, both / np.maximum(either, 1), 1.0)))


def batches(waveforms: Iterable[Array], size: int) -> Iterator[Array]:
    """Stacks windows into batches, float32 [up to size, num_samples]."""
    rows = iter(waveforms)
    while chunk := list(itertools.islice(rows, size)):
        yield np.stack(chunk).astype(np.float32, copy=False)


def median_latency_ms(score: Callable[..., object], *given: Any, runs: int = 30, budget_seconds: float = 2.0) -> float:
    """Median time of a call with what is given, in ms, over up to `runs` calls after two that do not count."""
    score(*given)
    score(*given)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < runs and (len(times) < 3 or time.perf_counter() - start < budget_seconds):
        before = time.perf_counter()
        score(*given)
        times.append(time.perf_counter() - before)
    return float(np.median(times) * 1000)
