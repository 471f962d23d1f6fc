"""Golden vectors beside an export, replayed by the device's self-test."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path

import librosa
import numpy as np
import pytest
import tensorflow as tf

from tests.export.small_runs import FRONT_END, LABELS, LEAF, Exported, tones, train
from tfaudio import golden
from tfaudio.errors import TfaudioError
from tfaudio.export.artifact import export_run
from tfaudio.export.flatbuffer import operators, parse, serialize
from tfaudio.export.report import TFLITE_VARIANTS
from tfaudio.golden import Golden
from tfaudio.runtime.__main__ import main
from tfaudio.runtime.self_test import front_end_features, run_self_test


def _folder(run: Exported) -> Path:
    return run.report.output_dir


@pytest.mark.parametrize("variant", TFLITE_VARIANTS)
def test_every_file_passes_its_self_test(run: Exported, variant: str) -> None:
    found = run_self_test(run.report.paths[variant])
    assert found.ok, found
    assert found.vectors == 3
    assert found.score_difference == 0.0  # the same file on the same machine


def test_the_features_are_those_of_librosa(cnn: Exported) -> None:
    vectors = Golden.read(_folder(cnn) / golden.FILE)
    normalization = cnn.bundle.normalization
    for waveform, features in zip(vectors.waveforms, vectors.features, strict=True):
        power = librosa.feature.melspectrogram(
            y=waveform / 32768.0,
            sr=FRONT_END.sample_rate,
            n_fft=512,
            hop_length=256,
            n_mels=40,
            pad_mode="constant",
        )
        expected = (np.log(power.T + FRONT_END.log_offset) - normalization.mean) / normalization.stddev
        np.testing.assert_allclose(features, expected, atol=1e-3)


def test_the_waveforms_reach_every_band() -> None:
    sweep, noise, silence = golden.to_float(golden.waveforms(16_000, 16_000))
    assert not silence.any()
    assert np.abs(sweep).max() == pytest.approx(0.5, abs=1e-3)
    for waveform in (sweep, noise):
        bands = librosa.feature.melspectrogram(y=waveform, sr=16_000, n_fft=1024, hop_length=256, n_mels=64)
        loudest = bands.max(axis=1)
        assert loudest.min() > 1e-5 * loudest.max()


def test_another_front_end_does_not_pass(cnn: Exported, tmp_path: Path) -> None:
    # A port that swaps two mel bands, say: the file stays sound, its features do not.
    model = parse(cnn.content("float32"))
    body = [b for b in model.buffers if b.data is not None and len(b.data) == 40 * 257 * 4]
    assert body
    for buffer in body:
        matrix = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), np.float32).reshape(40, 257)[::-1]
        buffer.data = np.frombuffer(np.ascontiguousarray(matrix).tobytes(), np.uint8)
    features = front_end_features(serialize(model), Golden.read(_folder(cnn) / golden.FILE).inputs)
    vectors = Golden.read(_folder(cnn) / golden.FILE)
    assert np.abs(features - vectors.features).max() > 0.5
    # The same, as the self-test sees it: features that are not those of the file.
    shutil.copy(cnn.report.paths["float32"], tmp_path / "model_float32.tflite")
    wrong = Golden(vectors.waveforms, features, vectors.scores, vectors.sha256)
    (tmp_path / golden.FILE).write_bytes(wrong.to_bytes())
    found = run_self_test(tmp_path / "model_float32.tflite")
    assert not found.ok
    assert found.feature_difference > 0.5


def test_the_command_replays_and_says_so(cnn: Exported, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(cnn.report.paths["int8"]), "--self_test"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    shutil.copy(cnn.report.paths["int8"], tmp_path / "model.tflite")
    vectors = Golden.read(_folder(cnn) / golden.FILE)
    scores = {name: values[:, ::-1] for name, values in vectors.scores.items()}
    (tmp_path / golden.FILE).write_bytes(Golden(vectors.waveforms, vectors.features, scores, vectors.sha256).to_bytes())
    assert main([str(tmp_path / "model.tflite"), "--self_test"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    with pytest.raises(SystemExit):
        main([str(tmp_path / "model.tflite")])
    assert "name recordings to classify, or --self_test" in capsys.readouterr().err


def test_vectors_that_do_not_serve_are_told(cnn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model.tflite"
    shutil.copy(cnn.report.paths["float32"], model)
    with pytest.raises(TfaudioError, match="There are no golden vectors"):
        run_self_test(model)
    content = (_folder(cnn) / golden.FILE).read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2], b"not a zip" * 99):
        (tmp_path / golden.FILE).write_bytes(damaged)
        with pytest.raises(TfaudioError, match="are damaged"):
            run_self_test(model)
    for place in range(40, len(content), 997):  # a bit that the copy lost, wherever it was
        (tmp_path / golden.FILE).write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with contextlib.suppress(TfaudioError):
            Golden.read(tmp_path / golden.FILE)
    vectors = Golden.read(_folder(cnn) / golden.FILE)
    (tmp_path / golden.FILE).write_bytes(Golden(vectors.waveforms, vectors.features, {}, {}).to_bytes())
    with pytest.raises(TfaudioError, match="are not of"):
        run_self_test(model)
    monkeypatch.setattr(golden, "_FORMAT", 99)
    (tmp_path / golden.FILE).write_bytes(vectors.to_bytes())
    monkeypatch.undo()
    with pytest.raises(TfaudioError, match="later version of tfaudio; upgrade"):
        run_self_test(model)


def test_a_saved_model_alone_has_vectors_too(cnn: Exported, tmp_path: Path) -> None:
    out = tmp_path / "out"
    calibration = tones(8, seed=1)[0]
    report = export_run(cnn.bundle, formats=("saved_model",), output_dir=out, calibration=calibration)
    assert not report.failed
    vectors = Golden.read(out / golden.FILE)
    served = tf.saved_model.load(out / "saved_model" / "1").signatures["serving_default"]
    (waveform_name,) = served.structured_input_signature[1]
    given = served(**{waveform_name: tf.constant(vectors.inputs)})
    scores = vectors.scores["saved_model/1"]
    assert any(np.allclose(value, scores, atol=1e-6) for value in given.values() if value.shape == scores.shape)
    graph = (out / "saved_model" / "1" / "saved_model.pb").read_bytes()
    assert vectors.sha256["saved_model/1"] == hashlib.sha256(graph).hexdigest()


def test_the_same_export_gives_the_same_vectors(cnn: Exported) -> None:
    vectors = Golden.read(_folder(cnn) / golden.FILE)
    assert vectors.to_bytes() == (_folder(cnn) / golden.FILE).read_bytes()


def test_a_learnt_front_end_exports_by_the_same_path(tmp_path: Path) -> None:
    bundle = train("cnn", front_end=LEAF, epochs=3)
    waveforms, targets = tones(60, seed=2)
    report = export_run(
        bundle,
        formats=("saved_model", "float32", "int8"),
        output_dir=tmp_path / "out",
        calibration=tones(60, seed=1)[0],
        test_waveforms=waveforms,
        test_targets=targets,
    )
    assert set(report.paths) == {"saved_model", "float32", "int8"}, report
    assert report.keras_accuracy is not None
    assert report.keras_accuracy > 2 / len(LABELS)
    for variant in ("float32", "int8"):
        content = report.paths[variant].read_bytes()
        assert not [name for name in operators(content) if "CUSTOM" in name or "FLEX" in name]
        assert run_self_test(report.paths[variant]).ok
    # The filters lie in front of the features, in float, and the classifier behind them.
    assert Golden.read(tmp_path / "out" / golden.FILE).features.shape == (3, 63, 16)
