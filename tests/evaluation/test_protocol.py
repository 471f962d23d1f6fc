from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tfaudio
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import bootstrap_interval
from tfaudio.evaluation.protocol import (
    PROTOCOLS,
    FoldResult,
    best_guess,
    mean_by_inputs,
    result_record,
    summarize_folds,
    versions,
)


def fold(name: str, right: int, wrong: int, **options: object) -> FoldResult:
    return FoldResult(name, (True,) * right + (False,) * wrong, **options)


def test_summary_worked_by_hand() -> None:
    summary = summarize_folds([fold("1", 8, 2), fold("2", 9, 1), fold("3", 7, 3)])
    assert summary["mean"] == pytest.approx(0.8)
    assert summary["standard_deviation"] == pytest.approx(0.1)
    assert summary["pooled"] == pytest.approx(0.8)
    assert summary["accuracy_per_fold"] == pytest.approx({"1": 0.8, "2": 0.9, "3": 0.7})
    assert (summary["num_clips"], summary["seeds"]) == (30, [0])
    low, high = summary["interval"]
    assert 0.6 < low < 0.8 < high < 1
    json.dumps(summary, allow_nan=False)


def test_folds_of_unequal_size_count_alike_in_the_mean_and_by_clips_in_the_pool() -> None:
    summary = summarize_folds([fold("ann", 1, 1), fold("bob", 8, 0)])
    assert summary["mean"] == pytest.approx(0.75)
    assert summary["pooled"] == pytest.approx(0.9)


def test_one_fold_has_no_deviation() -> None:
    summary = summarize_folds([fold("1", 3, 1)])
    assert summary["standard_deviation"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_seeds_are_averaged_clip_by_clip() -> None:
    first = FoldResult("1", (True, True, False, False), seed=0)
    second = FoldResult("1", (True, False, False, False), seed=1)
    summary = summarize_folds([first, second])
    assert (summary["num_clips"], summary["seeds"]) == (4, [0, 1])
    assert summary["accuracy_per_fold"] == pytest.approx({"1": 0.375})
    assert summary["interval"] == pytest.approx(bootstrap_interval([1, 0.5, 0, 0]))


def test_seeds_are_told_apart_where_all_folds_have_them() -> None:
    results = [
        fold("1", 8, 2),
        fold("1", 6, 4, seed=1),
        fold("2", 10, 0),
        fold("2", 7, 3, seed=1),
        fold("2", 0, 10, seed=9),
    ]
    summary = summarize_folds(results)
    assert summary["accuracy_per_seed"] == pytest.approx({"0": 0.9, "1": 0.65})
    assert summary["standard_deviation_over_seeds"] == pytest.approx(0.25 / 2**0.5)
    assert summarize_folds(results[:1])["standard_deviation_over_seeds"] is None


def test_the_best_guess_is_the_most_frequent_class_of_all_folds() -> None:
    supports = ({"cat": 6, "dog": 4}, {"cat": 0, "dog": 10})
    results = [FoldResult(str(i), (True,) * 10, details={"support": s}) for i, s in enumerate(supports)]
    assert best_guess(results) == pytest.approx(14 / 20)


def test_many_seeds_do_not_narrow_the_interval_of_the_clips() -> None:
    once = summarize_folds([fold("1", 30, 10)])
    often = summarize_folds([fold("1", 30, 10, seed=seed) for seed in range(5)])
    assert often["interval"] == once["interval"]


def test_impossible_folds_are_refused() -> None:
    with pytest.raises(TfaudioError, match="no folds"):
        summarize_folds([])
    with pytest.raises(TfaudioError, match="no test clips"):
        FoldResult("1", ())
    with pytest.raises(TfaudioError, match="twice with seed 0"):
        summarize_folds([fold("1", 3, 1), fold("1", 3, 1)])
    with pytest.raises(TfaudioError, match="different numbers"):
        summarize_folds([fold("1", 3, 1), fold("1", 3, 2, seed=1)])


VALUES: dict = {
    "dataset": "esc10",
    "protocol": "folds",
    "model": "cnn",
    "accuracy": 0.9,
    "interval": (0.87, 0.93),
    "seeds": [0, 1],
    "command": "tools/benchmark/esc10",
    "duration_seconds": 12.5,
    "num_clips": 400,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_record_keeps_what_it_is_given(protocol: str) -> None:
    record = result_record(**{**VALUES, "protocol": protocol}, versions={"python": "3.11"}, extra={"parameters": 1000})
    assert json.loads(json.dumps(record, allow_nan=False)) == {
        **VALUES,
        "protocol": protocol,
        "interval": [0.87, 0.93],
        "versions": {"python": "3.11"},
        "parameters": 1000,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "fold"}, "Did you mean 'folds'"),
        ({"accuracy": 90.0}, "must lie in"),
        ({"interval": (0.95, 0.97)}, "within its interval"),
        ({"num_clips": 0}, "clips"),
        ({"duration_seconds": -1.0}, "duration"),
        ({"extra": {"accuracy": 1.0}}, "rename"),
        ({"extra": {"thing": object()}}, "JSON"),
        ({"extra": {"thing": float("nan")}}, "JSON"),
    ],
)
def test_impossible_records_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        result_record(**{**VALUES, **change})


