from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.export.small_runs import LABELS, SAMPLE_RATE, Exported, tones, train
from tfaudio.config import ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.export import saved_model
from tfaudio.export.artifact import export_run
from tfaudio.runtime.audio import read_windows

# Everything that a server does, by a process that knows TensorFlow alone.
SERVER = """
import json, sys
import numpy as np
import tensorflow as tf
folder, work = sys.argv[1:]
loaded = tf.saved_model.load(folder)
signatures = loaded.signatures
waveforms = np.load(work + "/waveforms.npy")
wavs = [open(f"{work}/{i}.wav", "rb").read() for i in range(7)]
results = {
    "names": sorted(signatures),
    "default": signatures["serving_default"](waveform=tf.constant(waveforms))["scores"].numpy().tolist(),
    "waveform": signatures["waveform"](waveform=tf.constant(waveforms))["scores"].numpy().tolist(),
    "one": signatures["waveform"](waveform=tf.constant(waveforms[:1]))["scores"].numpy().tolist(),
    "long": signatures["waveform"](waveform=tf.constant(waveforms.reshape(2, -1)))["scores"].numpy().tolist(),
    "short": signatures["waveform"](waveform=tf.constant(waveforms[:, :5000]))["scores"].numpy().tolist(),
    "none": list(signatures["waveform"](waveform=tf.zeros([0, 16000]))["scores"].shape),
    "wav": signatures["wav"](wav=tf.constant(wavs))["scores"].numpy().tolist(),
    "labels": [l.decode() for l in signatures["wav"](wav=tf.constant(wavs))["labels"].numpy()[3]],
    "asset": open(folder + "/assets/labels.txt", encoding="utf-8").read(),
}
for name in ("a_law", "empty", "cut", "flac"):
    try:
        signatures["wav"](wav=tf.constant([open(f"{work}/{name}.wav", "rb").read()]))
    except tf.errors.InvalidArgumentError as error:
        results[name] = str(error)
assert not [m for m in sys.modules if m.split(".")[0] in ("tfaudio", "tensorflow_io")]
json.dump(results, open(work + "/results.json", "w"))
"""


def by_windows(run: Exported, file: Path, clip: ClipConfig) -> np.ndarray:
    """The device's way: windows by NumPy and libsndfile, scored by Keras, averaged."""
    windows = [window for _, window in read_windows(file, sample_rate=SAMPLE_RATE, clip=clip)]
    scores: np.ndarray = run.bundle.end_to_end(SAMPLE_RATE).predict(np.stack(windows), verbose=0)
    return scores.mean(axis=0)


def test_a_process_with_tensorflow_alone_can_serve_it(run: Exported, tmp_path: Path) -> None:
    waveforms = run.waveforms[:6]
    np.save(tmp_path / "waveforms.npy", waveforms)
    recordings = [  # one window, shorter, longer at another rate in stereo, longer with a dropped rest
        (waveforms[0], 16_000),
        (waveforms[1][:4000], 16_000),
        (np.repeat(np.concatenate(list(waveforms[2:5]))[:, None], 2, axis=1) * [1.0, 0.5], 44_100),
        (np.concatenate([waveforms[4], waveforms[5], waveforms[5][:7000]]), 16_000),
    ]
    for index, (waveform, rate) in enumerate(recordings):
        soundfile.write(tmp_path / f"{index}.wav", waveform, rate, "PCM_16")
    for index, coding in enumerate(("PCM_U8", "PCM_24", "FLOAT"), start=4):
        soundfile.write(tmp_path / f"{index}.wav", waveforms[0], 16_000, coding)
    soundfile.write(tmp_path / "a_law.wav", waveforms[0], 16_000, "ALAW")
    soundfile.write(tmp_path / "empty.wav", waveforms[0][:0], 16_000)
    soundfile.write(tmp_path / "flac.wav", waveforms[0], 16_000, format="FLAC")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "0.wav").read_bytes()[:-5000])
    folder = run.report.paths["saved_model"]
    command = [sys.executable, "-c", SERVER, str(folder), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())

    assert results["names"] == ["serving_default", "wav", "waveform"]
    expected = run.keras_scores[:6]
    np.testing.assert_allclose(results["default"], expected, atol=1e-4)
    np.testing.assert_allclose(results["waveform"], expected, atol=1e-4)
    np.testing.assert_allclose(results["one"], expected[:1], atol=1e-4)
    np.testing.assert_allclose(results["long"], expected.reshape(2, 3, -1).mean(axis=1), atol=1e-4)
    assert results["none"] == [0, len(LABELS)]
    padded = np.pad(waveforms[:, :5000], ((0, 0), (0, 11_000)))
    short = run.bundle.end_to_end(SAMPLE_RATE).predict(padded, verbose=0)
    np.testing.assert_allclose(results["short"], short, atol=1e-4)
    clip = run.bundle.config.clip
    for index, scores in enumerate(results["wav"]):
        by_device = by_windows(run, tmp_path / f"{index}.wav", clip)
        np.testing.assert_allclose(scores, by_device, atol=1e-3, err_msg=f"recording {index}")
    assert results["labels"] == list(LABELS.names)
    assert results["asset"] == LABELS.to_text()
    assert "convert it to 16-bit PCM" in results["a_law"]
    assert "holds no samples" in results["empty"]
    assert "is truncated: its header promises 16000 samples, 13500 are there" in results["cut"]
    assert "What was sent is no WAV" in results["flac"]


