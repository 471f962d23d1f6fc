"""Calibration against formulas of its own, in float64, and against scores whose truth is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfaudio.errors import TfaudioError
from tfaudio.evaluation.calibration import (
    RunCalibration,
    Scored,
    brier_score,
    calibration_record,
    calibration_table,
    class_thresholds,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    reliability_png,
    tag_figures,
    unknown_figures,
    unknown_threshold,
)
from tfaudio.labels import LabelMap


def drawn(count: int, temperature: float, seed: int = 0, classes: int = 4) -> Scored:
    """Logits, a window a clip, whose classes are drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = 3.0 * rng.standard_normal((count, classes))
    odds = np.exp(logits / temperature)
    odds /= odds.sum(axis=1, keepdims=True)
    targets = (rng.random(count)[:, None] > odds.cumsum(axis=1)).sum(axis=1)
    return Scored(logits.astype(np.float32), np.arange(count), targets)


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_classes_is_found(truth: float) -> None:
    scored = drawn(20_000, truth)
    found = fit_temperature(scored)
    assert found == pytest.approx(truth, rel=0.04)
    after = scored.scores(found)
    bins = reliability_bins(after.max(axis=1), after.argmax(axis=1) == scored.targets, equal_mass=True)
    assert expected_calibration_error(bins) < 0.015


def test_the_temperature_is_the_likeliest_of_a_fine_grid() -> None:
    scored = drawn(60, 1.7, seed=5)
    grid = np.exp(np.linspace(np.log(0.2), np.log(10), 4_001))
    logits = scored.logits.astype(np.float64)
    losses = []
    for temperature in grid:
        shifted = logits / temperature
        losses.append(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(60), scored.targets]))
    assert fit_temperature(scored) == pytest.approx(grid[np.argmin(losses)], rel=2e-3)


def test_windows_of_a_clip_are_averaged_as_scores() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 4.0]])
    scores = Scored(logits, np.array([0, 1, 0]), np.array([0, 1])).scores(2.0)

    def first(difference: float) -> float:
        return 1 / (1 + np.exp(-difference / 2.0))

    np.testing.assert_allclose(scores[:, 0], [(first(2.0) + first(-4.0)) / 2, first(-1.0)])
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)


def test_recordings_that_are_all_right_tell_no_temperature() -> None:
    logits = 5.0 * np.eye(3)[[0, 1, 2, 0]]
    with pytest.raises(TfaudioError, match="4 of the 4 validation recordings are right"):
        fit_temperature(Scored(logits, np.arange(4), np.array([0, 1, 2, 0])))
    with pytest.raises(TfaudioError, match="0 of the 4"):
        fit_temperature(Scored(logits, np.arange(4), np.array([1, 2, 0, 1])))


def test_calibration_errors_worked_by_hand() -> None:
    confidences = [0.95, 0.91, 0.55, 0.52, 0.58, 0.2]
    correct = [True, False, True, False, False, True]
    by_width = reliability_bins(confidences, correct, equal_mass=False, num_bins=10)
    assert [b.count for b in by_width] == [1, 3, 2]
    expected = (1 * abs(0.2 - 1) + 3 * abs(0.55 - 1 / 3) + 2 * abs(0.93 - 0.5)) / 6
    assert expected_calibration_error(by_width) == pytest.approx(expected)
    by_mass = reliability_bins(confidences, correct, equal_mass=True, num_bins=3)
    expected = (2 * abs(0.36 - 0.5) + 2 * abs(0.565 - 0.5) + 2 * abs(0.93 - 0.5)) / 6
    assert expected_calibration_error(by_mass) == pytest.approx(expected)
    assert [b.count for b in reliability_bins([1.0, 0.0], [True, False], equal_mass=False)] == [1, 1]
    assert len(reliability_bins(confidences, correct, equal_mass=True)) == 6


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_errors_against_binned_statistics(pairs: list[tuple[float, bool]]) -> None:
    confidences, correct = np.array([c for c, _ in pairs]), np.array([float(right) for _, right in pairs])
    edges = np.arange(16) / 15
    gaps = stats.binned_statistic(confidences, confidences - correct, "sum", bins=edges)[0]
    # A value that rounding puts beyond an edge would be counted elsewhere.
    if np.abs(confidences[:, None] - edges[1:-1]).min() > 1e-9:
        found = expected_calibration_error(reliability_bins(confidences, correct, equal_mass=False))
        assert found == pytest.approx(np.abs(gaps).sum() / len(pairs), abs=1e-9)
    one_bin = expected_calibration_error(reliability_bins(confidences, correct, equal_mass=True, num_bins=1))
    assert one_bin == pytest.approx(abs(confidences.mean() - correct.mean()))


