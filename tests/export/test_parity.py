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


def test_an_artifact_that_fails_leaves_the_others_measured():
    def fail(_):
        raise RuntimeError("tensor 7 has no data.\nin node 3")

    def score(batch):
        return np.full((len(batch), 2), 0.5, np.float32)

    clips = np.zeros((3, 4), np.float32)
    found = run_gate(score, {"int8": fail, "float32": score}, waveforms=clips, targets=[0, 0, 0], gate=GateConfig())
    assert found.failures == {"int8": "it fails on a test clip (tensor 7 has no data)."}
    assert list(found.artifacts) == ["float32"]
    assert found.artifacts["float32"].agreement == 1.0


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


TAG_SCORES = np.tile(np.array([[0.9, 0.6, 0.1], [0.2, 0.8, 0.3]], np.float32), (10, 1))
TAG_TARGETS = np.tile([[1, 1, 0], [0, 1, 1]], (10, 1)).tolist()


def tag_gate(name: str, scores: np.ndarray, cuts: tuple[float, ...] = (0.5, 0.5, 0.5)) -> GateResult:
    return run_gate(
        lambda batch: TAG_SCORES[: len(batch)],
        {name: lambda batch: scores[: len(batch)]},
        waveforms=np.zeros((20, 4), np.float32),
        targets=TAG_TARGETS,
        gate=GateConfig(),
        thresholds=cuts,
    )


def test_tags_agree_where_they_are_the_same_sets() -> None:
    shifted = TAG_SCORES + np.float32([0.05, -0.05, 0.05])
    result = tag_gate("int8", shifted)
    # "c" is ranked below nothing: its ten clips score 0.3, the others 0.1.
    assert result.keras_accuracy == pytest.approx(1.0)
    assert result.keras_class_accuracy == pytest.approx((1.0, 1.0, 1.0))
    found = result.artifacts["int8"]
    assert (found.agreement, found.accuracy, found.problems) == (1.0, pytest.approx(1.0), ())
    assert "differ" in tag_gate("float32", shifted).artifacts["float32"].problems[0]


def test_lost_tags_count_as_their_share() -> None:
    scores = TAG_SCORES.copy()
    scores[0, 1] = 0.4  # one of two tags of one of twenty clips
    assert tag_gate("int8", scores).artifacts["int8"].agreement == pytest.approx(1 - 0.5 / 20)
    scores[::2, 1] = 0.4
    found = tag_gate("int8", scores).artifacts["int8"]
    assert found.agreement == pytest.approx(0.75)
    assert found.problems == (
        "its tags and those of Keras have in common, on the average, 75.0% of 20 clips, below 95.0%.",
    )
    # With other thresholds the same scores are the same tags, or none at all.
    assert tag_gate("int8", scores, (0.5, 0.39, 0.5)).artifacts["int8"].agreement == 1.0
    assert tag_gate("int8", scores, (0.99, 0.99, 0.99)).artifacts["int8"].agreement == 1.0


def test_a_fall_of_the_mean_average_precision_is_withheld() -> None:
    scores = TAG_SCORES.copy()
    scores[:, 2] = [0.3, 0.1] * 10  # "c" the wrong way round: ten of twenty, all behind the others
    found = tag_gate("int8", scores).artifacts["int8"]
    assert found.agreement == 1.0
    assert found.class_accuracy == pytest.approx(
        (1.0, 1.0, 0.5)
    )  # ten of twenty, once all are in: equals enter together
    assert "its mean average precision 0.8333 is 0.1667 below that of Keras (1.0000)" in found.problems[0]


def test_tags_that_are_no_numbers_never_pass() -> None:
    scores = TAG_SCORES.copy()
    scores[3, 0] = np.nan
    assert "not finite" in tag_gate("int8", scores).artifacts["int8"].problems[0]