def test_core_operators_only(run: Exported) -> None:
    found = saved_model.operators(run.report.paths["saved_model"])
    assert {"RFFT", "DecodeRaw"} <= found
    assert not [name for name in found if ">" in name or name in ("PyFunc", "EagerPyFunc", "NumpyFunction")]


def test_many_windows_are_scored_in_chunks(cnn: Exported) -> None:
    waveforms, _ = tones(70, seed=3)
    score = saved_model.load_score(cnn.report.paths["saved_model"])
    expected = cnn.bundle.end_to_end(SAMPLE_RATE).predict(waveforms, verbose=0).mean(axis=0)
    np.testing.assert_allclose(score(waveforms.reshape(1, -1))[0], expected, atol=1e-5)


def test_what_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TfaudioError, match="cannot be loaded"):
        saved_model.load_score(tmp_path)


@pytest.mark.parametrize("damage", ["data cut", "data empty", "data flipped", "index cut", "index empty", "graph cut"])
def test_a_damaged_saved_model_is_told(cnn: Exported, damage: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cnn.report.paths["saved_model"], copy)
    part, change = damage.split()
    names = {"data": "variables/variables.data-*", "index": "variables/variables.index", "graph": "saved_model.pb"}
    (file,) = copy.glob(names[part])
    content = file.read_bytes()
    flipped = bytes(byte ^ 0xFF for byte in content)
    file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "flipped": flipped}[change])
    with pytest.raises(TfaudioError, match=r"copy cannot be loaded as a SavedModel .*export it again"):
        saved_model.load_score(copy)


def test_a_run_that_takes_recordings_whole(tmp_path: Path) -> None:
    bundle = train("cnn", clip=ClipConfig(seconds=None))
    whole = [tones(1, seed, seconds)[0][0] for seed, seconds in ((1, 0.7), (2, 1.9))]
    with pytest.raises(TfaudioError, match="clip_seconds"):
        export_run(bundle, formats=["int8"], output_dir=tmp_path / "a", calibration=whole[0][None])
    assert not (tmp_path / "a").exists()
    report = export_run(
        bundle, formats=["saved_model"], output_dir=tmp_path / "b", calibration=whole[0][None], test_waveforms=whole
    )
    assert not report.failed
    assert report.clips == 2
    score = saved_model.load_score(report.paths["saved_model"])
    model = bundle.end_to_end()
    for waveform in whole:
        np.testing.assert_allclose(score(waveform[None]), model.predict(waveform[None], verbose=0), atol=1e-4)
    windows = tones(12, 4)[0]
    report = export_run(bundle, formats=["float32"], output_dir=tmp_path / "c", calibration=windows, clip_seconds=1.0)
    assert not report.failed
    assert report.details["num_samples"] == SAMPLE_RATE
