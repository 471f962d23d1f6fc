"""MediaPipe's AudioClassifier against tfaudio.runtime, on the same recordings.

MediaPipe and tensorflow-model-optimization do not install together, so it runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.export.small_runs import SAMPLE_RATE, Exported, exported, tones
from tfaudio.runtime import Classifier

# Other builds of the same kernels: of float32 the last digits, of int8 now and then one step of its scale.
TOLERANCE = {"float32": 1e-5, "int8": 2e-2}


@pytest.fixture(scope="module")
def mediapipe_python(repository: Path) -> str:
    python = os.environ.get("TFAUDIO_MEDIAPIPE_PYTHON", str(repository / ".venv-mediapipe" / "bin" / "python"))
    if not Path(python).is_file():
        pytest.skip("no environment with MediaPipe here: `make test-mediapipe` makes one")
    return python


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("cnn", tmp_path_factory.mktemp("cnn"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five tones of 1 s, the last cut short: the rest is longer than half a window, which tfaudio would drop."""
    path = tmp_path_factory.mktemp("sounds") / "tönes.wav"
    soundfile.write(path, np.concatenate(tones(5, seed=4)[0])[: int(4.7 * SAMPLE_RATE)], SAMPLE_RATE)
    return str(path)


def run(python: str, repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, str(repository / "export" / "mediapipe" / "classify.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("variant", TOLERANCE)
@pytest.mark.parametrize("mode", [[], ["--stream"], ["--stream", "--block_seconds=1.7"]], ids=" ".join)
def test_mediapipe_says_what_the_runtime_says(
    mediapipe_python: str, repository: Path, cnn: Exported, recording: str, variant: str, mode: list[str]
) -> None:
    model = str(cnn.report.paths[variant])
    done = run(mediapipe_python, repository, model, recording, "--all_scores", *mode)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = Classifier(model).classify(recording, per_window=True)
    assert [row["start"] for row in rows] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [row["label"] for row in rows] == [prediction.label for prediction in expected]
    for row, prediction in zip(rows, expected, strict=True):
        scores = [row["scores"][label] for label in prediction.labels]
        np.testing.assert_allclose(scores, prediction.scores, atol=TOLERANCE[variant])


def test_mediapipe_resamples_by_itself(mediapipe_python: str, repository: Path, cnn: Exported, tmp_path: Path) -> None:
    waveforms, targets = tones(1, seed=5, seconds=2.0)  # 1 s at twice the rate: an octave higher
    path = tmp_path / "fast.wav"
    soundfile.write(path, waveforms[0], 2 * SAMPLE_RATE)
    done = run(mediapipe_python, repository, str(cnn.report.paths["float32"]), str(path))
    labels = list(cnn.bundle.labels)
    # Resampling leaves a few samples more than a window, which MediaPipe scores too.
    assert json.loads(done.stdout.splitlines()[0])["label"] == labels[int(targets[0]) + 1]


def test_what_cannot_be_used_is_named(
    mediapipe_python: str, repository: Path, cnn: Exported, recording: str, tmp_path: Path
) -> None:
    model = cnn.report.paths["float32"]
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    done = run(mediapipe_python, repository, str(model), str(text), recording)
    assert done.returncode == 1
    assert "text.wav: " in done.stderr
    assert len(done.stdout.splitlines()) == 5  # the recording beside it is classified all the same


@pytest.mark.parametrize("mode", [[], ["--stream"]], ids=" ".join)
def test_a_model_that_cannot_be_used_is_named_once_and_no_recording(
    mediapipe_python: str, repository: Path, cnn: Exported, recording: str, tmp_path: Path, mode: list[str]
) -> None:
    whole = cnn.report.paths["float32"].read_bytes()
    for name, kept in (("cut.tflite", 1000), ("no_labels.tflite", -3000)):  # the settings and labels are at the end
        model = tmp_path / name
        model.write_bytes(whole[:kept])
        done = run(mediapipe_python, repository, str(model), recording, recording, *mode)
        assert (done.returncode, done.stdout) == (1, "")
        told = [line for line in done.stderr.splitlines() if name in line]
        assert len(told) == 1
        assert told[0].startswith(f"{model} cannot be used (")
        assert told[0].endswith("export it again with `tfaudio export`.")
        assert "tönes.wav" not in done.stderr


def test_recordings_do_not_depend_on_those_before(
    mediapipe_python: str, repository: Path, cnn: Exported, recording: str, tmp_path: Path
) -> None:
    fast = tmp_path / "fast.wav"
    soundfile.write(fast, tones(1, seed=5, seconds=2.0)[0][0], 2 * SAMPLE_RATE)
    model = str(cnn.report.paths["float32"])
    alone = [run(mediapipe_python, repository, model, path).stdout for path in (recording, str(fast), recording)]
    assert all(alone)
    assert run(mediapipe_python, repository, model, recording, str(fast), recording).stdout == "".join(alone)
