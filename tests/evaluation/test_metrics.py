from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import (
    Metrics,
    average_precision,
    bootstrap_interval,
    compute_metrics,
    grouped_bootstrap_interval,
    wilson_interval,
)
from tfaudio.labels import LabelMap

ABC = LabelMap(("a", "b", "c"))


def one_hot(predictions: list[int], classes: int = 3) -> np.ndarray:
    return np.eye(classes)[predictions]


def test_metrics_worked_by_hand() -> None:
    # true     a a a a b b c c c c      a: 3 of 4 found, 4 predicted
    # predicted a a a b b a c c c b     b: 1 of 2 found, 3 predicted; c: 3 of 4 found, 3 predicted
    m = compute_metrics([0, 0, 0, 0, 1, 1, 2, 2, 2, 2], one_hot([0, 0, 0, 1, 1, 0, 2, 2, 2, 1]), ABC)
    assert m.confusion == [[3, 1, 0], [1, 1, 0], [0, 1, 3]]
    assert m.num_clips == 10
    assert m.accuracy == pytest.approx(0.7)
    assert m.balanced_accuracy == pytest.approx((0.75 + 0.5 + 0.75) / 3)
    assert [row["precision"] for row in m.per_class] == pytest.approx([3 / 4, 1 / 3, 1])
    assert [row["f1"] for row in m.per_class] == pytest.approx([3 / 4, 2 / 5, 6 / 7])
    assert m.macro_f1 == pytest.approx(281 / 420)
    assert [row["support"] for row in m.per_class] == [4, 2, 4]


def test_a_class_never_predicted_has_precision_zero() -> None:
    m = compute_metrics([0, 1, 2], one_hot([0, 0, 2]), ABC)
    rates = [m.per_class[1][key] for key in ("precision", "recall", "f1", "average_precision")]
    assert rates == pytest.approx([0, 0, 0, 1 / 3])
    assert m.macro_f1 == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_an_absent_class_is_none_and_left_out_of_the_means() -> None:
    m = compute_metrics([0, 0, 1], one_hot([0, 2, 1]), ABC)
    absent = m.per_class[2]
    assert [absent[key] for key in ("precision", "recall", "f1", "average_precision", "support")] == [None] * 4 + [0]
    assert m.accuracy == pytest.approx(2 / 3)
    assert m.balanced_accuracy == pytest.approx(0.75)
    assert m.macro_f1 == pytest.approx((2 / 3 + 1) / 2)


def test_metrics_go_to_json_and_back() -> None:
    m = compute_metrics(np.array([0, 0, 1], np.int32), one_hot([0, 2, 1]).astype(np.float32), ABC)
    text = json.dumps(m.to_dict(), allow_nan=False)
    assert Metrics.from_dict(json.loads(text)) == m


def test_average_precision_worked_by_hand() -> None:
    # By falling score: + - + -; precision at the hits 1/1 and 2/3.
    assert average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)
    # scikit-learn's documentation: average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.83...
    assert average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == pytest.approx(0.8333333333333333)


def test_average_precision_with_equal_scores() -> None:
    # One threshold takes all: precision is the share of positives, whatever the order.
    assert average_precision([1, 0, 0, 0], [1, 1, 1, 1]) == 0.25
    assert average_precision([0, 0, 0, 1], [1, 1, 1, 1]) == 0.25
    # + | (+ -) tied | -: steps of 1/2 at precision 1 and 2/3; scikit-learn 1.9 gives 0.8333...
    assert average_precision([1, 0, 1, 0], [3, 2, 2, 1]) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_a_reference_case_from_scikit_learn() -> None:
    """Values of scikit-learn 1.9 (accuracy_score, balanced_accuracy_score, f1_score, average_precision_score)."""
    targets = [0, 2, 1, 1, 0, 2, 2, 1, 0, 2, 2, 0]
    scores = [
        [0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6],
        [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3], [0.2, 0.3, 0.5], [0.5, 0.2, 0.3], [0.4, 0.35, 0.25],
    ]  # fmt: skip
    m = compute_metrics(targets, scores, ABC)
    assert m.accuracy == pytest.approx(2 / 3)
    assert m.balanced_accuracy == pytest.approx(0.6722222222222222)
    assert m.macro_f1 == pytest.approx(0.6666666666666666)
    reference = [0.7678571428571428, 0.7916666666666666, 0.8166666666666667]
    assert [row["average_precision"] for row in m.per_class] == pytest.approx(reference)
    assert m.mean_average_precision == pytest.approx(sum(reference) / 3)


