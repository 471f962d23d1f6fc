"""Streams: blocks of any kind give what the whole waveform gives, and nothing that comes ends the loop."""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.export.small_runs import LABELS, SAMPLE_RATE, tones
from tests.export.test_streaming import causal_run, keras_scores
from tests.runtime.test_classifier import rezip
from tfaudio.errors import TfaudioError
from tfaudio.export.artifact import export_run
from tfaudio.export.report import GateConfig
from tfaudio.labels import LabelMap
from tfaudio.runtime import Classifier, DetectorConfig, Stream, open_scorer
from tfaudio.runtime.audio import resample
from tfaudio.runtime.listen import add_options, detector_of, pcm_blocks
from tfaudio.runtime.scorers import SlidingWindow, StepModel


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export: a step model and a model of clips."""
    folder = tmp_path_factory.mktemp("stream") / "out"
    report = export_run(
        causal_run("ds_cnn"),
        formats=("float32", "streaming", "streaming_int8"),
        output_dir=folder,
        calibration=tones(24, seed=1)[0],
        gate=GateConfig(min_agreement=0.0),
    )
    assert not report.failed
    return folder


@pytest.fixture(scope="module")
def step_model(exported: Path) -> StepModel:
    return StepModel(exported / "model_streaming.tflite")


def run(scorer: Any, blocks: list[np.ndarray], *, sample_rate: int = SAMPLE_RATE) -> tuple[list[float], np.ndarray]:
    """Times and scores of a stream."""
    times: list[float] = []
    scores: list[np.ndarray] = []

    def keep(time: float, row: np.ndarray) -> None:
        times.append(time)
        scores.append(row)

    stream = Stream(scorer, sample_rate=sample_rate, on_scores=keep)
    for block in blocks:
        stream.process(block)
    stream.finish()
    return times, np.stack(scores)


def test_a_stream_has_the_scores_of_the_clip(step_model: StepModel) -> None:
    waveforms, _ = tones(4, seed=7)
    expected = keras_scores(causal_run("ds_cnn"), waveforms)
    for waveform, row in zip(waveforms, expected, strict=True):
        times, scores = run(step_model, [waveform])
        assert times[-1] == pytest.approx(1.0)  # corrected for the delay
        np.testing.assert_allclose(scores[-1], row, atol=1e-4)


def test_blocks_of_any_size_and_kind_give_the_same(step_model: StepModel) -> None:
    waveform = tones(1, seed=8, seconds=2.0)[0][0]
    integers = np.round(waveform * 32767).astype(np.int16)
    times, expected = run(step_model, [integers])
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.integers(0, len(waveform), 40))
    for blocks in (
        np.split(integers, cuts),
        np.split(integers.astype(np.float64) / 32768, cuts),
        np.split(np.stack([integers, integers], axis=1), cuts),
        [np.zeros([0], np.int16), integers, np.zeros([0, 2], np.float32)],
    ):
        again, scores = run(step_model, blocks)
        assert again == times
        np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 44_101])
def test_other_rates_are_resampled(step_model: StepModel, rate: int) -> None:
    waveform = resample(tones(1, seed=9, seconds=2.0)[0][0], SAMPLE_RATE, rate)
    _, expected = run(step_model, [resample(waveform, rate, SAMPLE_RATE)])
    _, scores = run(step_model, np.array_split(waveform, 33), sample_rate=rate)
    np.testing.assert_allclose(scores, expected, atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e4, -3e38])
def test_values_that_are_no_audio_count_as_silence(step_model: StepModel, bad: float) -> None:
    waveform = tones(1, seed=10, seconds=2.0)[0][0]
    hop = step_model.hop_samples
    hurt, silenced = waveform.copy(), waveform.copy()
    hurt[10 * hop + 5] = bad
    silenced[10 * hop : 11 * hop] = 0.0
    _, expected = run(step_model, [silenced])
    _, scores = run(step_model, [hurt])
    np.testing.assert_array_equal(scores, expected)
    stream = Stream(step_model)
    stream.process(np.stack([hurt, waveform], axis=1))
    assert stream.status.silenced_seconds == pytest.approx(hop / SAMPLE_RATE)


def test_the_loudest_that_is_audio_ends_no_stream(exported: Path) -> None:
    scorer = SlidingWindow(Classifier(exported / "model_float32.tflite"), hop_seconds=0.5)
    stream = Stream(scorer, sample_rate=44_100)  # resampled, a step overshoots
    stream.process(np.repeat(np.float32([64.0, -64.0] * 20), 2205))
    stream.finish()
    assert stream.status.silenced_seconds == 0
    assert stream.status.hops == 4


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_nothing_is_heard_beyond_the_end(exported: Path, rate: int) -> None:
    """What is left of a hop is scored with silence behind it, whose length is not the stream's."""
    scorer = SlidingWindow(Classifier(exported / "model_float32.tflite"), hop_seconds=0.5)
    anything = DetectorConfig(threshold=0.0, smoothing_seconds=0.0)
    stream = Stream(scorer, sample_rate=rate, detector=anything)
    stream.process(np.zeros(round(1.1 * rate), np.float32))
    found = stream.finish()
    assert len(found) == len(LABELS)
    assert {round(detection.end or 0.0, 4) for detection in found} == {1.1}
    assert all(detection.start <= detection.peak <= 1.1001 for detection in found)


