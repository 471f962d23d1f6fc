from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.export.small_runs import FRONT_END, LABELS, SAMPLE_RATE, Exported, tones, untrained
from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError
from tfaudio.export import candidates, parity
from tfaudio.export.artifact import clear_others, export_run
from tfaudio.export.report import FORMATS, ExportReport, FormatReport, GateConfig
from tfaudio.export.tflite import Conversion, TfliteConverter


def test_one_folder_holds_everything(run: Exported) -> None:
    folder = run.report.output_dir
    expected = [
        "card.md",
        "golden.npz",
        "labels.txt",
        "model_dynamic_range.tflite",
        "model_float16.tflite",
        "model_float32.tflite",
        "model_int8.tflite",
        "report.json",
        "saved_model",
    ]
    if run.bundle.config.model.name == "cnn":
        expected += ["microcontroller", "model_int16x8.tflite"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
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
        assert found["latency_2_threads_ms"] > 0
        if name == "saved_model":
            # The waveform and the weights at least; TensorFlow keeps a few tens of megabytes beside them.
            assert 4 * SAMPLE_RATE < found["memory_bytes"] < 300_000_000
        else:
            # More than the file, which the interpreter holds, and the waveform; less than ten megabytes.
            assert found["size_bytes"] + 4 * SAMPLE_RATE < found["memory_bytes"] < 10_000_000
            assert found["size_bytes"] == (run.report.output_dir / found["path"]).stat().st_size
    assert report["formats"]["saved_model"]["max_score_difference"] <= 1e-4
    accuracy = float(np.mean(run.keras_scores.argmax(1) == run.targets))
    assert report["keras"]["accuracy"] == pytest.approx(accuracy)
    for index, label in enumerate(LABELS):
        of_class = run.targets == index
        expected = np.mean(run.keras_scores[of_class].argmax(1) == index)
        assert report["keras"]["class_accuracy"][label] == pytest.approx(expected)
    assert list(report["formats"]["int8"]["class_accuracy"]) == list(LABELS)


def test_the_card_says_what_is_known_and_what_is_not(cnn: Exported) -> None:
    card = (cnn.report.output_dir / "card.md").read_text("utf-8")
    assert card.startswith("# cnn: 6 classes of sound\n")
    assert "mono audio at 16000 Hz in, 1 s at a time" in card
    assert "fingerprint `0123abcd`" in card
    assert "| licence of the model | not stated; to be filled in" in card
    assert "| licence of the data | CC BY 3.0" in card
    assert "| model_int8.tflite |" in card
    assert "| cello, solo | " in card
    tables = [line for line in card.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in tables if "model_" in line} == {8}


def test_the_table_has_a_line_for_each_format(run: Exported) -> None:
    lines = run.report.to_text().splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["format", "keras", *FORMATS]
    assert "120 test clips" in run.report.to_text()


def test_an_export_of_another_kind_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    def write(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("{}")

    def left() -> list[str]:
        return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())

    mine = ["birds/report.json", "notes.txt"]
    write(*mine, "model_int8.tflite")
    clear_others(tmp_path, keep=["fold_1"])
    assert left() == [*mine[:1], "model_int8.tflite", *mine[1:]]  # without a report it is nobody's
    write("report.json", "card.md", "golden.npz", "labels.txt")
    clear_others(tmp_path, keep=["fold_1"])
    assert left() == mine
    folds = ["fold_1/model_int8.tflite", "fold_1/report.json", "fold_2/model_int8.tflite", "fold_2/own.txt"]
    write(*folds)
    (tmp_path / "report.json").write_text(json.dumps({"folds": {"fold_1": {}, "fold_2": {}, "../x": {}, "fold_3": {}}}))
    clear_others(tmp_path, keep=["fold_1"])
    assert left() == sorted([*mine, *folds[:2], folds[3]])
    (tmp_path / "report.json").write_text(json.dumps({"folds": {"fold_1": {}}}))
    clear_others(tmp_path, keep=[])
    assert left() == sorted([*mine, folds[3]])
    assert not (tmp_path / "fold_1").exists()


@pytest.fixture
def broken_float16(monkeypatch: pytest.MonkeyPatch, cnn: Exported, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A float16 conversion that gets the weights wrong."""
    convert = TfliteConverter.convert
    weights = cnn.bundle.classifier.get_weights()

    def break_one(self: TfliteConverter, variant: str) -> Conversion:
        if variant != "float16":
            return convert(self, variant)
        cnn.bundle.classifier.set_weights([np.flip(w, axis=-1) for w in weights])
        other = TfliteConverter(cnn.bundle, SAMPLE_RATE, tones(2, 1)[0], tmp_path_factory.mktemp("broken"))
        try:
            return convert(other, variant)
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.md", "labels.txt", "notes.txt", "report.json"]
    (withheld,) = report.failed
    assert any("best class" in problem for problem in withheld.problems)
    assert any("accuracy" in problem for problem in withheld.problems)
    assert withheld.accuracy is not None
    assert withheld.accuracy < 0.9
    assert "withheld" in report.to_text()
    # Every weight is wrong: it breaks at the first convolution, behind a front end that is as it should be.
    assert "it breaks at operator" in withheld.problems[-1]
    kinds = [layer["operator"] for layer in withheld.layers]
    assert kinds.index("CONV_2D") > kinds.index("LOG")
    by_kind = {layer["operator"]: layer["snr_db"] for layer in reversed(withheld.layers)}
    assert by_kind["LOG"] > 60
    assert by_kind["CONV_2D"] < 10
    assert "(CONV_2D, " in withheld.problems[-1]
    assert json.loads((tmp_path / "report.json").read_text())["formats"]["float16"]["written"] is False


def _export_few(cnn: Exported, folder: Path, gate: GateConfig) -> ExportReport:
    """Exports a float file, compared on a dozen clips."""
    return export_run(
        cnn.bundle,
        formats=["float32"],
        output_dir=folder,
        calibration=tones(4, 1)[0],
        test_waveforms=cnn.waveforms[:12],
        gate=gate,
    )


def test_features_that_hang_on_rounding_have_a_limit_of_their_own(tmp_path: Path) -> None:
    assert GateConfig().of_features(("mel",)).max_score_difference == 1e-4
    assert GateConfig(max_score_difference=1e-6).of_features(("spectral_contrast",)).max_score_difference == 1e-6
    run = untrained("dense", front_end=FRONT_END.replace(feature="rms+spectral_contrast", contrast_bands=4))
    report = export_run(run, formats=["float32"], output_dir=tmp_path / "out", calibration=tones(4, 1)[0])
    assert report.gate.max_score_difference == 1e-3
    assert not report.failed


def test_limits_on_time_size_and_memory(cnn: Exported, tmp_path: Path) -> None:
    limits = {"max_latency_ms": 1e-6, "max_size_kb": 1.0, "max_memory_kb": 1.0}
    report = _export_few(cnn, tmp_path / "out", GateConfig(**limits))
    (withheld,) = report.failed
    assert [f"--{name}" in problem for name, problem in zip(limits, withheld.problems, strict=True)] == [True] * 3
    assert withheld.layers == ()
    assert not (tmp_path / "out" / "model_float32.tflite").exists()
    # A limit on memory is a device's, which runs no SavedModel.
    served = FormatReport(name="saved_model", latency_ms=1e-9, memory_bytes=10**9, size_bytes=10**9)
    assert ["--max_size_kb" in problem for problem in GateConfig(**limits).over_budget(served)] == [True]
    assert list(GateConfig(max_memory_kb=1.0).over_budget(FormatReport(name="saved_model"))) == []


def test_a_limit_withholds_what_nobody_held_to_it() -> None:
    """The time of a microcontroller is known as little as the memory of some systems."""
    tflm = FormatReport(name="tflm", size_bytes=1000, memory_bytes=1000)
    float32 = FormatReport(name="float32", size_bytes=1000, latency_ms=1.0)
    limits = GateConfig(max_latency_ms=1e9, max_size_kb=1e9, max_memory_kb=1e9)
    for report, flag in ((tflm, "--max_latency_ms"), (float32, "--max_memory_kb")):
        (problem,) = limits.over_budget(report)
        assert "cannot be measured on this system" in problem
        assert f"leave {flag} or this format out" in problem
        assert list(GateConfig().over_budget(report)) == []
    assert list(limits.over_budget(float32, no_memory="it does not run.")) == ["it does not run."]


def test_what_cannot_be_measured_is_exported_all_the_same(
    cnn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfaudio.memory._TIMEOUT_SECONDS", 1e-3)
    report = _export_few(cnn, tmp_path / "out", GateConfig())
    (found,) = report.formats
    assert found.path == "model_float32.tflite"
    assert found.memory_bytes is None
    assert "cannot be measured" in report.to_text()
    limited = _export_few(cnn, tmp_path / "limited", GateConfig(max_memory_kb=1e9))
    assert ["cannot be measured" in problem for problem in limited.failed[0].problems] == [True]


def test_a_classifier_made_elsewhere_passes_the_same_gate(cnn: Exported, tmp_path: Path) -> None:
    bundle = cnn.bundle
    weights = bundle.classifier.get_weights()
    converter = TfliteConverter(bundle, SAMPLE_RATE, tones(4, 1)[0], tmp_path)
    made = converter.classifier("dynamic_range")
    bundle.classifier.set_weights([0 * w for w in weights])  # of the converter there is nothing to be had
    try:
        wrong = TfliteConverter(bundle, SAMPLE_RATE, tones(4, 1)[0], tmp_path / "zero").classifier("float32")
    finally:
        bundle.classifier.set_weights(weights)
    report = export_run(
        bundle,
        formats=["float32", "int8"],
        output_dir=tmp_path / "out",
        calibration=tones(4, 1)[0],
        test_waveforms=cnn.waveforms,
        classifiers={"int8": made, "float32": wrong},
    )
    assert list(report.paths) == ["int8"]
    assert [failed.name for failed in report.failed] == ["float32"]


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


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [RuntimeError("node 3\nfailed to invoke."), ValueError("node 3\ntensor 7")])
def test_what_an_interpreter_raises_ends_one_format_and_no_export(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = TfliteConverter.convert

    def fails_once(self: TfliteConverter, variant: str) -> Conversion:
        if variant == "float16":
            raise error
        return convert(self, variant)

    monkeypatch.setattr(TfliteConverter, "convert", fails_once)
    monkeypatch.setattr(candidates, "memory_of", lambda _: _raise(error))
    monkeypatch.setattr(candidates, "layer_errors", lambda *_: _raise(error))
    monkeypatch.setattr(parity, "_problems", lambda name, *_: ["it differs."] if name == "dynamic_range" else [])
    report = export_run(
        untrained("dense"),
        formats=["float32", "float16", "dynamic_range"],
        output_dir=tmp_path / "out",
        calibration=tones(2, 1)[0],
    )
    exact, not_made, differs = report.formats
    assert list(report.paths) == ["float32"]
    assert exact.notes == ("Time and memory of float32 cannot be measured (node 3); they are not told",)
    assert not_made.problems == ("float16 cannot be made (node 3); export another format.",)
    assert not not_made.withheld_by_gate
    assert (differs.problems, differs.layers, differs.withheld_by_gate) == (("it differs.",), (), True)
    assert "The layers of dynamic_range cannot be compared (node 3); compare the scores alone" in differs.notes


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
    with pytest.raises(TfaudioError, match="--max_accuracy_drop"):
        GateConfig(max_accuracy_drop=1.5)
