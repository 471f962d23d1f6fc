from __future__ import annotations

import numpy as np
import pytest

from tfaudio.errors import TfaudioError
from tfaudio.export.parity import GateResult, run_gate
from tfaudio.export.report import GateConfig

CLIPS, CLASSES = 100, 4
RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, CLASSES, CLIPS)
# A waveform that is its own scores: the "models" below see only what the gate hands them.
WAVEFORMS = (0.7 * np.eye(CLASSES)[TARGETS] + 0.075).astype(np.float32)


def keras_score(batch: np.ndarray) -> np.ndarray:
    return batch


def wrong_on_first(count: int) -> np.ndarray:
    scores = WAVEFORMS.copy()
    scores[:count] = np.roll(scores[:count], 1, axis=1)
    return scores


def gate(name: str, scores: np.ndarray, **thresholds: float) -> GateResult:
    rows = {row.tobytes() + bytes([index]): index for index, row in enumerate(WAVEFORMS)}
    assert len(rows) == CLIPS
    position = 0

    def score(batch: np.ndarray) -> np.ndarray:
        nonlocal position
        start, position = position, position + len(batch)
        # Latency is measured after the comparison, on the first clip again and again.
        return scores[start:position] if position <= CLIPS else scores[:1]

    return run_gate(
        keras_score,
        {name: score},
        waveforms=iter(WAVEFORMS),
        targets=TARGETS.tolist(),
        gate=GateConfig(**thresholds),
    )


def test_equal_scores_pass() -> None:
    result = gate("float32", WAVEFORMS)
    found = result.artifacts["float32"]
    assert (found.problems, found.accuracy, found.agreement, found.max_score_difference) == ((), 1.0, 1.0, 0.0)
    assert (result.clips, result.keras_accuracy) == (CLIPS, 1.0)


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (1, True), (2, False), (10, False)])
def test_one_point_is_the_limit(wrong: int, passes: bool) -> None:
    found = gate("int8", wrong_on_first(wrong)).artifacts["int8"]
    assert found.accuracy == pytest.approx(1 - wrong / CLIPS)
    assert found.agreement == pytest.approx(1 - wrong / CLIPS)
    assert (not found.problems) == passes


def test_agreement_has_its_own_limit() -> None:
    found = gate("int8", wrong_on_first(6), max_accuracy_drop=0.5).artifacts["int8"]
    assert len(found.problems) == 1
    assert "94.0% of 100 clips" in found.problems[0]


def test_scores_are_held_to_keras_where_the_arithmetic_is_the_same() -> None:
    shifted = WAVEFORMS + np.float32(1e-3)
    assert "1.0e-03" in gate("float32", shifted).artifacts["float32"].problems[0]
    assert "1.0e-03" in gate("saved_model", shifted).artifacts["saved_model"].problems[0]
    assert not gate("float16", shifted).artifacts["float16"].problems


def test_nan_never_passes() -> None:
    scores = WAVEFORMS.copy()
    scores[50] = np.nan
    assert "not finite" in gate("int8", scores).artifacts["int8"].problems[0]


def test_no_clips_is_no_proof() -> None:
    with pytest.raises(TfaudioError, match="at least one clip"):
        run_gate(keras_score, {}, waveforms=[], targets=None, gate=GateConfig())