def test_what_is_no_audio_is_refused(step_model: StepModel) -> None:
    stream = Stream(step_model)
    for block, message in (
        (np.zeros(4, np.int32), "int32"),
        (np.zeros([2, 2, 2], np.float32), r"\(2, 2, 2\)"),
        (np.zeros([4, 0], np.float32), r"\(4, 0\)"),
    ):
        with pytest.raises(TfaudioError, match=f"A block of audio .*{message}"):
            stream.process(block)
    for rate in (0, 1_000_000_007):
        with pytest.raises(TfaudioError, match=f"Audio of {rate} Hz is no stream of sound; give its rate, 1000 to"):
            Stream(step_model, sample_rate=rate)
    with pytest.raises(TfaudioError, match="'robin' is not one of the classes"):
        Stream(step_model, detector=DetectorConfig(ignore=("robin",)))


def test_what_a_model_calls_unknown_is_no_detection(step_model: StepModel) -> None:
    labels = step_model.metadata.labels
    known = replace(step_model.metadata, thresholds={labels.names[0]: 0.3, labels.names[1]: 0.9}, unknown_below=0.7)
    found = DetectorConfig.of_model(known).thresholds
    assert found == {**dict.fromkeys(labels, 0.7), labels.names[1]: 0.9}
    assert DetectorConfig.of_model(replace(known, unknown_below=0.4)).thresholds[labels.names[2]] == 0.5


def test_labels_with_an_underscore_are_ignored_beside_those_that_are_named(step_model: StepModel) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    metadata = replace(step_model.metadata, labels=LabelMap(("_noise_", "dog", "rain")), thresholds={})
    assert detector_of(parser.parse_args(["model.tflite", "--ignore=dog"]), metadata).ignore == ("dog", "_noise_")
    assert detector_of(parser.parse_args(["model.tflite"]), metadata).ignore == ("_noise_",)


# In a process of its own: what earlier tests of this one left running takes and gives back memory at any time.
A_QUARTER_OF_AN_HOUR = """
import sys
from pathlib import Path
import numpy as np
from tfaudio.runtime import Stream
from tfaudio.runtime.scorers import StepModel

def resident_bytes():
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []  # 0 where the system does not tell
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

step_model = StepModel(sys.argv[1])
stream = Stream(step_model)
minute = np.zeros(60 * stream.sample_rate, np.int16)
for _ in range(2):  # the second has what the allocator keeps of the first
    stream.process(minute)
state, before = step_model._last.copy(), resident_bytes()
for _ in range(13):
    stream.process(minute)
grown = resident_bytes() - before
assert grown < 2 * 2**20, grown  # less than 50 bytes a hop
np.testing.assert_array_equal(step_model._last, state)
assert np.isfinite(state).all()
assert stream.status.hops == 45_000 and stream.status.undefined_scores == 0, stream.status
assert len(stream._held) < step_model.hop_samples
"""


