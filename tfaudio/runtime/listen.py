"""`python -m tfaudio.runtime.listen MODEL.tflite SOURCE...`: detections in recordings or raw samples, as JSON lines.

A source is a recording, or - for raw 16-bit samples from standard input, such as `arecord` gives. Every line is an
object with an "event": "start" and "end" of a source, "detection", and "status" from time to time.
`export/raspberry_pi/` adds a microphone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile

from tfaudio.errors import TfaudioError
from tfaudio.model_settings import ModelMetadata
from tfaudio.runtime.audio import open_recording
from tfaudio.runtime.command import run
from tfaudio.runtime.detection import DetectorConfig
from tfaudio.runtime.scorers import Scorer, open_scorer
from tfaudio.runtime.stream import Stream
from tfaudio.terminal import leave

Block = npt.NDArray[Any]
Emit = Callable[[dict[str, Any]], None]

_BYTES_AT_A_TIME = 16_384
_FRAMES_AT_A_TIME = 4_096


def main(arguments: list[str] | None = None) -> int:
    """Listens and prints; 1 if the model or a source could not be used."""
    return run("tfaudio.runtime.listen", lambda: _listen_to_all(arguments))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Defines what all clients of a stream have in common."""
    defaults = DetectorConfig()
    parser.add_argument(
        "model", help="a .tflite file that `tfaudio export` wrote, of the format streaming or any other"
    )
    parser.add_argument(
        "--threshold", type=float, help="score that is a detection, of all classes (default: the model's own, or 0.5)"
    )
    parser.add_argument(
        "--threshold_of", action="append", default=[], metavar="LABEL=SCORE", help="of a single class; may be repeated"
    )
    parser.add_argument(
        "--release", type=float, default=defaults.release, help="share of the threshold below which it ends (0.7)"
    )
    parser.add_argument("--smoothing_seconds", type=float, default=defaults.smoothing_seconds, help="averaged (0.2)")
    parser.add_argument(
        "--refractory_seconds", type=float, default=defaults.refractory_seconds, help="pause of a class after it (0.5)"
    )
    parser.add_argument(
        "--longest_seconds", type=float, default=defaults.longest_seconds, help="after which one is reported (10)"
    )
    parser.add_argument(
        "--ignore",
        action="append",
        metavar="LABEL",
        help="class not to report, beside those that begin with _; may be repeated",
    )
    parser.add_argument("--report", choices=("end", "start", "both"), default=defaults.report, help="when to report")
    parser.add_argument("--hop_seconds", type=float, help="from score to score, of a model that is not streaming")
    parser.add_argument("--status_seconds", type=float, default=600.0, help="of audio between status lines (600)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the interpreter (1)")


def detector_of(options: argparse.Namespace, metadata: ModelMetadata) -> DetectorConfig:
    """Returns the detector's settings: those of the options, and where they name no threshold, the model's.

    Raises:
      TfaudioError: if one is out of range, or names no label of the model.
    """
    config = DetectorConfig.of_model(metadata)
    if options.threshold is not None:
        config = DetectorConfig(threshold=options.threshold)
    thresholds = dict(config.thresholds)
    for pair in options.threshold_of:
        label, separator, score = pair.rpartition("=")
        try:
            thresholds[label] = float(score)
        except ValueError:
            separator = ""
        if not separator:
            raise TfaudioError(f"--threshold_of takes LABEL=SCORE, such as {metadata.labels[0]}=0.8, not '{pair}'.")
    ignore = [*(options.ignore or ()), *(label for label in metadata.labels if label.startswith("_"))]
    for label in (*thresholds, *ignore):
        metadata.labels.index(label)
    return DetectorConfig(
        threshold=config.threshold,
        thresholds=thresholds,
        release=options.release,
        smoothing_seconds=options.smoothing_seconds,
        refractory_seconds=options.refractory_seconds,
        longest_seconds=options.longest_seconds,
        ignore=tuple(ignore),
        report=options.report,
    )


def open_stream(options: argparse.Namespace, scorer: Scorer, sample_rate: int | None) -> Stream:
    """Makes the stream that the options ask for."""
    return Stream(scorer, sample_rate=sample_rate, detector=detector_of(options, scorer.metadata))


