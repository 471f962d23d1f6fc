"""McNemar's test and the paired difference, against SciPy and by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfaudio.bundle import write_config
from tfaudio.cli.main import main
from tfaudio.config import RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.compare import (
    Prediction,
    Recording,
    compare,
    compare_tags,
    mcnemar_p,
    read_predictions,
    read_tags,
)

Rows = list[tuple[str, str, str]]


def write(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "predicted", "score"])
        writer.writerows((*row, "0.5") for row in rows)
    return path


def answers(right: str, root: str = "/d") -> Rows:
    """One recording a letter: + is right, - is not."""
    return [(f"{root}/{index}.wav", "cat", "cat" if sign == "+" else "dog") for index, sign in enumerate(right)]


@given(st.integers(0, 60), st.integers(0, 60))
def test_p_values_against_scipy(only_a: int, only_b: int) -> None:
    expected = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_p_values_of_many_cases_come_near_the_chi_squared_form() -> None:
    only_a, only_b = 4_900, 5_150
    statistic = (abs(only_a - only_b) - 1) ** 2 / (only_a + only_b)
    assert mcnemar_p(only_a, only_b) == pytest.approx(stats.chi2.sf(statistic, 1), rel=1e-2)
    assert mcnemar_p(0, 0) == mcnemar_p(7, 7) == 1.0
    assert mcnemar_p(0, 2_000) < 1e-300


def test_a_comparison_worked_by_hand(tmp_path: Path) -> None:
    a = read_predictions(write(tmp_path / "a.csv", answers("++++++----")))
    b = read_predictions(write(tmp_path / "b.csv", answers("+++++-++++", root="/moved/here")))
    found = compare(a, b)
    assert (found.num_clips, found.only_a, found.only_b) == (10, 1, 4)
    assert (found.accuracy_a, found.accuracy_b) == (0.6, 0.9)
    assert found.difference == pytest.approx(0.3)
    assert found.p_value == pytest.approx(2 * (1 + 5) / 2**5)
    assert "p = 0.375" in found.to_text("a", "b")
    swapped = compare(b, a)
    assert (swapped.only_a, swapped.only_b, swapped.p_value) == (4, 1, found.p_value)
    assert swapped.interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=0.02)


def test_the_interval_of_the_difference_is_paired_as_scipys_is() -> None:
    rng = np.random.default_rng(3)
    right_a = rng.random(300) < 0.7
    right_b = np.where(rng.random(300) < 0.8, right_a, rng.random(300) < 0.85)
    sides = [
        {
            Recording(f"{index:03}.wav", 0): Prediction("cat", "cat" if value else "dog")
            for index, value in enumerate(right)
        }
        for right in (right_a, right_b)
    ]
    found = compare(sides[0], sides[1])
    reference = stats.bootstrap(
        (right_b.astype(float), right_a.astype(float)),
        lambda b, a, axis: b.mean(axis=axis) - a.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(4),
    ).confidence_interval
    assert found.interval == pytest.approx((reference.low, reference.high), abs=0.006)
    # Unpaired, the same accuracies would say much less.
    unpaired = 1.96 * np.sqrt(right_a.var() / 300 + right_b.var() / 300)
    assert found.interval[1] - found.interval[0] < 1.5 * unpaired


def test_other_recordings_or_labels_are_one_sentence(tmp_path: Path) -> None:
    a = read_predictions(write(tmp_path / "a.csv", answers("++")))
    with pytest.raises(TfaudioError, match="A was tested on 2 recordings and B on 3, of which 2 are the same"):
        compare(a, read_predictions(write(tmp_path / "b.csv", answers("+++"))))
    with pytest.raises(TfaudioError, match="'cat' in A and 'dog' in B"):
        compare(
            a, read_predictions(write(tmp_path / "c.csv", [("/d/0.wav", "dog", "dog"), ("/d/1.wav", "cat", "cat")]))
        )


def test_clips_of_one_file_are_told_apart_by_their_order(tmp_path: Path) -> None:
    rows = [("/d/long.wav", label, "cat") for label in ("cat", "dog", "cat")]
    found = read_predictions(write(tmp_path / "a.csv", rows))
    assert [found[Recording("long.wav", part)].correct for part in range(3)] == [True, False, True]


def test_folds_are_joined_and_seeds_have_to_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = answers("+-+-")
    for name, rows in (("fold_1", both[:2]), ("fold_2", both[2:])):
        write_config(tmp_path / "folds" / name, RunConfig())
        write(tmp_path / "folds" / name / "predictions.csv", rows)
    for seed, right in ((3, "++++"), (4, "----")):
        write_config(tmp_path / "seeds" / f"seed_{seed}", RunConfig().override({"training.seed": seed}))
        write(tmp_path / "seeds" / f"seed_{seed}" / "predictions.csv", answers(right))
    assert len(read_predictions(tmp_path / "folds")) == 4
    names = [str(tmp_path / "folds"), str(tmp_path / "seeds")]
    assert main(["compare", *names]) == 1
    assert "--seed=3" in capsys.readouterr().err
    assert main(["compare", *names, "--seed=5"]) == 1
    assert "no run of seed 5" in capsys.readouterr().err
    assert main(["compare", *names, "--seed=3", f"--json={tmp_path / 'c.json'}"]) == 0
    document = json.loads((tmp_path / "c.json").read_text())
    assert (document["only_a"], document["only_b"], document["p_value"]) == (0, 2, 0.5)
    assert "+50.0 points" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "columns path, label, predicted"),
        ("path,label,predicted\n", "no predictions"),
        ("path,label,predicted\nx.wav,cat\n", "columns path, label, predicted"),
        ("path,label,predicted\nx.wav,cat,cat\n/d/y.wav,cat,cat\n", "no folder in common"),
        ("path,label,predicted\nx.wav,cat,cat\n,cat,cat\n", "row without a path"),
    ],
)
def test_a_file_of_something_else_is_told(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(TfaudioError, match=message):
        read_predictions(tmp_path / "a.csv")


def test_a_file_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label,predicted\nx.wav,cat,dog\n", "utf-8-sig")
    assert [(p.label, p.predicted) for p in read_predictions(tmp_path / "a.csv").values()] == [("cat", "dog")]


def test_mistaken_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    assert "Name two" in capsys.readouterr().err
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert "predictions.csv" in capsys.readouterr().err


Tags = list[tuple[str, str, list[float]]]


def write_tags(path: Path, rows: Tags, labels: tuple[str, ...] = ("dog", "rain, heavy")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "predicted", "scores", *(f"score:{label}" for label in labels)])
        writer.writerows((name, owned, "", "", *scores) for name, owned, scores in rows)
    return path


def random_tags(seed: int, clips: int = 60, order: tuple[int, int] = (0, 1), noise: float = 1.0) -> Tags:
    """The same recordings and labels for every seed; scores that know something of them."""
    owned = np.random.default_rng(0).integers(1, 4, clips)
    rng = np.random.default_rng(seed)
    names = {1: "dog", 2: "rain, heavy", 3: "dog;rain, heavy"}
    scores = np.stack([owned & 1, owned >> 1], axis=1) + noise * rng.normal(size=(clips, 2))
    return [(f"/d/{i}.wav", names[int(owned[i])], list(scores[i][list(order)])) for i in range(clips)]


def test_taggers_are_compared_by_ranking_and_by_drawing_recordings_for_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = random_tags(1), random_tags(2, noise=0.4)
    a = write_tags(tmp_path / "a.csv", first)
    # Elsewhere on the disk, in another order, with the classes in another order.
    moved = [(name.replace("/d/", "/else/where/"), *rest) for name, *rest in random_tags(2, order=(1, 0), noise=0.4)]
    b = write_tags(tmp_path / "b.csv", moved[::-1], labels=("rain, heavy", "dog"))  # type: ignore[arg-type]
    assert main(["compare", str(a), str(b), f"--json={tmp_path / 'c.json'}"]) == 0
    record = json.loads((tmp_path / "c.json").read_text())
    reference = pytest.importorskip("sklearn.metrics").average_precision_score
    true = np.array([[label in labels.split(";") for label in ("dog", "rain, heavy")] for _, labels, _ in first])
    scores = [np.array([row[2] for row in rows]) for rows in (first, second)]
    values = [reference(true, one) for one in scores]
    assert [record[f"mean_average_precision_{side}"] for side in "ab"] == pytest.approx(values)
    assert record["difference"] == pytest.approx(values[1] - values[0])
    rng, drawn = np.random.default_rng(3), []
    for _ in range(1000):
        picked = rng.integers(0, len(true), len(true))
        drawn.append(np.subtract(*(reference(true[picked], one[picked]) for one in scores[::-1])))
    assert record["interval"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    assert record["interval"][0] > 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith(": a difference")
    assert main(["compare", str(a), str(a)]) == 0
    assert "is +0.0 points from A's (95 % interval +0.0 to +0.0): no difference" in capsys.readouterr().out


def test_scores_of_two_models_are_not_ranked_together(tmp_path: Path) -> None:
    rows = random_tags(1)
    whole = read_tags(write_tags(tmp_path / "whole.csv", rows))
    parts = [read_tags(write_tags(tmp_path / f"{k}.csv", rows[30 * k : 30 * k + 30]))[0] for k in (0, 1)]
    louder = [parts[0], replace(parts[1], scores=10 * parts[1].scores + 100)]
    found = compare_tags(parts, louder)
    assert (found.difference, found.interval, found.num_clips) == (0.0, (0.0, 0.0), 60)
    assert compare_tags(whole, parts).difference == 0.0  # of the whole, each part by itself
    odd = [read_tags(write_tags(tmp_path / f"odd{k}.csv", rows[k::2]))[0] for k in (0, 1)]
    with pytest.raises(TfaudioError, match="tested in other folds"):
        compare_tags(parts, odd)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], r"A was tested on 6 recordings and B on 5, of which 5 are the same \(not 0\.wav\)"),
        (lambda rows: [(rows[0][0], "dog", [0, 0]), *rows[1:]], r"0\.wav has other labels in A than in B"),
        (lambda rows: [(rows[0][0], "cat", [0, 0]), *rows[1:]], "has no scores of 'cat'"),
        (lambda rows: [(*rows[0][:2], ["loud", 0]), *rows[1:]], "has a score that is no number"),
        (lambda rows: [(*rows[0][:2], ["nan", 0]), *rows[1:]], r"has a score that is no number \(one is not finite\)"),
        (lambda rows: [(*rows[0][:2], [0]), *rows[1:]], "has a row that is cut short"),
    ],
)
def test_tags_that_cannot_be_compared(tmp_path: Path, change: Any, message: str) -> None:
    rows = [(name, "rain, heavy", scores) for name, _, scores in random_tags(1, clips=6)]
    a, b = write_tags(tmp_path / "a.csv", rows), write_tags(tmp_path / "b.csv", change(rows))
    with pytest.raises(TfaudioError, match=message):
        compare_tags(read_tags(a), read_tags(b))


def test_tags_are_compared_with_tags_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags, classes = (
        write_tags(tmp_path / "tags.csv", random_tags(1, clips=3)),
        write(tmp_path / "a.csv", answers("+-+")),
    )
    (tmp_path / "old.csv").write_text("path,labels,predicted,scores\na.wav,dog;rain,dog,0.9\n")
    for pair, message in (
        ((tags, classes), "a.csv gives recordings one label each; compare it with results of that kind."),
        ((tags, tmp_path / "old.csv"), "old.csv has no scores of all classes (path,labels,score:LABEL); write it anew"),
    ):
        assert main(["compare", *map(str, pair)]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(TfaudioError, match="several labels each"):
        read_predictions(tags)


def test_recordings_of_two_folders_that_have_the_same_names_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for speaker, right in (("anna", "+-+"), ("ben", "++-")):
        write(tmp_path / speaker / "predictions.csv", answers(right, root=f"/d/{speaker}"))
        write_config(tmp_path / speaker, RunConfig())
        split = {"dataset": "words", "fingerprint": "f", "rule": "r", "train": [], "validation": []}
        split["test"] = [f"{speaker}/{index}.wav" for index in range(3)]
        (tmp_path / speaker / "split.json").write_text(json.dumps(split))
    folders = [str(tmp_path / "anna"), str(tmp_path / "ben")]
    assert main(["compare", *folders]) == 1
    assert "were not tested on the same recordings (anna/0.wav)" in capsys.readouterr().err
    assert main(["compare", folders[0], folders[0]]) == 0
