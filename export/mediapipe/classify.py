"""Classifies recordings by MediaPipe Tasks, with a `.tflite` file of tfaudio and nothing else of it.

    pip install mediapipe soundfile
    python classify.py model_int8.tflite dog.wav            # clip mode: whole recordings
    python classify.py model_int8.tflite dog.wav --stream   # stream mode: block by block, as from a microphone

Prints one JSON object a window: path, start in seconds, label, score. Rate, window and labels are in the model file;
MediaPipe resamples, cuts into windows and pads the last one with silence by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from mediapipe.tasks.python.audio import AudioClassifier, AudioClassifierOptions, AudioClassifierResult, RunningMode
from mediapipe.tasks.python.components.containers.audio_data import AudioData
from mediapipe.tasks.python.core.base_options import BaseOptions

Waveform = npt.NDArray[np.float32]

FAILURES = (OSError, ValueError, RuntimeError)  # soundfile's and MediaPipe's own are among these


@dataclass(frozen=True)
class Window:
    """What MediaPipe says of one window.

    Args:
      start: seconds from the beginning of the recording.
      labels: best first.
      scores: of the labels.
    """

    start: float
    labels: list[str]
    scores: list[float]

    @classmethod
    def of(cls, result: AudioClassifierResult, start: float) -> Window:
        categories = result.classifications[0].categories
        return cls(start, [c.category_name or str(c.index) for c in categories], [c.score for c in categories])


def open_classifier(model: str) -> AudioClassifier:
    """Opens a `.tflite` file for any number of recordings; to be closed, or used by `with`."""
    return AudioClassifier.create_from_options(AudioClassifierOptions(base_options=BaseOptions(model_asset_path=model)))


def classify_clip(classifier: AudioClassifier, waveform: Waveform, sample_rate: int) -> list[Window]:
    """Classifies a recording at once.

    Args:
      classifier: from `open_classifier`.
      waveform: float32 [samples], mono, in [-1, 1].
      sample_rate: Hz.

    Returns:
      One result a window, one window after the other, the last one padded with silence.
    """
    results = classifier.classify(AudioData.create_from_array(waveform, sample_rate))
    return [Window.of(result, (result.timestamp_ms or 0) / 1000) for result in results]


def classify_stream(model: str, blocks: Iterator[Waveform], sample_rate: int) -> list[Window]:
    """Classifies sound that comes in blocks.

    Args:
      model: path of the `.tflite` file; opened for this stream alone, since closing it gives the last window.
      blocks: each float32 [samples], mono, in [-1, 1].
      sample_rate: Hz.

    Returns:
      One result a window, as `classify_clip`; a program that listens would act in the callback instead.
    """
    windows: list[Window] = []
    seconds = window_seconds(model)

    def on_result(result: AudioClassifierResult, timestamp_ms: int) -> None:
        # Counted, since what is left at the end comes with a timestamp of "after the stream".
        windows.append(Window.of(result, len(windows) * seconds))

    options = AudioClassifierOptions(
        base_options=BaseOptions(model_asset_path=model),
        running_mode=RunningMode.AUDIO_STREAM,
        result_callback=on_result,
    )
    with AudioClassifier.create_from_options(options) as classifier:
        heard = 0
        for block in blocks:
            classifier.classify_async(AudioData.create_from_array(block, sample_rate), heard * 1000 // sample_rate)
            heard += len(block)
    return windows  # leaving the block above waits for the last result


def window_seconds(model: str) -> float:
    """Length of the window that a model file of tfaudio takes, from the settings inside it."""
    try:
        with zipfile.ZipFile(model) as archive:
            return float(json.loads(archive.read("tfaudio.json"))["clip"]["seconds"])
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError("the model file holds no settings of tfaudio") from error


def blocks_of(waveform: Waveform, length: int) -> Iterator[Waveform]:
    """Cuts a waveform as a microphone would deliver it."""
    for start in range(0, len(waveform), length):
        yield waveform[start : start + length]


def read(path: str) -> tuple[Waveform, int]:
    """Reads a recording: float32 [samples], mixed down to mono, and its sample rate."""
    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    if not len(samples):
        raise ValueError("it holds no samples")
    if not np.isfinite(samples).all():
        raise ValueError("it holds NaN or infinite samples")
    return samples.mean(axis=1), sample_rate


def main(arguments: list[str] | None = None) -> int:
    """Classifies and prints; 1 if the model or a recording could not be used."""
    parser = argparse.ArgumentParser(description="Classify recordings by MediaPipe Tasks.")
    parser.add_argument("model", help="a .tflite file that `tfaudio export` wrote")
    parser.add_argument("files", nargs="+", help="recordings, in any format that libsndfile reads")
    parser.add_argument("--stream", action="store_true", help="stream mode, in blocks of --block_seconds")
    parser.add_argument("--block_seconds", type=float, default=0.1, help="length of a block (default: 0.1)")
    parser.add_argument("--all_scores", action="store_true", help="print the scores of all labels, best first")
    options = parser.parse_args(arguments)
    if options.block_seconds <= 0:
        parser.error("--block_seconds must be positive")
    if not Path(options.model).is_file():
        parser.error(f"there is no model file {options.model}")
    try:
        if options.stream:
            window_seconds(options.model)  # which a stream needs, and every recording would miss
        classifier = open_classifier(options.model)
    except FAILURES as error:
        print(
            f"{options.model} cannot be used ({first_line(error)}); export it again with `tfaudio export`.",
            file=sys.stderr,
        )
        return 1
    failures = 0
    with classifier:
        for path in options.files:
            try:
                waveform, sample_rate = read(path)
                if options.stream:
                    length = max(1, round(options.block_seconds * sample_rate))
                    windows = classify_stream(options.model, blocks_of(waveform, length), sample_rate)
                else:
                    windows = classify_clip(classifier, waveform, sample_rate)
            except FAILURES as error:
                failures += 1
                print(f"{path}: {first_line(error)}", file=sys.stderr)
                continue
            for window in windows:
                row: dict[str, object] = {"path": path, "start": round(window.start, 3)}
                row |= {"label": window.labels[0], "score": round(window.scores[0], 6)}
                if options.all_scores:
                    row["scores"] = dict(zip(window.labels, window.scores, strict=True))
                print(json.dumps(row, ensure_ascii=False), flush=True)
    return 1 if failures else 0


def first_line(error: Exception) -> str:
    """What an exception says, without the lines of C++ below it."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


if __name__ == "__main__":
    sys.exit(main())