def listen(stream: Stream, blocks: Iterable[Block], emit: Emit, *, status_seconds: float = 600.0) -> None:
    """Takes blocks through a stream to their end, and emits what happens.

    Args:
      stream: to take them through; `finish` is called at their end, and where they fail.
      blocks: float or int16 [samples] or [samples, channels].
      emit: is given one dictionary an event, ready for JSON.
      status_seconds: of audio from one status to the next.
    """
    due = stream.status.seconds + status_seconds
    emit({"event": "start", "sample_rate": stream.sample_rate, "delay_seconds": stream.delay_seconds} | _memory())
    try:
        for block in blocks:
            for detection in stream.process(block):
                emit({"event": "detection", **detection.to_dict()})
            if stream.status.seconds >= due:
                due += status_seconds
                emit({"event": "status", **stream.status.to_dict()} | _memory())
    finally:
        for detection in stream.finish():
            emit({"event": "detection", **detection.to_dict()})
        emit({"event": "end", **stream.status.to_dict()} | _memory())


def pcm_blocks(file: IO[bytes], channels: int) -> Iterator[Block]:
    """Yields raw little-endian 16-bit samples as they come: int16 [samples, channels].

    Raises:
      TfaudioError: if what comes is a WAV file.
    """
    read = getattr(file, "read1", file.read)  # read1 does not wait for more than there is
    frame, rest, first = 2 * channels, b"", True
    while data := read(_BYTES_AT_A_TIME):
        if first and data.startswith((b"RIFF", b"fLaC", b"OggS")):
            raise TfaudioError("Standard input begins like a recording, not raw samples; name the file, or decode it.")
        first, data = False, rest + data
        whole = len(data) // frame * frame
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False).reshape(-1, channels)


def recording_blocks(sound: soundfile.SoundFile, name: str) -> Iterator[Block]:
    """Yields a recording as float32 [samples, channels].

    NaN and infinity are left in: to a stream they are silence.

    Raises:
      TfaudioError: if it turns out to be damaged.
    """
    try:
        while len(block := sound.read(_FRAMES_AT_A_TIME, dtype="float32", always_2d=True)):
            yield block
    except soundfile.LibsndfileError as error:
        raise TfaudioError(f"{name} is truncated or damaged ({error.error_string}); copy it again.") from error


def _listen_to_all(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tfaudio.runtime.listen", description="Detect sounds in a stream.")
    add_options(parser)
    parser.add_argument("sources", nargs="+", help="recordings; - reads raw 16-bit samples from standard input")
    parser.add_argument("--rate", type=int, help="Hz of raw samples (default: the model's)")
    parser.add_argument("--channels", type=int, default=1, help="of raw samples, interleaved (1)")
    options = parser.parse_args(arguments)
    if not 1 <= options.channels <= 64:
        parser.error("--channels must be 1 to 64")
    failures = 0
    try:
        scorer = open_scorer(options.model, hop_seconds=options.hop_seconds, num_threads=options.threads)
        detector_of(options, scorer.metadata)
    except TfaudioError as error:
        print(f"tfaudio.runtime.listen: error: {error}", file=sys.stderr)
        return 1
    for source in options.sources:

        def emit(event: dict[str, Any], source: str = source) -> None:
            print(json.dumps({"source": source, **event}, ensure_ascii=False), flush=True)

        try:
            with contextlib.ExitStack() as stack:
                if source == "-":
                    rate, blocks = options.rate, pcm_blocks(sys.stdin.buffer, options.channels)
                else:
                    sound = stack.enter_context(open_recording(source, source))
                    rate, blocks = sound.samplerate, recording_blocks(sound, source)
                listen(open_stream(options, scorer, rate), blocks, emit, status_seconds=options.status_seconds)
        except TfaudioError as error:
            failures += 1
            print(f"tfaudio.runtime.listen: {error}", file=sys.stderr)
    return 1 if failures else 0


def _memory() -> dict[str, float]:
    """The process's largest resident set so far, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"max_rss_mb": round(largest * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)}


if __name__ == "__main__":
    leave(main())