@pytest.mark.parametrize("name", ["model_streaming.tflite", "model_streaming_int8.tflite"])
def test_silence_without_end(exported: Path, name: str) -> None:
    """A quarter of an hour: every hop after a full window computes the same from the same state, in the same memory."""
    command = [sys.executable, "-c", A_QUARTER_OF_AN_HOUR, str(exported / name)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_scores_that_are_no_numbers_begin_the_model_anew(exported: Path) -> None:
    scorer = StepModel(exported / "model_streaming.tflite")
    stream = Stream(scorer)
    stream.process(np.zeros(3200, np.float32))
    scorer._last[:] = np.nan
    stream.process(np.zeros(3200, np.float32))
    assert stream.status.undefined_scores == 1
    assert np.isfinite(scorer._last).all()


def test_a_model_of_clips_is_asked_for_the_newest_window(exported: Path) -> None:
    classifier = Classifier(exported / "model_float32.tflite")
    waveform = tones(1, seed=11, seconds=2.3)[0][0]
    times, scores = run(SlidingWindow(classifier, hop_seconds=0.5), np.array_split(waveform, 7))
    np.testing.assert_allclose(times, [0.5, 1.0, 1.5, 2.0, 2.5])
    expected = classifier.scores(waveform[SAMPLE_RATE // 2 : 3 * SAMPLE_RATE // 2])
    np.testing.assert_allclose(scores[2], expected, atol=1e-6)
    early = np.concatenate([np.zeros(SAMPLE_RATE // 2, np.float32), waveform[: SAMPLE_RATE // 2]])
    np.testing.assert_allclose(scores[0], classifier.scores(early), atol=1e-6)
    for hop in (0.0, 1.5, -1.0, float("nan"), float("inf")):
        with pytest.raises(TfaudioError, match="at most 1 s"):
            SlidingWindow(classifier, hop_seconds=hop)


def test_the_file_says_how_it_is_run(exported: Path) -> None:
    assert isinstance(open_scorer(exported / "model_streaming_int8.tflite"), StepModel)
    assert isinstance(open_scorer(exported / "model_float32.tflite"), SlidingWindow)
    with pytest.raises(TfaudioError, match=r"hop is 0\.02 s; leave --hop_seconds out"):
        open_scorer(exported / "model_streaming.tflite", hop_seconds=0.1)
    with pytest.raises(TfaudioError, match="takes clips, not a stream"):
        StepModel(exported / "model_float32.tflite")


def test_a_step_model_that_cannot_be_used_is_refused_by_name(exported: Path, tmp_path: Path) -> None:
    content = (exported / "model_streaming.tflite").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        settings = json.loads(archive.read("tfaudio.json"))
    other_state = {**settings["streaming"], "state_size": settings["streaming"]["state_size"] + 1}
    other = rezip(content, tfaudio_json=json.dumps({**settings, "streaming": other_state}).encode())
    for kind, changed, message in (
        ("state", other, r"takes float32 \[1, \d+\] and float32 \[1, \d+\], but its metadata says float32"),
        ("half", content[: len(content) // 2], "cut short"),
        ("foreign", 50 * b"RIFF", "not a TFLite file"),
        ("unsettled", rezip(content, tfaudio_json=b""), "no tfaudio metadata"),
    ):
        file = tmp_path / f"{kind}.tflite"
        file.write_bytes(changed)
        with pytest.raises(TfaudioError, match=message) as error:
            open_scorer(file)
        assert str(file) in str(error.value), kind


def test_raw_samples_may_be_cut_anywhere() -> None:
    samples = np.arange(-600, 600, dtype="<i2").reshape(-1, 2)

    class Slow(io.BytesIO):
        def read1(self, size: int = -1) -> bytes:
            return super().read(7)

    blocks = list(pcm_blocks(Slow(samples.tobytes() + b"x"), 2))
    np.testing.assert_array_equal(np.concatenate(blocks), samples)
    with pytest.raises(TfaudioError, match="begins like a recording"):
        list(pcm_blocks(io.BytesIO(b"RIFF...."), 1))


def command(repository: Path, *arguments: str, data: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
    program = [sys.executable, "-m", "tfaudio.runtime.listen", *arguments]
    done = subprocess.run(program, cwd=repository, input=data, capture_output=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_the_command_takes_raw_samples_and_recordings(exported: Path, repository: Path, tmp_path: Path) -> None:
    model = str(exported / "model_streaming.tflite")
    waveform = tones(1, seed=12, seconds=4.0)[0][0]
    pcm = np.round(waveform * 32767).astype("<i2")
    code, events, errors = command(
        repository, model, "-", "--threshold=0.02", "--status_seconds=1", "--ignore=bass", data=pcm.tobytes()
    )
    assert code == 0, errors
    kinds = [event["event"] for event in events]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert kinds.count("status") == 4
    assert events[-1]["seconds"] == 4.0
    heard = [event for event in events if event["event"] == "detection"]
    assert heard
    assert {event["label"] for event in heard} <= set(LABELS) - {"bass"}
    assert len(heard) == events[-1]["detections"]

    # A recording with NaN in it, at another rate, of two channels.
    samples = np.stack([waveform] * 2, axis=1)
    samples[1000:1100] = np.nan
    soundfile.write(tmp_path / "hurt.wav", samples, 44_100, "FLOAT")
    missing = str(tmp_path / "missing.wav")
    code, events, errors = command(repository, model, str(tmp_path / "hurt.wav"), missing)
    assert code == 1
    assert "missing.wav" in errors
    assert events[-1]["silenced_seconds"] > 0
    assert events[-1]["undefined_scores"] == 0


@pytest.mark.parametrize(
    ("arguments", "on"),
    [
        ([], {"low": 0.3, "high": 0.6, "noise": 0.5}),
        (["--threshold=0.8"], {"low": 0.8, "high": 0.8, "noise": 0.8}),
        (["--threshold_of=low=0.9"], {"low": 0.9, "high": 0.6, "noise": 0.5}),
    ],
)
def test_thresholds_are_the_models_unless_the_options_say_otherwise(
    step_model: StepModel, arguments: list[str], on: dict[str, float]
) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    labels = LabelMap(("low", "high", "noise"))
    metadata = replace(step_model.metadata, labels=labels, thresholds={"low": 0.3, "high": 0.6})
    found = detector_of(parser.parse_args(["model.tflite", *arguments]), metadata)
    assert {label: found.thresholds.get(label, found.threshold) for label in labels} == on


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold_of=bass"], "takes LABEL=SCORE"),
        (["--threshold_of=drum=0.5"], "'drum' is not one of the classes"),
        (["--threshold=7"], r"detector\.threshold must be 0 to 1"),
        (["--hop_seconds=1"], "leave --hop_seconds out"),
    ],
)
def test_options_that_do_not_fit_are_told_at_once(
    exported: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    from tfaudio.runtime.listen import main

    assert main([str(exported / "model_streaming.tflite"), "missing.wav", *arguments]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "missing.wav" not in error
