from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.export.small_runs import LABELS, SAMPLE_RATE, Exported, tones
from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError
from tfaudio.export.artifact import export_run
from tfaudio.export.report import FORMATS, GateConfig
from tfaudio.export.tflite import Conversion, TfliteConverter


def test_one_folder_holds_everything(run: Exported) -> None:
    folder = run.report.output_dir
    assert sorted(path.name for path in folder.iterdir()) == [
        "labels.txt",
        "model_dynamic_range.tflite",
        "model_float16.tflite",
        "model_float32.tflite",
        "model_int8.tflite",
        "report.json",
        "saved_model",
    ]
    assert (folder / "saved_model" / "1" / "saved_model.pb").is_file()
    assert (folder / "labels.txt").read_text("utf-8").splitlines() == list(LABELS)


def test_the_report_is_json_and_names_the_calibration_clips(run: Exported) -> None:
    report = json.loads((run.report.output_dir / "report.json").read_text("utf-8"))
    assert report == json.loads(json.dumps(run.report.to_dict()))
    assert report["calibration"]["clips"] == 60
    assert report["calibration"]["names"][0] == "train_0.wav"
    assert report["gate"]["passed"]
    assert report["gate"]["clips_source"] == "test"
    for name in FORMATS:
        found = report["formats"][name]
        assert found["written"], found["problems"]
        assert found["latency_ms"] > 0
        if name != "saved_model":
            assert found["size_bytes"] == (run.report.output_dir / found["path"]).stat().st_size
    assert report["formats"]["saved_model"]["max_score_difference"] <= 1e-4
    accuracy = float(np.mean(run.keras_scores.argmax(1) == run.targets))
    assert report["keras"]["accuracy"] == pytest.approx(accuracy)


def test_the_table_has_a_line_for_each_format(run: Exported) -> None:
    lines = run.report.to_text().splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["format", "keras", *FORMATS]
    assert "120 test clips" in run.report.to_text()


@pytest.fixture
def broken_float16(monkeypatch: pytest.MonkeyPatch, cnn: Exported) -> None:
    """A float16 conversion that gets the weights wrong."""
    convert = TfliteConverter.convert
    weights = cnn.bundle.classifier.get_weights()

    def break_one(self: TfliteConverter, variant: str) -> Conversion:
        if variant != "float16":
            return convert(self, variant)
        cnn.bundle.classifier.set_weights([np.flip(w, axis=-1) for w in weights])
        try:
            return convert(self, variant)
        finally:
            cnn.bundle.classifier.set_weights(weights)

    monkeypatch.setattr(TfliteConverter, "convert", break_one)


@pytest.mark.usefixtures("broken_float16")
def test_a_broken_variant_gets_no_name_and_no_earlier_file_stays(cnn: Exported, tmp_path: Path) -> None:
    (tmp_path / "model_float16.tflite").write_bytes(b"of an earlier export")
    (tmp_path / "model_int8.tflite").write_bytes(b"of an earlier export")
    (tmp_path / "notes.txt").write_text("mine")
    report = export_run(
        cnn.bundle,
        formats=["float16"],
        output_dir=tmp_path,
        calibration=tones(12, 1)[0],
        test_waveforms=cnn.waveforms,
        test_targets=cnn.targets.tolist(),
        overwrite=True,
    )
    assert [failed.name for failed in report.failed] == ["float16"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "notes.txt", "report.json"]
    (withheld,) = report.failed
    assert any("best class" in problem for problem in withheld.problems)
    assert any("accuracy" in problem for problem in withheld.problems)
    assert withheld.accuracy is not None
    assert withheld.accuracy < 0.9
    assert "withheld" in report.to_text()
    assert json.loads((tmp_path / "report.json").read_text())["formats"]["float16"]["written"] is False


def test_without_test_data_the_gate_says_what_it_compared(cnn: Exported, tmp_path: Path) -> None:
    report = export_run(cnn.bundle, formats=["float32"], output_dir=tmp_path / "out", calibration=tones(8, 1)[0])
    assert (report.clips, report.clips_source, report.keras_accuracy) == (8, "calibration", None)
    assert "no test data was given" in report.to_text()


def test_a_variant_that_cannot_be_made_is_reported(cnn: Exported, tmp_path: Path) -> None:
    report = export_run(
        cnn.bundle,
        formats=["int8"],
        output_dir=tmp_path / "out",
        calibration=np.zeros((0, SAMPLE_RATE), np.float32),
        test_waveforms=cnn.waveforms[:4],
    )
    assert "needs training clips" in report.failed[0].problems[0]
    assert not (tmp_path / "out" / "model_int8.tflite").exists()


def no_export(bundle: Bundle, output_dir: Path, **changes: object) -> str:
    arguments = {"formats": ["float32"], "calibration": tones(2, 1)[0], **changes}
    with pytest.raises(TfaudioError) as error:
        export_run(bundle, output_dir=output_dir, **arguments)  # type: ignore[arg-type]
    return str(error.value)


def test_mistakes_are_told_in_a_sentence(cnn: Exported, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert "Did you mean 'float16'" in no_export(cnn.bundle, new, formats=["float61"])
    assert "at least one format" in no_export(cnn.bundle, new, formats=[])
    assert "[clips, 16000]" in no_export(cnn.bundle, new, calibration=np.zeros((2, 8000), np.float32))
    assert "NaN" in no_export(cnn.bundle, new, calibration=np.full((2, SAMPLE_RATE), np.nan, np.float32))
    assert not new.exists()
    assert "pass (16000,)" in no_export(cnn.bundle, new, test_waveforms=np.zeros((2, 8000), np.float32))
    assert "2 clips but 3 targets" in no_export(
        cnn.bundle, new, test_waveforms=cnn.waveforms[:2], test_targets=[0, 1, 2]
    )
    assert "at least one clip" in no_export(cnn.bundle, new, test_waveforms=[])
    assert not list(new.iterdir())  # nothing half done stays
    (tmp_path / "file").write_text("mine")
    assert "--overwrite" in no_export(cnn.bundle, tmp_path)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(TfaudioError, match="max_accuracy_drop"):
        GateConfig(max_accuracy_drop=1.5)