def test_likelihood_and_brier_score_worked_by_hand() -> None:
    scores = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    assert negative_log_likelihood(scores, np.array([1, 1])) == pytest.approx(np.log(4) / 2)
    assert brier_score(scores, np.array([1, 1])) == pytest.approx((0.5**2 + 0.75**2 + 0.25**2) / 2)
    assert np.isfinite(negative_log_likelihood(scores, np.array([1, 0])))


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_scores_that_are_all_alike_are_one_bin_to_the_calibration_error(share: float) -> None:
    correct = np.random.default_rng(0).permutation(np.arange(300) < 300 * share)
    bins = reliability_bins(np.full(300, share), correct, equal_mass=True)
    assert len(bins) > 1
    assert expected_calibration_error(bins) == pytest.approx(0.0, abs=1e-12)
    mixed = np.where(np.arange(300) < 150, share, 0.8)
    again = expected_calibration_error(reliability_bins(mixed, correct, equal_mass=True))
    order = np.random.default_rng(1).permutation(300)
    assert expected_calibration_error(reliability_bins(mixed[order], correct[order], equal_mass=True)) == pytest.approx(
        again
    )


def test_average_precisions_of_several_taggers_are_not_pooled() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (200, 2))
    # Each ranks perfectly, the second with all of its scores above the first's.
    logits = [4.0 * targets[:100] - 9.0, 4.0 * targets[100:] + 5.0]
    runs = {
        f"fold_{number}": RunCalibration(
            1.0, {}, None, None, 30, Scored(part.astype(np.float32), np.arange(100), targets[100 * number :][:100])
        )
        for number, part in enumerate(logits)
    }
    record = calibration_record(runs, LabelMap(("a", "b")))
    assert record["before"]["mean_average_precision"] == 1.0
    assert record["after"]["mean_average_precision"] == 1.0


def test_class_thresholds_part_a_class_from_the_rest_where_f1_is_best() -> None:
    # cat: 0.9 and 0.7 are cats, 0.3 and 0.1 are none. dog: the best cut takes one stranger along. No cow is there.
    scores = np.array([[0.9, 0.05, 0.05], [0.7, 0.25, 0.05], [0.3, 0.65, 0.05], [0.1, 0.45, 0.45]])
    labels = LabelMap(("cat", "dog", "cow"))
    found = class_thresholds(scores, np.array([0, 0, 1, 1]), labels)
    assert found == {"cat": pytest.approx(0.5), "dog": pytest.approx(0.35)}
    found = class_thresholds(scores, np.array([0, 1, 0, 1]), labels)
    # Of cats at 0.9 and 0.3: from 0.2 on 2 of 3 are right, F1 0.8, but 0.2 speaks against one of three classes; from
    # 0.5 on 1 of 2, F1 0.5; from 0.8 on 1 of 1, F1 0.67.
    assert found["cat"] == pytest.approx(0.8)


def test_thresholds_of_tiny_scores_still_part_them() -> None:
    scores = np.array([[9e-7, 1.0], [2e-7, 1.0], [1e-7, 1.0], [0.5, 0.5]])
    targets = np.array([[1, 1], [1, 1], [0, 1], [1, 0]], bool)
    cut = class_thresholds(scores, targets, LabelMap(("rare", "usual")))["rare"]
    assert 1e-7 < cut <= 2e-7


@given(st.integers(0, 10_000))
def test_no_threshold_has_a_better_f1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1, 1], size=12).round(2)
    targets = rng.integers(0, 2, 12)
    found = class_thresholds(scores, targets, LabelMap(("a", "b")))

    def f1(cut: float, index: int) -> float:
        taken, positive = scores[:, index] >= cut, targets == index
        return 2 * (taken & positive).sum() / (taken.sum() + positive.sum())

    for index, label in enumerate("ab"):
        between = [cut for cut in np.arange(0.505, 1, 0.01) if scores[:, index].min() < cut < scores[:, index].max()]
        if label in found:
            assert f1(found[label], index) == pytest.approx(max(f1(cut, index) for cut in between))


def test_the_threshold_for_unknown_keeps_the_share_it_promises() -> None:
    confidences = np.linspace(0.5, 0.99, 50)
    scores = np.stack([confidences, 1 - confidences], axis=1)
    targets = np.zeros(50, int)
    for keep, least in ((1.0, 50), (0.95, 48), (0.5, 25)):
        cut = unknown_threshold(scores, targets, keep=keep)
        assert (confidences >= cut).sum() == least
    targets[:25] = 1  # answers that are wrong have no say
    assert unknown_threshold(scores, targets, keep=1.0) == pytest.approx(confidences[25], abs=1e-6)
    assert unknown_threshold(scores, targets, keep=0.0) == pytest.approx(confidences[-1], abs=1e-6)
    with pytest.raises(TfaudioError, match="No validation recording"):
        unknown_threshold(scores, np.ones(50, int))


