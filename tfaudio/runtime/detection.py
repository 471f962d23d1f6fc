"""From scores that come many times a second to detections: smoothing, two thresholds, a pause after each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tfaudio.config import Config
from tfaudio.config.base import check_range
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.model_settings import ModelMetadata

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(Config):
    """When scores count as a detection.

    Args:
      threshold: smoothed score from which on a class is detected.
      thresholds: of single classes, by label; the others have `threshold`.
      release: a detection ends when the score falls below this share of its threshold, so that a score that trembles
        around the threshold is one detection and not many.
      smoothing_seconds: of scores that are averaged; 0 takes each as it is. Nothing is detected before there are as
        many.
      refractory_seconds: after a detection has ended, its class is not detected again for this long.
      longest_seconds: a detection that still lasts then is reported, and the next one begins.
      ignore: labels that are never reported, such as that of the background.
      report: a detection when it "end"s, with its peak; when it "start"s; or "both".
    """

    section: ClassVar[str] = "detector"

    threshold: float = 0.5
    thresholds: dict[str, Any] = field(default_factory=dict)
    release: float = 0.7
    smoothing_seconds: float = 0.2
    refractory_seconds: float = 0.5
    longest_seconds: float = 10.0
    ignore: tuple[str, ...] = ()
    report: Literal["end", "start", "both"] = "end"

    @classmethod
    def of_model(cls, metadata: ModelMetadata) -> DetectorConfig:
        """Settings of a model: its thresholds, and of no class less than what its best answer is believed from."""
        thresholds, least = dict(metadata.thresholds), metadata.unknown_below
        if least is not None:
            thresholds = {label: max(thresholds.get(label, cls.threshold), least) for label in metadata.labels}
        return cls(thresholds=thresholds)

    def check(self) -> None:
        check_range("detector.threshold", self.threshold, 0, 1)
        for label, value in self.thresholds.items():
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise TfaudioError(f"detector.thresholds of '{label}' must be a score from 0 to 1, not {value!r}.")
        check_range("detector.release", self.release, 0, 1)
        check_range("detector.smoothing_seconds", self.smoothing_seconds, 0, 60)
        check_range("detector.refractory_seconds", self.refractory_seconds, 0, 3_600)
        check_range("detector.longest_seconds", self.longest_seconds, 0.01, 86_400)


@dataclass(frozen=True)
class Detection:
    """A class that was heard.

    Args:
      label: its name.
      start: seconds of the stream, when its smoothed score reached the threshold.
      peak: seconds, when it was highest.
      end: seconds, when it fell again; None of one that has just begun.
      score: the highest.
    """

    label: str
    start: float
    peak: float
    end: float | None
    score: float

    def until(self, seconds: float) -> Detection:
        """Returns it with no time beyond the end of the stream, behind which silence was scored."""
        end = None if self.end is None else min(self.end, seconds)
        return replace(self, start=min(self.start, seconds), peak=min(self.peak, seconds), end=end)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, rounded, ready for JSON."""
        end = None if self.end is None else round(self.end, 3)
        start, peak, score = round(self.start, 3), round(self.peak, 3), round(self.score, 4)
        return {"label": self.label, "start": start, "peak": peak, "end": end, "score": score}


class Smoother:
    """Moving average of the newest score vectors, summed anew each time so that nothing drifts in days.

    Args:
      count: of vectors, at least 1; at the beginning of a stream those that are there.
    """

    def __init__(self, count: int, num_classes: int) -> None:
        self._ring = np.zeros([max(1, count), num_classes], np.float32)
        self._seen = 0

    def add(self, scores: Array) -> Array:
        """Takes float32 [classes] and returns the average."""
        self._ring[self._seen % len(self._ring)] = scores
        self._seen += 1
        return np.asarray(self._ring[: self._seen].mean(axis=0), np.float32)

    @property
    def full(self) -> bool:
        """Whether there were as many vectors as are averaged."""
        return self._seen >= len(self._ring)


class Detector:
    """Finds detections in the scores of a stream; several classes may be heard at a time.

    Args:
      labels: of the scores.
      hop_seconds: from one score vector to the next.
      config: thresholds and times.

    Raises:
      TfaudioError: if the configuration names a label that the model does not have.
    """

    def __init__(self, labels: LabelMap, hop_seconds: float, config: DetectorConfig) -> None:
        self._labels, self._config = labels, config
        self._smoother = Smoother(round(config.smoothing_seconds / hop_seconds), len(labels))
        self._on = _thresholds(labels, config)
        self._off = self._on * np.float32(config.release)
        for label in config.ignore:
            self._on[labels.index(label)] = np.inf
        self._quiet_until = np.full(len(labels), -np.inf)
        self._lasting: dict[int, Detection] = {}
        self._now = 0.0

    def add(self, time: float, scores: Array) -> list[Detection]:
        """Takes the scores at a time of the stream, in seconds, and returns what there is to report."""
        self._now = time
        smooth = self._smoother.add(scores)
        found = list(self._ended(smooth))
        if not self._smoother.full:
            return found
        for index in np.flatnonzero((smooth >= self._on) & (self._quiet_until <= time)):
            if int(index) not in self._lasting:
                begun = Detection(self._labels[int(index)], time, time, None, float(smooth[index]))
                self._lasting[int(index)] = begun
                if self._config.report != "end":
                    found.append(begun)
        return found

    def finish(self) -> list[Detection]:
        """Ends the stream: returns the detections that still last."""
        rest = [_with_end(detection, self._now) for detection in self._lasting.values()]
        self._lasting.clear()
        return rest if self._config.report != "start" else []

    def _ended(self, smooth: Array) -> Iterator[Detection]:
        for index, detection in list(self._lasting.items()):
            score = float(smooth[index])
            if score > detection.score:
                detection = Detection(detection.label, detection.start, self._now, None, score)
                self._lasting[index] = detection
            faded = score < self._off[index]
            if not faded and self._now - detection.start < self._config.longest_seconds:
                continue
            del self._lasting[index]
            if faded:
                self._quiet_until[index] = self._now + self._config.refractory_seconds
            if self._config.report != "start":
                yield _with_end(detection, self._now)


def _with_end(detection: Detection, end: float) -> Detection:
    return Detection(detection.label, detection.start, detection.peak, end, detection.score)


def _thresholds(labels: LabelMap, config: DetectorConfig) -> Array:
    thresholds: Mapping[str, float] = config.thresholds
    values = np.full(len(labels), config.threshold, np.float32)
    for label, value in thresholds.items():
        values[labels.index(label)] = value
    return values