def test_equal_highest_scores_give_the_first_class() -> None:
    assert compute_metrics([1], [[0.2, 0.4, 0.4]], ABC).accuracy == 1.0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=50))
def test_metrics_stay_in_range_and_agree_with_each_other(pairs: list[tuple[int, int]]) -> None:
    targets, predictions = [t for t, _ in pairs], [p for _, p in pairs]
    m = compute_metrics(targets, one_hot(predictions), ABC)
    assert np.sum(m.confusion) == m.num_clips == len(pairs)
    assert m.accuracy == pytest.approx(sum(t == p for t, p in pairs) / len(pairs))
    for value in (m.accuracy, m.balanced_accuracy, m.macro_f1, m.mean_average_precision):
        assert 0 <= value <= 1


def test_broken_scores_are_not_called_an_accuracy() -> None:
    with pytest.raises(TfaudioError, match=r"1 of 2 recordings \(the first is number 1\)"):
        compute_metrics([0, 1], [[1, 0, 0], [np.nan, 0, 0]], ABC)


def test_mistakes_are_explained() -> None:
    with pytest.raises(TfaudioError, match="no recording"):
        compute_metrics([], np.zeros((0, 3)), ABC)
    with pytest.raises(ValueError, match=r"\[n, 3\]"):
        compute_metrics([0], [[1, 0]], ABC)
    for targets in ([3], [-1], [0.5]):
        with pytest.raises(ValueError, match="Targets"):
            compute_metrics(targets, [[1, 0, 0]], ABC)


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (7, 10), (371, 400), (1, 1)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_interval_against_scipy(correct: int, total: int, level: float) -> None:
    reference = stats.binomtest(correct, total).proportion_ci(level, method="wilson")
    assert wilson_interval(correct, total, level=level) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_interval_refuses_impossible_counts() -> None:
    for counts in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="Impossible"):
            wilson_interval(*counts)


def test_bootstrap_interval_of_booleans_against_the_binomial_distribution() -> None:
    correct = np.arange(400) < 340
    exact = stats.binom(400, 0.85).ppf([0.025, 0.975]) / 400
    assert bootstrap_interval(correct) == pytest.approx(exact, abs=0.004)
    assert bootstrap_interval(correct) == bootstrap_interval(correct)
    assert bootstrap_interval(correct[::-1]) == bootstrap_interval(correct)


def test_bootstrap_interval_of_shares_against_scipy() -> None:
    values = np.random.default_rng(1).integers(0, 4, 150) / 3
    reference = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2))
    interval = reference.confidence_interval
    assert bootstrap_interval(values) == pytest.approx((interval.low, interval.high), abs=0.006)


def test_bootstrap_interval_at_the_ends() -> None:
    assert bootstrap_interval([True] * 5) == (1.0, 1.0)
    assert bootstrap_interval([False]) == (0.0, 0.0)
    low, high = bootstrap_interval(np.arange(100) < 50, level=0.5)
    assert bootstrap_interval(np.arange(100) < 50)[0] < low < high
    with pytest.raises(TfaudioError, match="no recording"):
        bootstrap_interval([])


def test_an_interval_over_groups_is_that_of_all_ways_to_draw_them() -> None:
    groups = [np.array([1, 1, 1, 0]), np.array([1, 0]), np.array([0, 0, 1])]
    means = [np.concatenate(drawn).mean() for drawn in itertools.product(groups, repeat=3)]
    expected = np.quantile(means, [0.1, 0.9], method="inverted_cdf")
    found = grouped_bootstrap_interval(groups, level=0.8, resamples=50_000)
    np.testing.assert_allclose(found, expected, atol=0.03)
    # Speakers who differ, of many clips each: over clips one would be far too sure.
    speakers = [np.arange(500) < 500 * share for share in (0.6, 0.9, 0.7, 0.95)]
    low, high = grouped_bootstrap_interval(speakers)
    narrow = bootstrap_interval(np.concatenate(speakers))
    assert high - low > 5 * (narrow[1] - narrow[0])