def test_each_run_is_judged_by_its_own_calibration() -> None:
    runs = {
        f"fold_{number}": RunCalibration(temperature, {"a": 0.5}, 0.9, 0.4, 30, drawn(400, temperature, seed=number))
        for number, temperature in ((1, 2.0), (2, 3.5))
    }
    record = calibration_record(runs, LabelMap(("a", "b")))
    assert record["num_clips"] == 800
    assert record["after"]["accuracy"] == record["before"]["accuracy"]
    for key in ("ece_equal_mass", "ece_equal_width", "negative_log_likelihood", "brier"):
        assert record["after"][key] < record["before"][key]
    scores = np.concatenate([run.test.scores(run.temperature) for run in runs.values()])
    assert record["after"]["answered"] == np.mean(scores.max(axis=1) >= 0.4)
    assert record["after"]["accuracy_of_answered"] > record["after"]["accuracy"]
    assert calibration_record(runs, LabelMap(("a", "b")), tested=["1", "1"])["num_clips"] == 400  # two seeds of a fold
    table = calibration_table(record, title="words")
    assert "fold_2: temperature 3.500" in table
    assert len({len(line) for line in table.splitlines()[5:14]}) == 1
    assert reliability_png(record, title="$ and _")[:4] == b"\x89PNG"


@given(st.integers(0, 10_000))
def test_known_and_unknown_are_told_apart_as_counting_the_pairs_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, unknown = rng.beta(4, 2, 40).round(2), rng.beta(2, 3, 25).round(2)  # rounded, so that there are ties
    found = unknown_figures(known, unknown, 0.5)
    pairs = (known[:, None] > unknown).mean() + 0.5 * (known[:, None] == unknown).mean()
    assert found["auroc"] == pytest.approx(pairs)
    cuts = [cut for cut in np.unique(known) if (known >= cut).mean() >= 0.95]
    assert found["false_accepts"] == (unknown >= max(cuts)).mean()
    assert found["refused"] == (unknown < 0.5).mean()


def test_unknown_recordings_have_their_lines() -> None:
    runs = {
        name: RunCalibration(1.0, {}, 0.5, 0.5, 9, drawn(60, 1.0, seed=seed), drawn(20, 1.0, seed=seed + 7))
        for seed, name in enumerate(("fold_1", "fold_2"))
    }
    record = calibration_record(runs, LabelMap(("a", "b")))
    highest = np.concatenate([run.unknown.scores().max(axis=1) for run in runs.values() if run.unknown])
    assert record["unknown"]["num_clips"] == 20
    assert record["unknown"]["refused"] == pytest.approx((highest < 0.5).mean())
    assert f"(AUROC) {record['unknown']['auroc']:.3f}; below" in calibration_table(record)
    assert "20 recordings of no class" in calibration_table(record)


TAG_LABELS = LabelMap(("a", "b", "c"))


def tagged(clips: int, sharpness: float, seed: int = 0) -> Scored:
    """Tags drawn with probabilities whose logits are known, and those logits made sharper than they should be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(clips, 3))
    targets = (rng.random((clips, 3)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return Scored(logits * sharpness, np.arange(clips), targets)


def test_the_temperature_of_tags_undoes_what_was_sharpened() -> None:
    scored = tagged(4000, 2.5)
    np.testing.assert_allclose(scored.scores(), 1 / (1 + np.exp(-scored.logits)), rtol=1e-9)
    assert fit_temperature(scored) == pytest.approx(2.5, rel=0.06)
    sharp = Scored(np.where(np.eye(3) > 0, 9.0, -9.0), np.arange(3), np.eye(3, dtype=np.float32))
    with pytest.raises(TfaudioError, match="9 of the 9 tags of the validation recordings are right"):
        fit_temperature(sharp)


def test_thresholds_of_tags_are_those_of_the_best_f1() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scored = tagged(60, 1.0, seed=3)
    scores = scored.scores()
    found = class_thresholds(scores, scored.targets, TAG_LABELS)
    for index, label in enumerate(TAG_LABELS):
        own, true = scores[:, index], scored.targets[:, index]
        best = max(metrics.f1_score(true, own >= cut) for cut in np.unique(own))
        assert metrics.f1_score(true, own >= found[label]) == pytest.approx(best)


def test_figures_of_tags_worked_by_hand() -> None:
    scores = np.array([[0.8, 0.4], [0.6, 0.1]])
    found = tag_figures(scores, np.array([[1, 1], [0, 0]]), [0.5, 0.5])
    assert found["brier"] == pytest.approx((0.04 + 0.36 + 0.36 + 0.01) / 2)
    assert found["negative_log_likelihood"] == pytest.approx(-np.log([0.8, 0.4, 0.4, 0.9]).mean())
    assert found["mean_average_precision"] == 1.0
    assert found["micro_f1"] == pytest.approx(2 * 1 / (2 + 2))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    # Four scores in four bins: distances 0.2, 0.6, 0.6 and 0.1.
    assert found["ece_equal_mass"] == pytest.approx(1.5 / 4)


def test_a_tag_that_is_everywhere_is_given_to_all() -> None:
    scores = np.stack([np.linspace(0.7, 0.99, 10), np.linspace(0.1, 0.9, 10)], axis=1)
    targets = np.stack([np.ones(10), np.arange(10) > 5], axis=1)
    found = class_thresholds(scores, targets, LabelMap(("always", "late")))
    assert found["always"] <= 0.7
    assert (scores[:, 1] >= found["late"]).tolist() == (targets[:, 1] > 0).tolist()
