"""Figures of taggers against scikit-learn, against counting by hand, and against resampling by the letter."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfaudio.errors import TfaudioError
from tfaudio.evaluation.protocol import FoldResult
from tfaudio.evaluation.report import metrics_table, write_report
from tfaudio.evaluation.summary import summarize
from tfaudio.evaluation.tagging import (
    TagResult,
    chance,
    chance_average_precision,
    compute_tag_metrics,
    lwlrap,
    summarize_tags,
)
from tfaudio.labels import LabelMap
from tfaudio.ranking import average_precision, class_average_precisions, mean_average_precision

ABC = LabelMap(("a", "b", "c"))


def random_case(seed: int, clips: int = 40, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Targets of at least one class a clip, and scores some of which are equal."""
    rng = np.random.default_rng(seed)
    targets = rng.random((clips, classes)) < 0.3
    targets[np.arange(clips), rng.integers(0, classes, clips)] = True
    scores = np.round(0.4 * targets + rng.random((clips, classes)), 1) / 1.5
    return targets, scores


@pytest.mark.parametrize("seed", range(4))
def test_against_scikit_learn(seed: int) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    targets, scores = random_case(seed)
    labels = LabelMap(tuple("abcdef"))
    found = compute_tag_metrics(targets, scores, labels, {"b": 0.3})
    given = scores >= np.array([0.5, 0.3, 0.5, 0.5, 0.5, 0.5])
    assert found.mean_average_precision == pytest.approx(reference.average_precision_score(targets, scores))
    ranked = reference.label_ranking_average_precision_score(targets, scores, sample_weight=targets.sum(axis=1))
    assert found.lwlrap == pytest.approx(ranked)
    assert found.macro_f1 == pytest.approx(reference.f1_score(targets, given, average="macro", zero_division=0))
    assert found.micro_f1 == pytest.approx(reference.f1_score(targets, given, average="micro", zero_division=0))
    for key, function in (("precision", reference.precision_score), ("recall", reference.recall_score)):
        by_class = function(targets, given, average=None, zero_division=0)
        assert [row[key] for row in found.per_class] == pytest.approx(list(by_class))


def test_metrics_worked_by_hand() -> None:
    # "a" is found in one of two clips and wrongly in one; "b" in both of two; "c" is in no clip and given once.
    targets = [[1, 1, 0], [1, 0, 0], [0, 1, 0]]
    scores = [[0.9, 0.8, 0.7], [0.2, 0.1, 0.0], [0.6, 0.5, 0.1]]
    m = compute_tag_metrics(targets, scores, ABC)
    assert [row["support"] for row in m.per_class] == [2, 2, 0]
    assert [row["average_precision"] for row in m.per_class] == [pytest.approx((1 + 2 / 3) / 2), 1.0, None]
    assert [row["f1"] for row in m.per_class] == [pytest.approx(0.5), 1.0, None]
    assert m.mean_average_precision == pytest.approx((5 / 6 + 1) / 2)
    assert m.macro_f1 == pytest.approx(0.75)
    assert m.micro_f1 == pytest.approx(2 * 3 / (4 + 5))  # 3 of 4 tags found, 5 given
    # By clip: a and b come first; a comes first; b comes second.
    assert m.lwlrap == pytest.approx((1 + 1 + 1 + 1 / 2) / 4)
    assert json.loads(json.dumps(m.to_dict(), allow_nan=False))["num_clips"] == 3


def test_a_threshold_is_reached_and_not_only_passed() -> None:
    m = compute_tag_metrics([[1, 0, 0]], [[0.5, 0.4, 0.6]], ABC, {"b": 0.4, "c": 0.7})
    assert [row["threshold"] for row in m.per_class] == [0.5, 0.4, 0.7]
    assert m.micro_f1 == pytest.approx(2 / 3)


def test_mistakes_are_explained() -> None:
    with pytest.raises(TfaudioError, match="no recording"):
        compute_tag_metrics(np.zeros((0, 3)), np.zeros((0, 3)), ABC)
    with pytest.raises(TfaudioError, match="1 of 2 recordings"):
        compute_tag_metrics([[1, 0, 0], [1, 0, 0]], [[1, 0, 0], [np.nan, 0, 0]], ABC)
    for targets, scores in (([[1, 0]], [[1, 0]]), ([0, 1], [[1, 0, 0]] * 2), ([[1, 0, 0]], [[1, 0, 0]] * 2)):
        with pytest.raises(ValueError, match=r"\[n, 3\]"):
            compute_tag_metrics(targets, scores, ABC)
    with pytest.raises(ValueError, match="must have a class"):
        compute_tag_metrics([[0, 0, 0]], [[1, 0, 0]], ABC)
    with pytest.raises(TfaudioError, match="no test clips"):
        TagResult("1", np.zeros((0, 3)), np.zeros((0, 3)))


@given(st.integers(0, 1000))
def test_rankings_of_one_label_a_clip_are_mean_reciprocal_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, true = rng.permuted(np.tile(np.arange(5.0), (9, 1)), axis=1), rng.integers(0, 5, 9)
    ranks = 5 - scores[np.arange(9), true]
    assert lwlrap(np.eye(5)[true], scores) == pytest.approx(np.mean(1 / ranks))


@pytest.mark.parametrize(("positives", "total"), [(1, 1), (1, 4), (2, 5), (3, 6), (6, 6)])
def test_chance_is_the_mean_over_all_orders(positives: int, total: int) -> None:
    orders = itertools.combinations(range(total), positives)
    values = [average_precision(np.isin(np.arange(total), order), -np.arange(total)) for order in orders]
    assert chance_average_precision(positives, total) == pytest.approx(np.mean(values))


