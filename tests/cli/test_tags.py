"""Recordings of several classes, from a CSV file to tags on a device, and what is refused of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tfaudio.bundle import load_bundle, read_config
from tfaudio.cli.main import main
from tfaudio.evaluation.evaluate import evaluate
from tfaudio.runtime.classifier import Classifier
from tfaudio.runtime.self_test import run_self_test

RATE = 8_000
TONES = {"low": 300.0, "middle": 900.0, "high": 2_700.0}
SMALL = [
    *("--dataset=manifest", "--epochs=30", "--clip_seconds=0.25", "--batch_size=8", f"--sample_rate={RATE}"),
    *("--set=front_end.frame_length=256", "--set=front_end.fft_length=256", "--set=front_end.frame_step=128"),
    *("--set=front_end.num_mel_bins=16", "--set=augment.mixup_alpha=0", "--learning_rate=0.02"),
    *("--set=augment.time_masks=0", "--set=augment.frequency_masks=0"),  # of a tone that is hidden nothing is left
    *("--model=cnn", '--set=model.options={"filters": [8, 16], "head": "class_attention", "dropout": 0.0}'),
]
# On as few clips as these one is several points.
WIDE = ["--max_accuracy_drop=0.1", "--min_agreement=0.8"]


@pytest.fixture(scope="module")
def chords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every mixture of three tones, but for none, ten times; two of ten for testing, two to validate by."""
    root = tmp_path_factory.mktemp("chords")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 4) / RATE
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "split"])
        for number in range(7 * 10):
            names = [name for bit, name in enumerate(TONES) if (number % 7 + 1) >> bit & 1]
            parts = [np.sin(2 * np.pi * TONES[n] * time * rng.uniform(0.95, 1.05) + rng.uniform(0, 6)) for n in names]
            sound = 0.2 * np.sum(parts, axis=0) + 0.05 * rng.standard_normal(len(time))
            soundfile.write(root / f"{number}.wav", sound, RATE)
            split = {8: "validation", 9: "test"}.get(number // 7, "test" if number // 7 == 7 else "train")
            writer.writerow([f"{number}.wav", ";".join(names), split])
    return root / "clips.csv"


@pytest.fixture(scope="module")
def run(chords: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tags") / "run"
    assert main(["train", f"--data_dir={chords}", f"--output_dir={path}", *SMALL]) == 0
    return path


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "out"
    formats = "--formats=saved_model,float32,int8,tflm"
    arguments = [formats, "--threshold=middle=0.4", f"--json={path.parent / 'export.json'}"]
    assert main(["export", f"--run_dir={run}", f"--output_dir={path}", *arguments, *WIDE]) == 0
    return path


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_run_finds_the_tones_and_says_so_in_average_precisions(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    assert read_config(run).model.score_activation == "sigmoid"
    assert result["mean_average_precision"] > 0.95
    assert result["mean_average_precision"] == pytest.approx(metrics["mean_average_precision"])
    assert (result["protocol"], result["num_clips"]) == ("official", 14)
    low, high = result["interval"]
    assert 0 <= low <= result["mean_average_precision"] <= high <= 1
    assert not {"accuracy", "confusion"} & {*result, *metrics}
    assert not (run / "confusion.png").exists()
    assert [row["support"] for row in metrics["per_class"]] == [8, 8, 8]
    rows = lines_of((run / "predictions.csv").read_text())
    own = {f"score:{name}" for name in TONES}
    assert set(rows[0]) == {"path", "labels", "predicted", "scores", "start", "end", *own}
    right = sum(set(row["labels"].split(";")) == set(row["predicted"].split(";")) for row in rows)
    assert right >= 11
    assert all(float(score) >= 0.5 for row in rows for score in filter(None, row["scores"].split(";")))


def test_evaluating_again_gives_the_same_figures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report"
    assert main(["evaluate", f"--run_dir={run}", f"--json={tmp_path / 'e.json'}", f"--report_dir={report}"]) == 0
    again, before = json.loads((tmp_path / "e.json").read_text()), json.loads((run / "metrics.json").read_text())
    assert {key: again[key] for key in before} == before
    assert (report / "predictions.csv").read_text() == (run / "predictions.csv").read_text()
    out = capsys.readouterr().out
    assert "lwlrap" in out
    assert "accuracy" not in out
    assert main(["info", str(run)]) == 0
    assert "lwlrap=" in capsys.readouterr().out


def test_exports_carry_sigmoids_and_thresholds_and_agree(run: Path, exported: Path) -> None:
    report = json.loads((exported / "report.json").read_text())
    assert report["gate"]["passed"]
    assert report["keras"]["mean_average_precision"] > 0.95
    assert set(report["keras"]["class_average_precision"]) == set(TONES)
    assert "accuracy" not in report["keras"]
    assert all(found["agreement"] >= 0.8 for found in report["formats"].values())
    assert "mAP" in (exported / "card.md").read_text()
    assert "tagger" in (exported / "card.md").read_text()
    record = json.loads((exported.parent / "export.json").read_text())
    assert set(record["mean_average_precision_by_format"]) == {"keras", "saved_model", "float32", "int8", "tflm"}
    classifier = Classifier(exported / "model_float32.tflite")
    assert classifier.metadata.score_activation == "sigmoid"
    assert classifier.metadata.tag_thresholds == {"high": 0.5, "low": 0.5, "middle": 0.4}
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, RATE // 4).astype(np.float32)
    bundle = load_bundle(run)
    logits = bundle.unmasked_classifier()(bundle.front_end(len(waveform))(waveform[None])).numpy()[0]
    np.testing.assert_allclose(classifier.scores(waveform), 1 / (1 + np.exp(-logits)), atol=1e-4)
    for name in ("model_float32.tflite", "model_int8.tflite"):
        assert run_self_test(exported / name).ok
    assert "SCORES_SIGMOID 1" in (exported / "microcontroller" / "tfaudio_settings.h").read_text()


@pytest.mark.parametrize("name", ["model_float32.tflite", "saved_model", "run"])
def test_prediction_tells_all_tags(
    name: str, run: Path, exported: Path, chords: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = run if name == "run" else exported / name
    files = [str(chords.parent / f"{number}.wav") for number in (6, 0)]  # all three tones; the low one alone
    assert main(["predict", f"--model={model}", "--format=csv", *files]) == 0
    chord, alone = lines_of(capsys.readouterr().out)
    assert set(chord["labels"].split(";")) == set(TONES)
    assert alone["labels"] == "low"
    assert main(["predict", f"--model={model}", "--format=jsonl", files[1]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["labels"]) == {"low"}
    assert set(found["scores"]) == set(TONES)
    assert main(["predict", f"--model={model}", "--format=csv", "--top=2", files[1]]) == 0
    (row,) = lines_of(capsys.readouterr().out)
    assert row["label_1"] == "low"
    assert float(row["score_2"]) < 0.5


def test_calibration_finds_a_threshold_for_each_class(
    run: Path, chords: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short"
    assert main(["train", f"--data_dir={chords}", f"--output_dir={short}", *SMALL, "--epochs=3"]) == 0
    before = json.loads((short / "metrics.json").read_text())
    capsys.readouterr()
    assert main(["calibrate", f"--run_dir={short}", f"--json={tmp_path / 'c.json'}"]) == 0
    assert "macro F1 at the thresholds" in capsys.readouterr().out
    record = json.loads((tmp_path / "c.json").read_text())
    kept = json.loads((short / "calibration.json").read_text())
    assert record["before"]["mean_average_precision"] == pytest.approx(before["mean_average_precision"], abs=1e-6)
    assert record["before"]["micro_f1"] == pytest.approx(before["micro_f1"], abs=1e-6)
    assert kept["unknown_below"] is None
    assert kept["thresholds"]
    assert set(kept["thresholds"]) <= set(TONES)
    assert main(["evaluate", f"--run_dir={short}", f"--json={tmp_path / 'e.json'}"]) == 0
    after = json.loads((tmp_path / "e.json").read_text())
    assert {row["label"]: row["threshold"] for row in after["per_class"]} == {
        label: kept["thresholds"].get(label, 0.5) for label in TONES
    }
    assert after["micro_f1"] == pytest.approx(record["after"]["micro_f1"], abs=1e-6)


def test_a_control_is_told_what_scores_at_random_have(
    chords: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control = ["--shuffle_labels", "--epochs=1"]
    assert main(["train", f"--data_dir={chords}", f"--output_dir={tmp_path}", *SMALL, *control]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["protocol"] == "shuffled_labels"
    assert 8 / 14 < result["control"]["guess"] < 0.67  # 8 of 14 recordings have each tone
    assert "scores at random have 64.6%" in capsys.readouterr().out


def test_a_run_is_resumed_with_the_scores_that_its_data_ask_for(run: Path, chords: Path) -> None:
    before = (run / "model.weights.h5").stat().st_mtime_ns
    assert main(["train", f"--data_dir={chords}", f"--output_dir={run}", *SMALL, "--resume"]) == 0
    assert (run / "model.weights.h5").stat().st_mtime_ns == before


def test_tags_in_noise(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robustness = ["robustness", f"--run_dir={run}", f"--report_dir={tmp_path}"]
    assert main([*robustness, "--degradations=white_noise,gain,babble"]) == 0
    record = json.loads((tmp_path / "robustness.json").read_text())
    clean = record["clean"]["mean_average_precision"]
    assert clean == pytest.approx(json.loads((run / "metrics.json").read_text())["mean_average_precision"])
    low, high = record["clean"]["interval"]
    assert low <= clean <= high
    noise, gain, babble = (
        {p["severity"]: p["mean_average_precision"] for p in d["points"]} for d in record["degradations"]
    )
    assert noise[-5.0] < noise[30.0] == pytest.approx(clean, abs=0.1)
    assert gain[10.0] == pytest.approx(clean, abs=0.1)
    assert babble[-5.0] < babble[30.0] == pytest.approx(clean, abs=0.1)
    assert f"clean: mean average precision {clean:.1%} over 14 recordings" in capsys.readouterr().out
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")


def test_a_tagger_is_optimized_and_judged_by_the_ranking_of_its_classes(
    chords: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    plain = "--set=model.options.head=mean_max"  # the twin knows no attention
    assert main(["train", f"--data_dir={chords}", f"--output_dir={run}", *SMALL, plain]) == 0
    capsys.readouterr()
    arguments = ["--method=qat,prune", "--sparsity=0.4", "--epochs=3", "--learning_rate=0.003", *WIDE]
    record = ["optimize", f"--run_dir={run}", f"--output_dir={out}", f"--json={tmp_path / 'result.json'}"]
    assert main([*record, *arguments]) == 0
    said = capsys.readouterr()
    assert "mAP: mean average precision of the classes on 14 test windows" in said.out
    assert "accuracy" not in said.out + said.err.split("measuring", 1)[1]
    assert "qat: epoch 3 of 3: loss" in said.err
    result = json.loads((tmp_path / "result.json").read_text())
    rows = {(row["model"], row["format"]): row for row in result["report"]["rows"]}
    assert "accuracy" not in result
    before = rows["run", "float32"]["mean_average_precision"]
    assert before == pytest.approx(evaluate(load_bundle(run), progress=False).metrics.mean_average_precision, abs=1e-6)
    # Each file by itself, against an independent count, and against the run that prune leaves.
    pruned = load_bundle(out / "prune" / "run")
    assert evaluate(pruned, progress=False).metrics.mean_average_precision == pytest.approx(
        rows["prune", "float32"]["mean_average_precision"], abs=1e-6
    )
    assert pruned.config.multi_label
    classifier = Classifier(out / "qat" / "model_int8.tflite")
    with chords.open(newline="") as file:
        tested = [row for row in csv.DictReader(file) if row["split"] == "test"]
    heard = [classifier.classify(chords.parent / row["path"]).scores for row in tested]
    found = []
    for index, name in enumerate(classifier.labels):
        true = [name in row["labels"].split(";") for row in tested]
        own = [scores[index] for scores in heard]
        above = [[has for has, other in zip(true, own, strict=True) if other >= score] for score in own]
        found.append(np.mean([np.mean(some) for some, has in zip(above, true, strict=True) if has]))
    assert rows["qat", "int8"]["mean_average_precision"] == pytest.approx(np.mean(found), abs=1e-6)
    assert np.mean(found) > 0.9


def test_a_tagger_teaches_another_and_both_are_averaged_to_one_that_is_exported(
    run: Path, chords: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, both = tmp_path / "other", tmp_path / "both"
    taught = ["--seed=1", "--epochs=12", f"--teacher={run}"]
    assert main(["train", f"--data_dir={chords}", f"--output_dir={other}", *SMALL, *taught]) == 0
    assert main(["ensemble", str(run), str(other), f"--output_dir={both}"]) == 0
    record = json.loads((both / "result.json").read_text())
    assert record["mean_average_precision"] > 0.95
    assert "accuracy" not in record
    assert "mean average precision" in capsys.readouterr().out
    assert main(["compare", str(run), str(both), f"--json={tmp_path / 'compared.json'}"]) == 0
    compared = json.loads((tmp_path / "compared.json").read_text())
    before = json.loads((run / "metrics.json").read_text())["mean_average_precision"]
    assert compared["mean_average_precision_a"] == pytest.approx(before, abs=1e-12)
    assert compared["mean_average_precision_b"] == pytest.approx(record["mean_average_precision"], abs=1e-12)
    members = [evaluate(load_bundle(path), progress=False).scores.astype(np.float64) for path in (run, other)]
    joined = load_bundle(both)
    assert (joined.config.model.name, joined.config.model.score_activation) == ("ensemble", "sigmoid")
    np.testing.assert_allclose(evaluate(joined, progress=False).scores, np.mean(members, axis=0), atol=1e-5)
    assert (
        main(["export", f"--run_dir={both}", f"--output_dir={tmp_path / 'out'}", *WIDE, "--formats=float32,int8"]) == 0
    )
