"""`tfaudio robustness`, `calibrate` and `compare` on a run, from its folder to files."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tfaudio import bundle
from tfaudio.bundle import load_bundle, read_config, write_config
from tfaudio.cli.main import main
from tfaudio.errors import TfaudioError
from tfaudio.evaluation import calibration, robustness
from tfaudio.evaluation.evaluate import evaluate
from tfaudio.evaluation.protocol import NO_MEASURE


@pytest.fixture(scope="module")
def run(tones: Path, tone_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with validation recordings that is right here and there, so that there is something to calibrate."""
    path = tmp_path_factory.mktemp("runs") / "run"
    given = ["--folds=1", "--validation_fraction=0.3", "--epochs=4", "--learning_rate=0.02"]
    assert main(["train", f"--data_dir={tones}", f"--output_dir={path}", *tone_flags, *given]) == 0
    return path


def document(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def test_robustness_begins_at_the_accuracy_of_the_run(run: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    names = "--degradations=gain,white_noise,late_start,babble"
    assert main(["robustness", f"--run_dir={run}", names, "--limit=11", f"--report_dir={report}"]) == 0
    found = document(report / "robustness.json")
    # Of the twelve test recordings all but one are taken, evenly spread.
    clean = found["clean"]
    assert clean["num_clips"] == 11
    assert abs(11 * clean["accuracy"] - 12 * document(run / "metrics.json")["accuracy"]) <= 1 + 1e-9
    assert [row["name"] for row in found["degradations"]] == ["gain", "white_noise", "late_start", "babble"]
    assert [point["severity"] for point in found["degradations"][1]["points"]] == [30, 20, 10, 5, 0, -5]
    assert (report / "robustness.png").read_bytes()[:4] == b"\x89PNG"
    assert "silence before, s" in (report / "robustness.txt").read_text()
    again = [
        "robustness",
        f"--run_dir={run}",
        "--degradations=white_noise",
        "--limit=5",
        f"--json={tmp_path / 'r.json'}",
    ]
    assert main(again) == 0
    limited = document(tmp_path / "r.json")
    assert limited["clean"]["num_clips"] == 5


@pytest.mark.parametrize(
    ("setting", "said"),
    [("initial_weights_saw_test", "the weights to start from may know"), ("shuffle_labels", "a control, which learnt")],
)
def test_every_result_that_is_no_measure_says_so(
    setting: str, said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saw = tmp_path / "saw"
    shutil.copytree(run, saw)
    write_config(saw, read_config(saw).override({f"training.{setting}": True}))
    commands = {
        "evaluate": [],
        "robustness": ["--degradations=gain", "--limit=2"],
        "calibrate": [],
        "export": [f"--output_dir={tmp_path / 'export'}", "--formats=float32"],
    }
    for command, given in commands.items():
        told = tmp_path / f"{command}.json"
        assert main([command, f"--run_dir={saw}", f"--json={told}", *given]) == 0
        assert said in document(told)[NO_MEASURE]
        if command != "export":
            assert f"no measure of unknown recordings: {said}" in capsys.readouterr().out
    assert main(["compare", str(run), str(saw), f"--json={tmp_path / 'compare.json'}"]) == 0
    assert f"B is no measure of unknown recordings: {said}" in capsys.readouterr().out
    assert said in document(tmp_path / "compare.json")["caveats_b"][NO_MEASURE]


def test_robustness_is_that_of_the_run_as_it_was_trained(run: Path, tmp_path: Path) -> None:
    calibrated, found = tmp_path / "run", []
    shutil.copytree(run, calibrated)
    # So cold that scores of several windows, or of several classes, would be told apart no more.
    (calibrated / "calibration.json").write_text('{"temperature": 1e-3, "thresholds": {}}')
    for path in (run, calibrated):
        told = tmp_path / f"{len(found)}.json"
        assert main(["robustness", f"--run_dir={path}", "--degradations=white_noise", f"--json={told}"]) == 0
        found.append(document(told))
    assert found[0]["clean"]["accuracy"] == document(run / "metrics.json")["accuracy"]
    assert found[0]["degradations"] == found[1]["degradations"]


def test_what_would_fail_at_the_end_fails_at_the_beginning(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tfaudio.bundle.load_bundle", None)  # nothing is scored
    folds, file = tmp_path / "folds", tmp_path / "file"
    for fold in (1, 2):
        shutil.copytree(run, folds / f"fold_{fold}")
    (folds / "fold_2" / "model.weights.h5").unlink()
    file.touch()
    for command in ("robustness", "calibrate", "export"):
        out = [f"--output_dir={tmp_path / 'out'}"] if command == "export" else []
        assert main([command, f"--run_dir={folds}", *out]) == 1
        assert "fold_2 has no model.weights.h5" in capsys.readouterr().err
    shutil.rmtree(folds / "fold_2")
    (folds / "shared_config.json").touch()
    for arguments in (
        *(
            ["robustness", f"--run_dir={folds}"],
            ["calibrate", f"--run_dir={folds}"],
            ["compare", str(folds), str(folds)],
        ),
        ["ensemble", str(folds), str(folds), f"--output_dir={tmp_path / 'both'}"],
    ):
        assert main(arguments) == 1
        assert "folds has no result.json: its training did not finish" in capsys.readouterr().err
    for command in ("robustness", "calibrate", "evaluate"):
        assert main([command, f"--run_dir={run}", f"--report_dir={file / 'report'}"]) == 1
        assert f"{file} is not a folder" in capsys.readouterr().err
    assert main(["ensemble", str(run), str(run), f"--output_dir={file / 'both'}"]) == 1
    assert f"{file} is not a folder" in capsys.readouterr().err


def test_a_recording_that_cannot_be_classified_is_told_and_the_rest_goes_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tone = np.sin(np.arange(4_000) / 5)
    for name, scale in (("a", 0.5), ("b", 20_000.0), ("c", 0.5)):
        soundfile.write(tmp_path / f"{name}.wav", scale * tone, 8_000, subtype="FLOAT")
    assert main(["predict", f"--model={run}", str(tmp_path), "--format=csv"]) == 1
    told = capsys.readouterr()
    assert [Path(row.split(",")[0]).name for row in told.out.splitlines()[1:]] == ["a.wav", "c.wav"]
    assert "b.wav holds samples beyond 64" in told.err


def test_integers_are_calibrated_on_recordings_of_training_alone(run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "export"
    gate = ["--max_accuracy_drop=1", "--min_agreement=0", "--calibration_clips=1000"]
    assert main(["export", f"--run_dir={run}", f"--output_dir={exported}", "--formats=int8", *gate]) == 0
    names = set(document(exported / "report.json")["calibration"]["names"])
    split = document(run / "split.json")
    assert names == set(split["train"])
    assert not names & {*split["test"], *split["validation"]}


def test_what_no_recording_at_a_rate_can_have_is_left_out_or_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(robustness, "_MP3_RATES", ())
    monkeypatch.setattr(robustness, "DEGRADATIONS", {n: robustness.DEGRADATIONS[n] for n in ("mp3", "gain")})
    command = ["robustness", f"--run_dir={run}", "--limit=2", f"--report_dir={tmp_path / 'report'}"]
    assert main([*command, "--degradations=mp3"]) == 1
    assert "There is no 'mp3' of recordings at" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
    assert main(command) == 0
    assert "left out: mp3" in capsys.readouterr().err
    assert [row["name"] for row in document(tmp_path / "report" / "robustness.json")["degradations"]] == ["gain"]


def test_calibration_changes_what_every_reader_of_the_run_gets(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    shutil.copytree(run, path)
    before = evaluate(path, progress=False)
    report = tmp_path / "report"
    strange = tmp_path / "strange"
    strange.mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).uniform(-0.5, 0.5, 8_000)
        soundfile.write(strange / f"{index}.wav", noise, 16_000)
    given = ["calibrate", f"--run_dir={path}", f"--report_dir={report}"]
    assert main([*given, f"--unknown_dir={tmp_path / 'none'}"]) == 1
    assert "There is no file or folder" in capsys.readouterr().err
    assert main([*given, f"--unknown_dir={strange}"]) == 0
    assert "3 recordings of no class" in capsys.readouterr().out
    kept, told = document(path / bundle.CALIBRATION), document(report / "calibration.json")
    assert told["runs"]["run"] == kept
    assert kept["validation_clips"] == len(bundle.read_split(path)["validation"])
    assert told["num_clips"] == len(before.clips)
    assert told["unknown"]["num_clips"] == 3
    assert told["before"]["confidence"] == pytest.approx(before.scores.max(axis=1).mean(), abs=1e-6)
    assert (report / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    # One window a clip: softmax(z / T) is softmax(z) to the power of 1 / T, scaled to one.
    after = evaluate(path, progress=False)
    powers = before.scores.astype(np.float64) ** (1 / kept["temperature"])
    np.testing.assert_allclose(after.scores, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    assert abs(kept["temperature"] - 1) > 0.01
    assert told["after"]["confidence"] == pytest.approx(after.scores.max(axis=1).mean(), abs=1e-5)
    # What predict tells of the noises is what the table counted.
    assert main(["predict", f"--model={path}", "--format=csv", str(strange)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["unknown"] for row in rows] == [str(int(float(r["score"]) < kept["unknown_below"])) for r in rows]
    assert np.mean([row["unknown"] == "1" for row in rows]) == told["unknown"]["refused"]
    assert main(["predict", f"--model={path}", str(strange)]) == 0
    assert capsys.readouterr().out.count("unknown: ") == sum(row["unknown"] == "1" for row in rows)
    # A second time it starts from the scores as trained, and so finds the same.
    assert main(["calibrate", f"--run_dir={path}"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["calibrate", f"--run_dir={path}", "--overwrite"]) == 0
    assert document(path / bundle.CALIBRATION) == kept
    wide = ["--max_accuracy_drop=1", "--min_agreement=0", "--formats=float32,int8", "--threshold=low=0.123"]
    assert main(["export", f"--run_dir={path}", f"--output_dir={tmp_path / 'out'}", *wide]) == 0
    for name in ("float32", "int8"):
        capsys.readouterr()
        model = tmp_path / "out" / f"model_{name}.tflite"
        assert main(["predict", f"--model={model}", "--format=jsonl", before.clips[0].path]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["unknown"] == (told["score"] < kept["unknown_below"])
        scores = list(told["scores"].values())
        np.testing.assert_allclose(scores, after.scores[0], atol=1e-4 if name == "float32" else 0.1)
    from tfaudio.runtime import Classifier

    assert Classifier(model).metadata.unknown_below == kept["unknown_below"]
    assert Classifier(model).metadata.thresholds == {**kept["thresholds"], "low": 0.123}


def test_what_is_trained_on_from_a_calibrated_run_is_the_run_as_trained(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    shutil.copytree(run, path)
    assert main(["calibrate", f"--run_dir={path}"]) == 0
    given = []

    def optimize_run(taken: bundle.Bundle, *_: object, **__: object) -> None:
        given.append([weights.numpy() for weights in taken.classifier.weights])
        raise TfaudioError("enough")

    monkeypatch.setattr("tfaudio.optimize.run.optimize_run", optimize_run)
    assert main(["optimize", f"--run_dir={path}", f"--output_dir={tmp_path / 'out'}", "--method=prune"]) == 1
    trained = load_bundle(run).classifier.weights
    for found, expected in zip(*given, trained, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_temperature_is_found_on_validation_recordings_alone(
    run: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfaudio.evaluation import calibration

    original = calibration.read_part
    asked: list[str] = []

    def read_part(loaded: Any, part: Any, **options: Any) -> Any:
        asked.append(part)
        if part == "test":
            raise TfaudioError("not the test recordings")
        return original(loaded, part, **options)

    monkeypatch.setattr(calibration, "read_part", read_part)
    fitted: list[float] = []
    fit = calibration.fit_temperature
    monkeypatch.setattr(calibration, "fit_temperature", lambda scored: fitted.append(fit(scored)) or fitted[-1])
    with pytest.raises(TfaudioError, match="not the test recordings"):
        calibration.calibrate_run(load_bundle(run), progress=False)
    assert asked == ["validation", "test"]
    assert len(fitted) == 1


def test_a_run_without_validation_recordings_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    shutil.copytree(run, path)
    split = document(path / "split.json")
    (path / "split.json").write_text(json.dumps({**split, "train": split["train"], "validation": []}))
    assert main(["calibrate", f"--run_dir={path}"]) == 1
    assert "--validation_fraction=0.1" in capsys.readouterr().err
    assert not (path / bundle.CALIBRATION).exists()


@pytest.mark.parametrize("content", ["[]", '{"temperature": 0.0, "thresholds": {}}', '{"temperature": 1.5}', "{"])
def test_a_damaged_calibration_names_its_file(content: str, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run, path, ignore=shutil.ignore_patterns("checkpoints"))
    (path / bundle.CALIBRATION).write_text(content)
    with pytest.raises(TfaudioError, match=r"calibration\.json is damaged"):
        load_bundle(path)


def test_mistakes_are_told_in_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["robustness", f"--run_dir={run}", "--degradations=bable"], "Did you mean 'babble'"),
        (["robustness", f"--run_dir={tmp_path / 'none'}"], "no run folder"),
        (["calibrate", f"--run_dir={tmp_path}"], "config.json"),
        (["robustness", f"--run_dir={run}", f"--json={run}"], "is a folder"),
    ):
        assert main(arguments) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tfaudio")]
        assert len(lines) == 1
        assert message in lines[0]


def test_what_cannot_be_is_told_before_the_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")

    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be measured")

    monkeypatch.setattr("tfaudio.bundle.load_bundle", work)
    for command in ("evaluate", "robustness", "calibrate"):
        assert main([command, f"--run_dir={run}", f"--report_dir={tmp_path / 'file'}", "--overwrite"]) == 1
        assert "file is a file; name a folder" in capsys.readouterr().err
    assert main(["calibrate", f"--run_dir={run}", "--keep=nan"]) == 2
    assert "--keep=nan" in capsys.readouterr().err
    assert not (run / bundle.CALIBRATION).exists()


def test_what_has_no_meaning_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict = ["predict", f"--model={run}", str(run)]
    for arguments, message in (
        ([*predict, "--format=jsonl", "--top=2"], "--top has no place beside it"),
        ([*predict, "--threads=4"], "--threads is for .tflite files"),
        (
            ["evaluate", f"--run_dir={run}", f"--report_dir={tmp_path / 'r'}", f"--json={tmp_path / 'r/metrics.json'}"],
            "lies in --report_dir",
        ),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_a_broken_model_has_no_figures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken, ignore=shutil.ignore_patterns("checkpoints"))
    classifier = load_bundle(broken).classifier
    kernel, bias = classifier.get_layer("logits").get_weights()
    classifier.get_layer("logits").set_weights([kernel, np.full_like(bias, np.nan)])
    bundle.write_weights(broken / bundle.WEIGHTS, classifier)
    for command in (["evaluate"], ["robustness", "--degradations=gain"], ["calibrate"]):
        assert main([*command, f"--run_dir={broken}"]) == 1
        assert "are not finite; the model is broken" in capsys.readouterr().err


def test_a_run_that_tells_no_temperature_costs_no_other_its_calibration(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = tmp_path / "folds"
    for fold in (1, 2):
        shutil.copytree(run, folds / f"fold_{fold}", ignore=shutil.ignore_patterns("checkpoints"))
    calibrate_run = calibration.calibrate_run

    def calibrated(found: bundle.Bundle, **settings: Any) -> calibration.RunCalibration:
        if found.path.name == "fold_1":
            raise TfaudioError("4 of the 4 validation recordings are right.")
        return calibrate_run(found, **settings)

    monkeypatch.setattr(calibration, "calibrate_run", calibrated)
    told = tmp_path / "caf\udce9.json"  # the record has the command line too
    monkeypatch.setattr("sys.argv", ["tfaudio", "calibrate", f"--run_dir={folds}", f"--json={told}"])
    assert main(["calibrate", f"--run_dir={folds}", f"--json={told}"]) == 1
    assert f"not calibrated: {folds / 'fold_1'}: 4 of the 4" in capsys.readouterr().err
    assert [(folds / f"fold_{fold}" / bundle.CALIBRATION).exists() for fold in (1, 2)] == [False, True]
    assert list(document(told)["runs"]) == ["fold_2"]


def test_a_run_is_compared_with_itself(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run), str(run / "predictions.csv")]) == 0
    out = capsys.readouterr().out
    assert "p = 1: no difference" in out
    assert "+0.0 points" in out