def test_chance_of_a_result_is_the_mean_over_the_classes_that_it_has() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 1]])
    assert chance([TagResult("1", targets, targets)]) == pytest.approx((0.75 + 1) / 2)


def test_classes_without_a_clip_have_no_average_precision() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    assert class_average_precisions(targets, [[0.9, 1], [0.8, 1], [0.7, 1]]) == [pytest.approx(5 / 6), None]
    assert mean_average_precision(targets, [[0.9, 1], [0.8, 1], [0.7, 1]]) == pytest.approx(5 / 6)


def result(fold: str, case: int, *, seed: int = 0, like: int | None = None) -> TagResult:
    """A result on the clips of one case, with the scores of another."""
    targets, _ = random_case(case if like is None else like)
    return TagResult(fold, targets, random_case(case)[1] + 0.2 * targets, seed=seed)


def test_folds_are_averaged_and_not_ranked_together() -> None:
    results = [result("1", 0), result("2", 1)]
    summary = summarize_tags(results, resamples=50)
    values = [mean_average_precision(r.targets, r.scores) for r in results]
    assert summary["mean"] == pytest.approx(np.mean(values))
    assert summary["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
    assert summary["mean_average_precision_per_fold"] == pytest.approx({"1": values[0], "2": values[1]})
    assert summary["num_clips"] == 80
    # A model whose scores are ten times as high ranks its own clips as before.
    louder = TagResult("2", results[1].targets, 10 * results[1].scores)
    assert summarize_tags([results[0], louder], resamples=50) == summary
    json.dumps(summary, allow_nan=False)


def test_seeds_of_a_fold_are_averaged() -> None:
    results = [result("1", 0), result("1", 2, seed=4, like=0)]
    summary = summarize_tags(results, resamples=50)
    values = [r.value for r in results]
    assert summary["mean"] == pytest.approx(np.mean(values))
    assert (summary["seeds"], summary["num_clips"]) == ([0, 4], 40)
    assert summary["mean_average_precision_per_seed"] == pytest.approx({"0": values[0], "4": values[1]})
    assert summary["standard_deviation_over_seeds"] == pytest.approx(np.std(values, ddof=1))


def test_the_interval_is_that_of_test_sets_drawn_clip_by_clip() -> None:
    results = [result("1", 0), result("2", 1)]
    summary = summarize_tags(results, resamples=2000, seed=5)
    rng = np.random.default_rng(6)
    drawn = []
    for _ in range(2000):
        picked = [(r, rng.integers(0, len(r.targets), len(r.targets))) for r in results]
        drawn.append(np.mean([mean_average_precision(r.targets[i], r.scores[i]) for r, i in picked]))
    assert summary["interval"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)
    low, high = summary["interval"]
    assert low < summary["mean"] < high
    assert high - low > 0.05


def test_a_perfect_tagger_has_no_width() -> None:
    targets, _ = random_case(3)
    summary = summarize_tags([TagResult("1", targets, targets.astype(float))], resamples=20)
    assert (summary["mean"], summary["interval"]) == (1.0, [1.0, 1.0])


def test_impossible_folds_are_refused() -> None:
    with pytest.raises(TfaudioError, match="no folds"):
        summarize_tags([])
    with pytest.raises(TfaudioError, match="twice with seed 0"):
        summarize_tags([result("1", 0), result("1", 1)])
    with pytest.raises(TfaudioError, match="seeds of fold '1' were tested on different clips"):
        summarize_tags([result("1", 0), result("1", 1, seed=1)])


def test_a_report_of_tags_has_no_confusion(tmp_path) -> None:  # type: ignore[no-untyped-def]
    metrics = compute_tag_metrics([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1], [0.4, 0.6, 0.2]], ABC)
    lines = metrics_table(metrics, title="Pets").splitlines()
    assert lines[0] == "Pets"
    assert [line.split()[0] for line in lines[2:7]] == ["recordings", "mean", "lwlrap", "macro", "micro"]
    assert lines[-3].split() == ["c", "-", "-", "-", "-", "0"]
    assert lines[-1] == "without a test recording, and in no mean over classes: c"
    for name in ("confusion.csv", "confusion.png"):
        (tmp_path / name).write_text("of a classifier that was reported here before")
    files = write_report(tmp_path, metrics, title="Pets")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "metrics.txt"}
    assert set(files) == {"metrics.json", "metrics.txt"}
    assert json.loads(files["metrics.json"].read_text())["lwlrap"] == pytest.approx(5 / 6)


def test_of_groups_the_interval_is_over_groups() -> None:
    true = np.tile([[True, False], [False, True]], (20, 1))
    good, bad = true.astype(float), np.tile([[0.4, 0.6], [0.6, 0.4]], (20, 1))

    def summary(of_group: bool) -> dict[str, Any]:
        return summarize_tags(
            TagResult(name, true, scores, of_group=of_group)
            for name, scores in (("ann", good), ("bo", bad), ("cy", good), ("di", bad))
        )

    over_clips, over_groups = summary(False), summary(True)
    assert (over_clips["interval_over"], over_groups["interval_over"]) == ("recordings", "groups")
    # Of four draws none is good, or none is bad, with a probability of 1/16 each: more than 2.5 %.
    worst, best = (mean_average_precision(true, scores) for scores in (bad, good))
    np.testing.assert_allclose(over_groups["interval"], [worst, best])
    assert over_clips["interval"][0] > worst
    assert over_groups["mean"] == over_clips["mean"]


def test_classifiers_and_taggers_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no mean"):
        summarize([FoldResult("1", (True, False)), result("2", 0)])