def test_a_perfect_score_is_a_result() -> None:
    assert result_record(**{**VALUES, "accuracy": 1.0, "interval": bootstrap_interval([True] * 7)})["accuracy"] == 1.0


def test_versions_are_those_of_this_process() -> None:
    numpy = pytest.importorskip("numpy")
    found = versions()
    assert found["numpy"] == numpy.__version__
    assert found["tfaudio"] == tfaudio.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert result_record(**VALUES)["versions"] == found


def test_evaluation_imports_neither_tensorflow_nor_matplotlib() -> None:
    code = (
        "import sys; import tfaudio.evaluation.protocol, tfaudio.evaluation.report, tfaudio.data.catalog, "
        "tfaudio.data.split; print([m for m in ('tensorflow', 'keras', 'matplotlib', 'soundfile') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_a_perfect_test_set_still_leaves_doubt() -> None:
    summary = summarize_folds([FoldResult("test", (True,) * 300)])
    # Wilson's interval at n of n: from n / (n + z^2) to 1.
    assert summary["interval"] == pytest.approx([300 / (300 + 1.959964**2), 1.0], abs=1e-6)
    assert summarize_folds([FoldResult("test", (False,) * 9)])["interval"][0] == pytest.approx(0.0, abs=1e-12)


def test_figures_by_inputs_are_of_all_clips_and_absent_where_there_are_none():
    results = [
        FoldResult("1", (True,) * 3, details={"by_inputs": {"audio": 1.0, "text": 0.0}}),
        FoldResult("2", (True,), details={"by_inputs": {"audio": 0.0, "text": 1.0}}),
        FoldResult("2", (True,), seed=1, details={"by_inputs": {"audio": 1.0, "text": 1.0}}),
    ]
    assert mean_by_inputs(results) == {"audio": 0.8, "text": 0.4}
    assert mean_by_inputs(results[:1]) == {"audio": 1.0, "text": 0.0}
    assert mean_by_inputs([FoldResult("1", (True,))]) == {}


def test_a_record_of_a_tagger_has_its_mean_average_precision_and_no_accuracy() -> None:
    tagged = {**VALUES, "accuracy": None, "mean_average_precision": 0.9}
    record = result_record(**tagged, versions={})
    assert record["mean_average_precision"] == 0.9
    assert "accuracy" not in record
    with pytest.raises(ValueError, match="an accuracy or a mean average precision"):
        result_record(**{**VALUES, "mean_average_precision": 0.9})
    with pytest.raises(TfaudioError, match=r"Mean average precision 0\.5 must lie"):
        result_record(**{**tagged, "mean_average_precision": 0.5})


def test_of_groups_the_interval_is_over_groups() -> None:
    right_of = {"ann": 60, "bo": 95, "cy": 80}

    def summary(of_group: bool, names: tuple[str, ...] = ("ann", "bo", "cy")) -> dict[str, Any]:
        return summarize_folds(
            FoldResult(name, tuple(np.arange(100) < right_of[name]), of_group=of_group) for name in names
        )

    over_clips, over_groups = summary(False), summary(True)
    assert (over_clips["interval_over"], over_groups["interval_over"]) == ("recordings", "groups")
    assert over_groups["interval"][0] < over_clips["interval"][0]
    assert over_groups["interval"][1] > over_clips["interval"][1]
    assert over_groups["pooled"] == over_clips["pooled"]
    assert summary(True, ("ann",))["interval_over"] == "recordings"
    right_of = dict.fromkeys(right_of, 100)
    assert summary(True)["interval_over"] == "recordings"
    assert summary(True)["interval"][0] < 1.0
