"""The gate: the same clips through Keras and through every artifact, before an artifact gets its name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError
from tfaudio.export.report import SAVED_MODEL, STREAMING, GateConfig

Array = npt.NDArray[np.float32]
# float32 [batch, num_samples] to scores float32 [batch, classes]; of what takes text with a list of texts beside them.
Score = Callable[..., Array]

BATCH_SIZE = 32
# These compute what Keras computes, so their scores are held to Keras' and not only their decisions.
EXACT = (SAVED_MODEL, "float32", STREAMING)


@dataclass(frozen=True)
class Measurement:
    """How one artifact compares with Keras; see FormatReport."""

    accuracy: float | None
    agreement: float
    max_score_difference: float
    latency_ms: float
    problems: tuple[str, ...] = ()
    class_accuracy: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class GateResult:
    """The gate's findings; `artifacts` by name."""

    clips: int
    keras_accuracy: float | None
    keras_latency_ms: float
    keras_class_accuracy: tuple[float | None, ...] | None = None
    artifacts: dict[str, Measurement] = field(default_factory=dict)


def run_gate(
    keras_score: Score,
    artifacts: Mapping[str, Score],
    *,
    waveforms: Iterable[Array],
    targets: Iterable[int] | None,
    gate: GateConfig,
    batch_size: int = BATCH_SIZE,
    texts: Sequence[str] | None = None,
) -> GateResult:
    """Compares artifacts with Keras on the same clips.

    Args:
      keras_score: the reference.
      artifacts: by format name, which decides the rules: `EXACT` ones must give the same scores, the others the same
        decisions.
      waveforms: windows, float32 [num_samples] each; an array [clips, num_samples] will do. They are read once and
        never all held in memory.
      targets: class index of each window, or None if unknown.
      gate: the thresholds.
      batch_size: windows scored at a time; 1 takes windows of unequal length.
      texts: of each window, "" where there is none; None scores windows alone.

    Raises:
      TfaudioError: if there are no clips, or not one target and text for each.
    """
    labelled = targets is not None
    expected: list[int] = [int(t) for t in targets] if targets is not None else []
    reference: list[Array] = []
    scores: dict[str, list[Array]] = {name: [] for name in artifacts}
    first: tuple[Any, ...] | None = None
    count = 0
    for batch in batches(waveforms, batch_size):
        given = (batch,) if texts is None else (batch, list(texts[count : count + len(batch)]))
        count += len(batch)
        if texts is not None and len(texts) < count:
            raise TfaudioError(f"The export gate got {count} clips or more but {len(texts)} texts.")
        first = tuple(part[:1] for part in given) if first is None else first
        reference.append(keras_score(*given))
        for name, score in artifacts.items():
            scores[name].append(score(*given))
    if first is None:
        raise TfaudioError("The export gate needs at least one clip to compare the artifacts on; none was given.")
    wanted = np.concatenate(reference)
    if labelled and len(expected) != len(wanted):
        raise TfaudioError(f"The export gate got {len(wanted)} clips but {len(expected)} targets.")
    truth = np.asarray(expected) if labelled else None
    result = GateResult(
        len(wanted), _accuracy(wanted, truth), median_latency_ms(keras_score, *first), _class_accuracy(wanted, truth)
    )
    for name, score in artifacts.items():
        found = np.concatenate(scores[name])
        measurement = Measurement(
            accuracy=_accuracy(found, truth),
            agreement=float(np.mean(found.argmax(axis=1) == wanted.argmax(axis=1))),
            max_score_difference=float(np.abs(found - wanted).max()) if np.isfinite(found).all() else float("inf"),
            latency_ms=median_latency_ms(score, *first),
            class_accuracy=_class_accuracy(found, truth),
        )
        problems = tuple(_problems(name, measurement, result, gate))
        result.artifacts[name] = Measurement(**{**vars(measurement), "problems": problems})
    return result


def _problems(name: str, found: Measurement, result: GateResult, gate: GateConfig) -> Iterator[str]:
    if not np.isfinite(found.max_score_difference):
        yield "it gives scores that are not finite."
        return
    if found.agreement < gate.min_agreement:
        yield (
            f"its best class is that of Keras on {found.agreement:.1%} of {result.clips} clips, below "
            f"{gate.min_agreement:.1%}."
        )
    if found.accuracy is not None and result.keras_accuracy is not None:
        drop = result.keras_accuracy - found.accuracy
        allowed = max(gate.max_accuracy_drop, 1.0 / result.clips)
        if drop > allowed + 1e-9:
            yield (
                f"its accuracy {found.accuracy:.4f} is {drop:.4f} below that of Keras ({result.keras_accuracy:.4f}); "
                f"{allowed:.4f} is allowed."
            )
    if name in EXACT and found.max_score_difference > gate.max_float_score_difference:
        yield (
            f"its scores differ from those of Keras by up to {found.max_score_difference:.1e}; "
            f"{gate.max_float_score_difference:.1e} is allowed."
        )


def _accuracy(scores: Array, targets: npt.NDArray[np.int64] | None) -> float | None:
    return None if targets is None else float(np.mean(scores.argmax(axis=1) == targets))


def _class_accuracy(scores: Array, targets: npt.NDArray[np.int64] | None) -> tuple[float | None, ...] | None:
    """Share of each class's clips that get its label; None for a class without clips."""
    if targets is None:
        return None
    hits = scores.argmax(axis=1) == targets
    return tuple(float(hits[targets == c].mean()) if (targets == c).any() else None for c in range(scores.shape[1]))


def batches(waveforms: Iterable[Array], size: int) -> Iterator[Array]:
    """Stacks windows into batches, float32 [up to size, num_samples]."""
    rows = iter(waveforms)
    while chunk := list(itertools.islice(rows, size)):
        yield np.stack(chunk).astype(np.float32, copy=False)


def median_latency_ms(score: Score, *given: Any, runs: int = 30, budget_seconds: float = 2.0) -> float:
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
