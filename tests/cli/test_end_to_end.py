"""The commands from a folder of recordings to a label, in one process, and what they say of mistakes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from tfaudio.cli.main import main
from tfaudio.data.synthetic import make_sound

RATE = 16_000
SMALL = [
    "--epochs=6",
    "--clip_seconds=0.5",
    "--batch_size=16",
    "--set=front_end.frame_length=512",
    "--set=front_end.fft_length=512",
    "--set=front_end.frame_step=256",
    "--set=front_end.num_mel_bins=32",
    '--set=model.options={"filters": [8, 16]}',
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of synthetic sounds, and every kind of trouble beside them."""
    root = tmp_path_factory.mktemp("cli") / "my sounds"
    for kind, label in (("hum", "hum"), ("whistle", "a whistle, high"), ("clicks", "時計")):
        (root / label).mkdir(parents=True)
        for index in range(12):
            sound = make_sound(kind, seed=0, index=index, seconds=0.5)
            soundfile.write(root / label / f"{kind}{index}.wav", sound, RATE)
    bad = root / "hum"
    soundfile.write(bad / "whole.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 30_000), RATE)
    (bad / "truncated.flac").write_bytes((bad / "whole.flac").read_bytes()[:15_000])
    (bad / "whole.flac").unlink()
    (bad / "empty.wav").write_bytes(b"")
    (bad / "text.wav").write_text("not a sound")
    (bad / "nowhere.wav").symlink_to(root / "gone.wav")
    soundfile.write(bad / "nothing.wav", np.zeros(0), RATE)
    soundfile.write(bad / "nan.wav", np.full(1000, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(bad / "short.wav", 0.1 * np.ones(160), RATE)
    soundfile.write(bad / "six.wav", np.random.default_rng(1).uniform(-0.5, 0.5, (8000, 6)), 44_100)
    (root / "lonely").mkdir()
    soundfile.write(root / "lonely" / "犬.wav", make_sound("bell", seed=0, index=0, seconds=0.5), RATE)
    return root


BAD = ("truncated.flac", "empty.wav", "text.wav", "nowhere.wav", "nothing.wav", "nan.wav")


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run trained on that folder, with what it said."""
    path = tmp_path_factory.mktemp("runs") / "run"
    code = main(["train", "--dataset=folder", f"--data_dir={folder}", f"--output_dir={path}", *SMALL])
    assert code == 0
    return path


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "out"
    # The thresholds are wide: a run of six epochs on a few clips is no measure of quantisation.
    code = main(
        ["export", f"--run_dir={run}", f"--output_dir={path}", "--max_accuracy_drop=0.5", "--min_agreement=0.3"]
    )
    assert code == 0
    return path


def _error(capsys, code, *arguments):
    """Runs a command that must fail and returns its one line."""
    assert main(list(arguments)) == code
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("tfaudio")]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


def test_training_lists_what_it_skipped(run):
    skipped = {row["path"].rsplit("/", 1)[1]: row["reason"] for row in csv.DictReader((run / "skipped.csv").open())}
    assert set(skipped) == set(BAD)
    assert all(skipped.values())
    split = json.loads((run / "split.json").read_text())
    assert "lonely/犬.wav" in split["train"]
    assert not any("lonely" in name for name in split["test"])
    result = json.loads((run / "result.json").read_text())
    assert result["protocol"] == "hash"
    assert result["accuracy"] == json.loads((run / "metrics.json").read_text())["accuracy"]
    assert (run / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_evaluating_again_gives_the_same_figures(run, tmp_path, capsys):
    assert (
        main(["evaluate", f"--run_dir={run}", f"--json={tmp_path / 'e.json'}", f"--report_dir={tmp_path / 'r'}"]) == 0
    )
    again = json.loads((tmp_path / "e.json").read_text())
    before = json.loads((run / "metrics.json").read_text())
    assert again["accuracy"] == before["accuracy"]
    assert again["confusion"] == before["confusion"]
    assert "時計" in capsys.readouterr().out
    assert (tmp_path / "r" / "confusion.csv").is_file()
    assert "exists already" in _error(capsys, 1, "evaluate", f"--run_dir={run}", f"--json={tmp_path / 'e.json'}")


def test_strict_stops_at_the_first_by_name(folder, tmp_path, capsys):
    line = _error(
        capsys, 1, "train", "--dataset=folder", f"--data_dir={folder}", f"--output_dir={tmp_path / 'x'}", "--strict"
    )
    assert any(name in line for name in BAD)


def _predictions(capsys, model, *arguments):
    assert main(["predict", f"--model={model}", "--format=jsonl", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_kind_of_model_gives_the_same_scores(run, exported, folder, capsys):
    reference = _predictions(capsys, run, folder / "時計", folder / "lonely")
    assert len(reference) == 13
    for name, tolerance in (("saved_model/1", 1e-4), ("saved_model", 1e-4), ("model_float32.tflite", 1e-4)):
        for ours, theirs in zip(
            _predictions(capsys, exported / name, folder / "時計", folder / "lonely"), reference, strict=True
        ):
            assert ours["path"] == theirs["path"]
            assert list(ours["scores"]) == ["a whistle, high", "hum", "lonely", "時計"]
            assert ours["scores"] == pytest.approx(theirs["scores"], abs=tolerance)


def test_predictions_agree_with_the_evaluation(run, folder, capsys, tmp_path):
    # The pipeline of training and the reader of the device take different roads to the same waveform.
    rows = {row["path"]: row for row in csv.DictReader((run / "predictions.csv").open())}
    for row in _predictions(capsys, run, *rows):
        assert row["label"] == rows[row["path"]]["predicted"]
        assert row["score"] == pytest.approx(float(rows[row["path"]]["score"]), abs=2e-3)


def test_output_formats(exported, folder, capsys):
    model, file = exported / "model_int8.tflite", folder / "hum" / "hum0.wav"
    assert main(["predict", f"--model={model}", "--format=csv", "--top=2", str(file)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]["path"] == str(file)
    assert float(rows[0]["score_1"]) >= float(rows[0]["score_2"])
    assert main(["predict", f"--model={model}", str(file), str(folder / "時計")]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 13
    assert re.search(r"hum0\.wav +\S.* \d+\.\d%$", table[0])


def test_long_recordings_and_standard_input(exported, folder, tmp_path, capsys, monkeypatch):
    hum, _ = soundfile.read(folder / "hum" / "hum0.wav")
    soundfile.write(tmp_path / "long.flac", np.tile(hum, 7), RATE)
    windows = _predictions(capsys, exported / "model_float32.tflite", "--per_window", tmp_path / "long.flac")
    assert [row["start"] for row in windows] == pytest.approx([0.5 * i for i in range(7)])
    whole = _predictions(capsys, exported / "model_float32.tflite", tmp_path / "long.flac")[0]
    mean = np.mean([list(row["scores"].values()) for row in windows], axis=0)
    np.testing.assert_allclose(list(whole["scores"].values()), mean, atol=1e-5)

    class Stdin:
        buffer = (tmp_path / "long.flac").open("rb")

    monkeypatch.setattr("sys.stdin", Stdin)
    piped = _predictions(capsys, exported / "model_float32.tflite", "-")[0]
    assert piped["scores"] == pytest.approx(whole["scores"])


def test_an_unreadable_file_does_not_stop_the_others(exported, folder, capsys):
    files = [str(folder / "hum" / name) for name in ("text.wav", "hum0.wav")]
    assert main(["predict", f"--model={exported / 'model_int8.tflite'}", "--format=jsonl", *files]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert "text.wav" in captured.err
    assert "1 of 2" in captured.err


def test_info_of_every_kind(run, exported, capsys):
    for path, kind in (
        (run, "run"),
        (exported / "saved_model" / "1", "saved_model"),
        (exported / "model_int8.tflite", "tflite"),
    ):
        assert main(["info", str(path), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["kind"] == kind
        assert facts["labels"] == ["a whistle, high", "hum", "lonely", "時計"]
        assert facts["front_end"]["num_mel_bins"] == 32
        if kind != "run":
            assert (facts["channels"], facts["score_range"]) == (1, [0.0, 1.0])
            assert facts["num_samples"] == round(facts["clip"]["seconds"] * facts["sample_rate"])
        assert main(["info", str(path)]) == 0
        assert "時計" in capsys.readouterr().out


def test_datasets_lists_and_counts(folder, capsys):
    assert main(["datasets"]) == 0
    assert "esc10" in capsys.readouterr().out
    assert main(["datasets", "--dataset=folder", f"--data_dir={folder}", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["classes"]["時計"] == 12
    assert summary["classes"]["lonely"] == 1


def test_folds_are_trained_and_exported_together(small_data, tmp_path, capsys):
    arguments = ["--dataset=manifest", f"--data_dir={small_data / 'manifest.csv'}", f"--output_dir={tmp_path / 'run'}"]
    assert main(["train", *arguments, *SMALL, "--epochs=1", "--folds=1,3", f"--json={tmp_path / 'r.json'}"]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["protocol"] == "folds"
    assert set(result["accuracy_per_fold"]) == {"1", "3"}
    assert result["num_clips"] == 40
    assert json.loads((tmp_path / "run" / "fold_3" / "split.json").read_text())["rule"].startswith(
        "test: official fold 3"
    )
    wide = ["--max_accuracy_drop=1", "--min_agreement=0"]
    arguments = [f"--run_dir={tmp_path / 'run'}", f"--output_dir={tmp_path / 'out'}", "--formats=float32", *wide]
    assert main(["export", *arguments]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["mean_accuracy"]["float32"] == pytest.approx(result["accuracy"])
    file = tmp_path / "out" / "fold_1" / "model_float32.tflite"
    exported = file.read_bytes()
    assert "noise" in _error(capsys, 1, "export", *arguments, "--overwrite", f"--data_dir={tmp_path / 'noise'}")
    assert "LABEL=NUMBER" in _error(capsys, 2, "export", *arguments, "--overwrite", "--threshold=loud")
    assert file.read_bytes() == exported
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert "its folds are" in _error(capsys, 1, "evaluate", f"--run_dir={tmp_path / 'run'}")


def test_a_run_takes_up_where_it_stopped(small_data, tmp_path):
    arguments = ["--dataset=manifest", f"--data_dir={small_data / 'manifest.csv'}", f"--output_dir={tmp_path}"]
    arguments += [*SMALL, "--epochs=1", "--folds=1"]
    assert main(["train", *arguments]) == 0
    (tmp_path / "model.weights.h5").unlink()
    assert main(["train", *arguments, "--resume"]) == 0
    assert (tmp_path / "model.weights.h5").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--output_dir={tmp}/x", "--dataset=folder"], 1, "--data_dir"),
        (["train", "--output_dir={tmp}/x", "--dataset=folder", "--data_dir={tmp}/none"], 1, "does not exist"),
        (["train", "--output_dir={tmp}/x", "--dataset=esc11"], 1, "Did you mean 'esc10'"),
        (["train", "--output_dir={tmp}/x", "--dataset=synthetic", "--model=cn"], 1, "Did you mean 'cnn'"),
        (["train", "--output_dir={tmp}/x", "--dataset=synthetic", "--engine=fast"], 1, "engine"),
        (["train", "--output_dir={tmp}/x", "--epoch=3"], 2, "Did you mean --epochs"),
        (["train", "--dataset=synthetic"], 2, "--output_dir is needed"),
        (["train", "--output_dir={tmp}/file/x", "--dataset=manifest", "--data_dir={data}"], 1, "Cannot write"),
        (["train", "--output_dir={tmp}/x", "--dataset=manifest", "--data_dir={data}", "--folds=9"], 1, "9"),
        (["train", "--output_dir={tmp}/x", "--set=augment.mix=1"], 1, "augment.mix"),
        (["train", "--output_dir={tmp}/full", "--dataset=synthetic"], 1, "--overwrite"),
        (["train", "--output_dir={tmp}/x", "--config={tmp}/none.json"], 1, "none.json"),
        (["evaluate", "--run_dir={tmp}/none"], 1, "no run folder"),
        (["evaluate", "--run_dir={tmp}"], 1, "config.json"),
        (["export", "--run_dir={tmp}", "--output_dir={tmp}/o", "--formats=int9"], 1, "int9"),
        (["predict", "--model={tmp}/none", "{data}"], 1, "no model"),
        (["predict", "--model={tmp}", "{data}"], 1, "neither"),
        (["predict", "--model={tmp}/file", "{data}"], 1, "file"),
        (["predict", "--model={tmp}/file"], 2, "at least one"),
        (["predict", "--model={tmp}/file", "{tmp}/no.wav"], 1, "no.wav"),
        (["train", "--output_dir={tmp}/x", "--dataset=synthetic", "--json={tmp}/full"], 1, "is a folder"),
        (["evaluate", "--run_dir={tmp}/none", "--json={tmp}/file/e.json"], 1, "not a folder"),
        (["info"], 2, "Name one"),
        (["trian"], 2, "Did you mean 'train'"),
        (["info", "{tmp}/" + 300 * "n"], 1, "cannot be used: File name too long"),
        (["predict", "--model={tmp}/" + 300 * "n", "{data}"], 1, "cannot be used: File name too long"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, code, message, small_data, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("x")
    filled = [a.format(tmp=tmp_path, data=small_data / "manifest.csv") for a in arguments]
    assert message in _error(capsys, code, *filled)
    assert not (tmp_path / "x" / "config.json").exists()


def test_a_run_without_weights_says_how_to_go_on(run, tmp_path, capsys):
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    for command in (["evaluate", f"--run_dir={tmp_path}"], ["predict", f"--model={tmp_path}", str(run)]):
        if command[0] == "predict":
            command[-1] = str(run / "confusion.png")
        assert "--resume" in _error(capsys, 1, *command)


def test_test_recordings_that_broke_later_are_told(small_data, tmp_path, capsys):
    copy = tmp_path / "data"
    shutil.copytree(small_data, copy)
    run = tmp_path / "run"
    arguments = ["--dataset=manifest", f"--data_dir={copy / 'manifest.csv'}", f"--output_dir={run}", "--folds=1"]
    assert main(["train", *arguments, *SMALL, "--epochs=1"]) == 0
    broken = copy / json.loads((run / "split.json").read_text())["test"][0]
    broken.write_bytes(broken.read_bytes()[:5000])
    capsys.readouterr()
    assert main(["evaluate", f"--run_dir={run}", f"--json={tmp_path / 'e.json'}"]) == 0
    assert f"not scored: {broken}" in capsys.readouterr().err
    document = json.loads((tmp_path / "e.json").read_text())
    assert (document["num_clips"], [s["path"] for s in document["skipped"]]) == (19, [str(broken)])
    points = ["--degradations=gain", f"--report_dir={tmp_path / 'robust'}"]
    assert main(["robustness", f"--run_dir={run}", *points]) == 0
    assert f"not scored: {broken}" in capsys.readouterr().err
    wide = ["--max_accuracy_drop=1", "--min_agreement=0", "--formats=float32"]
    assert main(["export", f"--run_dir={run}", f"--output_dir={tmp_path / 'out'}", *wide]) == 0
    assert f"not used: {broken}" in capsys.readouterr().err


def test_what_the_gate_withholds_is_told_by_the_exit_code(run, tmp_path, capsys):
    command = ["export", f"--run_dir={run}", "--formats=float32"]
    assert main([*command, f"--output_dir={tmp_path / 'out'}", "--max_size_kb=1"]) == 1
    told = capsys.readouterr().out
    assert "float32" in told
    assert "move a limit (--min_agreement and others)\nno model was written; " in told
    assert not list((tmp_path / "out").rglob("*.tflite"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert not report["formats"]["float32"]["written"]
    assert "kB" in report["formats"]["float32"]["problems"][0]


def test_a_class_that_is_only_in_the_test_recordings_is_told_and_scored(small_data, tmp_path, capsys):
    with (small_data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    strange = rows[0]["label"]
    for row in rows:
        row["path"] = str(small_data / row["path"])
        row["fold"] = "1" if row["label"] == strange else ("1" if row["fold"] == "1" else "2")
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "run"
    arguments = ["--dataset=manifest", f"--data_dir={tmp_path / 'm.csv'}", f"--output_dir={out}", "--folds=1"]
    assert main(["train", *arguments, *SMALL, "--epochs=1", "--class_weights"]) == 0
    assert f"class '{strange}' has 0 recording(s)" in capsys.readouterr().err
    metrics = json.loads((out / "metrics.json").read_text())
    recalls = {of_class["label"]: of_class["recall"] for of_class in metrics["per_class"]}
    assert set(recalls) == {row["label"] for row in rows}
    assert recalls[strange] == 0.0
    assert metrics["num_clips"] == sum(row["fold"] == "1" for row in rows)


def test_folds_of_unequal_size_give_a_result(small_data, tmp_path, capsys):
    rows = list(csv.DictReader((small_data / "manifest.csv").open()))
    kept = [row for row in rows if row["fold"] in "23"] + [row for row in rows if row["fold"] == "1"][:1]
    with (small_data / "unequal.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(kept)
    run = tmp_path / "run"
    arguments = ["--dataset=manifest", f"--data_dir={small_data / 'unequal.csv'}", f"--output_dir={run}", *SMALL]
    assert main(["train", *arguments, "--epochs=1", "--folds=1,2,2"]) == 0
    result = json.loads((run / "result.json").read_text())
    assert set(result["accuracy_per_fold"]) == {"1", "2"}
    assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    assert "same --folds" in _error(capsys, 1, "train", *arguments, "--epochs=1", "--folds=2", "--resume")
