"""A stream of audio to detections: blocks of any size and rate in, in bounded memory, for as long as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.config import LARGEST_SAMPLE, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from tfaudio.errors import TfaudioError
from tfaudio.runtime.audio import Resampler
from tfaudio.runtime.detection import Detection, Detector, DetectorConfig
from tfaudio.runtime.scorers import Scorer

Array = npt.NDArray[np.float32]
OnScores = Callable[[float, Array], None]


@dataclass
class StreamStatus:
    """What a stream has been through.

    Args:
      seconds: of audio taken.
      hops: scores computed.
      detections: reported.
      silenced_seconds: of audio that was NaN, infinite or far beyond full scale, and counted as silence.
      undefined_scores: hops whose scores were no numbers, after which the model began anew.
    """

    seconds: float = 0.0
    hops: int = 0
    detections: int = 0
    silenced_seconds: float = 0.0
    undefined_scores: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, rounded, ready for JSON."""
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in vars(self).items()}


class Stream:
    """Takes audio as it comes and gives detections.

    Times are seconds since the beginning of the stream. Scores are known some time after the sound: `delay_seconds`
    tells how long, and times are corrected for it.

    Args:
      scorer: of the model, from `open_scorer`.
      sample_rate: Hz of the blocks; None is the model's. Other rates are resampled.
      detector: thresholds and times; None takes the thresholds that the model's file holds.
      on_scores: called after each hop with the time and the scores, float32 [classes], before smoothing.

    Raises:
      TfaudioError: for a rate that no audio has, or labels that the model does not have.

    Example:

        stream = Stream(open_scorer("model_streaming.tflite"), sample_rate=44_100)
        for block in microphone:  # [samples] or [samples, channels]
            for detection in stream.process(block):
                print(detection.to_dict())
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        sample_rate: int | None = None,
        detector: DetectorConfig | None = None,
        on_scores: OnScores | None = None,
    ) -> None:
        self._scorer, self._on_scores = scorer, on_scores
        self._config = detector or DetectorConfig.of_model(scorer.metadata)
        self._rate = scorer.metadata.sample_rate
        self.sample_rate = self._rate if sample_rate is None else sample_rate
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise TfaudioError(
                f"Audio of {self.sample_rate} Hz is no stream of sound; give its rate, {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE} Hz."
            )
        self.hop_seconds = scorer.hop_samples / self._rate
        self._piece = max(1, round(self.hop_seconds * self.sample_rate))  # of the source, treated as one
        self.status = StreamStatus()
        self._begin()

    def _begin(self) -> None:
        self._scorer.reset()
        self._resampler = Resampler(self.sample_rate, self._rate)
        self._detector = Detector(self._scorer.labels, self.hop_seconds, self._config)
        self._held = np.zeros(0, np.float32)  # of less than a hop
        self._heard = 0  # samples at the model's rate that were scored

    @property
    def delay_seconds(self) -> float:
        """From a sound to the first scores that know it, at most."""
        resampling = self._resampler.delay_samples / self.sample_rate
        return resampling + self.hop_seconds + self._scorer.delay_samples / self._rate

    def process(self, block: npt.ArrayLike) -> list[Detection]:
        """Takes the next samples.

        Args:
          block: floats in [-1, 1] or int16, [samples] or [samples, channels]; of any length.

        Returns:
          What was detected, in the order of time.

        Raises:
          TfaudioError: if the block is no audio: of another type or with more axes.
        """
        samples = as_mono(block)
        found: list[Detection] = []
        for first in range(0, len(samples), self._piece):
            piece = self._usable(samples[first : first + self._piece])
            self.status.seconds += len(piece) / self.sample_rate
            found += self._score(self._resampler.process(piece))
        self.status.detections += len(found)
        return found

    def finish(self) -> list[Detection]:
        """Ends the stream: scores what is left, with silence behind it, and returns what was still to be reported.

        The next block begins another stream, at 0 seconds; `status` goes on.
        """
        hop, delay = self._scorer.hop_samples, self._scorer.delay_samples
        flushed = self._resampler.flush()
        length = (self._heard + len(self._held) + len(flushed)) / self._rate
        rest = np.concatenate([flushed, np.zeros(delay, np.float32)])
        total = len(self._held) + len(rest)
        found = self._score(np.concatenate([rest, np.zeros(-total % hop, np.float32)]))
        found += self._detector.finish()
        found = [detection.until(length) for detection in found]
        self.status.detections += len(found)
        self._begin()
        return found

    def _usable(self, piece: Array) -> Array:
        """The piece, or silence in its place."""
        if np.abs(piece).max(initial=0.0) <= LARGEST_SAMPLE:  # which holds for no NaN
            return piece
        self.status.silenced_seconds += len(piece) / self.sample_rate
        return np.zeros_like(piece)

    def _score(self, samples: Array) -> list[Detection]:
        # Resampling overshoots a step by a tenth, and so what is usable just so.
        self._held = np.concatenate([self._held, np.clip(samples, -LARGEST_SAMPLE, LARGEST_SAMPLE)])
        hop, found = self._scorer.hop_samples, []
        count = len(self._held) // hop
        for index in range(count):
            scores = self._scorer.step(self._held[index * hop : (index + 1) * hop])
            self._heard += hop
            self.status.hops += 1
            if not np.isfinite(scores).all():
                self.status.undefined_scores += 1
                self._scorer.reset()
                continue
            time = max(0, self._heard - self._scorer.delay_samples) / self._rate
            if self._on_scores is not None:
                self._on_scores(time, scores)
            found += self._detector.add(time, scores)
        self._held = self._held[count * hop :].copy()
        return found


def as_mono(block: npt.ArrayLike) -> Array:
    """Takes floats or int16, [samples] or [samples, channels], to float32 [samples]: the mean of the channels.

    Raises:
      TfaudioError: if the block is of another type, or has more axes.
    """
    samples = np.asarray(block)
    if samples.dtype == np.int16:
        samples = samples / np.float32(32_768)
    elif samples.dtype.kind != "f":
        raise TfaudioError(f"A block of audio holds {samples.dtype.name} values; pass int16, or floats in [-1, 1].")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] == 0):
        raise TfaudioError(f"A block of audio has shape {samples.shape}; pass [samples] or [samples, channels].")
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it counts as silence
        samples = samples.astype(np.float32, copy=False)
        return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)
