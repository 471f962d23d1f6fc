"""What a model file says about itself, labels.txt and tfaudio.json: written by the export, read on devices.

This module alone knows the keys, so that what is written is what is read. A key that older readers may pass over
comes without a new format version; the version rises when they would go wrong without it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tfaudio.config import ClipConfig, Config, FrontEndConfig, TextConfig
from tfaudio.config.base import check_range
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.text import Tokenizer

CHANNELS = 1  # of the waveform that every model takes
SCORE_RANGE = (0.0, 1.0)
FORMAT_VERSION = 2
_WITHOUT_TEXT = 1  # the version of files that readers of before can use
DEFAULT_THRESHOLD = 0.5  # score from which on a tagger gives a class that has no threshold of its own
LABELS_FILE, SETTINGS_FILE, VOCABULARY_FILE = "labels.txt", "tfaudio.json", "vocabulary.txt"
EXPORT_AGAIN = "export it again with `tfaudio export`"
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("tfaudio", "model", "variant", "score_activation"), (str, "text")),
    **dict.fromkeys(("dataset", "dataset_fingerprint"), ((str, type(None)), "text")),
    **dict.fromkeys(("front_end", "clip", "streaming", "text"), (dict, "a table")),
    **dict.fromkeys(("normalization", "thresholds", "calibration"), ((dict, type(None)), "a table")),
    "num_labels": (int, "a whole number"),
    "unknown_below": ((int, float, type(None)), "a score"),
}


@dataclass(frozen=True, kw_only=True)
class StreamingSettings(Config):
    """What a runtime has to know of a step model: (waveform, state) to (scores, next_state).

    Args:
      hop_samples: that one call takes.
      delay_samples: from the middle of the newest sound that the scores know to the last sample of the call.
      window_samples: of audio that the scores are of, at most.
      state_size: values of the state, which is all zeros when a stream begins.
    """

    section: ClassVar[str] = "streaming"

    hop_samples: int
    delay_samples: int
    window_samples: int
    state_size: int

    def check(self) -> None:
        for name in ("hop_samples", "delay_samples", "window_samples", "state_size"):
            check_range(f"streaming.{name}", getattr(self, name), 1, 2**31)


@dataclass(frozen=True)
class Calibration:
    """The training recordings that told the ranges of an integer file.

    Args:
      clips: number of windows.
      fingerprint: of the names of the recordings: who has the list can prove that it is the one.
    """

    clips: int
    fingerprint: str

    @classmethod
    def of_names(cls, clips: int, names: Iterable[str]) -> Calibration:
        """Makes it from the recordings' names, in their order."""
        return cls(clips, hashlib.sha256("\n".join(names).encode("utf-8")).hexdigest())


@dataclass(frozen=True)
class ModelMetadata:
    """Everything that running a model file takes.

    Args:
      labels: of the outputs, in their order.
      front_end: what the file computes from the waveform, and at which sample rate.
      clip: the window that the file takes, and how recordings are cut into such windows.
      model: name of the architecture.
      variant: "float32", "float16", "dynamic_range", "int8", "int16x8" or, of a SavedModel, "saved_model"; "tflm" of an
        int8 classifier for microcontrollers, which takes features.
      score_activation: "softmax": the scores of a window sum to one. "sigmoid": each class has its own, as tags have.
      tfaudio_version: that wrote the file.
      dataset: name of the data set that the model was trained on, where known.
      dataset_fingerprint: of that data set, where known.
      streaming: of a step model, which takes a stream hop by hop; None of a model that takes clips.
      feature_mean: of each bin over the training data, which the front end subtracts; empty where it does not, or the
        file was written before this was kept.
      feature_stddev: likewise, what it divides by.
      thresholds: the score from which on a class counts as detected, by label; classes that are not named have none.
      calibration: of an integer file.
      unknown_below: the highest score, the mean over the windows of a recording, below which it is none of the labels;
        None where every recording is taken for one of them.
      tokenizer: of the texts that the model takes beside the sound; None if it takes none.
    """

    labels: LabelMap
    front_end: FrontEndConfig
    clip: ClipConfig
    model: str
    variant: str
    score_activation: str
    tfaudio_version: str
    dataset: str | None = None
    dataset_fingerprint: str | None = None
    streaming: StreamingSettings | None = None
    feature_mean: tuple[float, ...] = ()
    feature_stddev: tuple[float, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    unknown_below: float | None = None
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_thresholds(self.thresholds, self.labels)
        if self.unknown_below is not None and not 0 <= self.unknown_below <= 1:
            raise TfaudioError(f"'unknown_below' must be a score from 0 to 1, not {self.unknown_below}.")
        if len(self.feature_mean) != len(self.feature_stddev) or min(self.feature_stddev, default=1.0) <= 0:
            raise TfaudioError("the normalisation must have a mean and a positive deviation of each bin.")

    @property
    def tag_thresholds(self) -> dict[str, float] | None:
        """Score from which on each class is given, by label; None of a model that gives one class."""
        return tag_thresholds(self.labels, self.thresholds) if self.score_activation == "sigmoid" else None

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.front_end.sample_rate

    @property
    def num_samples(self) -> int:
        """Samples of the waveform that the file takes."""
        return self.clip.num_samples(self.sample_rate)

    def to_files(self, *, body: bytes | None = None) -> dict[str, str]:
        """Returns the texts of labels.txt and tfaudio.json, and vocabulary.txt if there is one, by file name.

        Args:
          body: the model that the files will lie behind; its checksum then shows later damage and changes.
        """
        settings: dict[str, Any] = {
            "format": _WITHOUT_TEXT if self.tokenizer is None else FORMAT_VERSION,
            "tfaudio": self.tfaudio_version,
            "model": self.model,
            "variant": self.variant,
            "num_labels": len(self.labels),
            "score_activation": self.score_activation,
            "front_end": self.front_end.to_dict(),
            "clip": self.clip.to_dict(),
            "dataset": self.dataset,
            "dataset_fingerprint": self.dataset_fingerprint,
        }
        if self.streaming is not None:
            settings["streaming"] = self.streaming.to_dict()
        settings["score_range"] = list(SCORE_RANGE)
        settings["thresholds"] = dict(self.thresholds)
        settings["normalization"] = (
            {"mean": _short(self.feature_mean), "stddev": _short(self.feature_stddev)} if self.feature_mean else None
        )
        settings["calibration"] = None if self.calibration is None else vars(self.calibration)
        if self.unknown_below is not None:
            settings["unknown_below"] = self.unknown_below
        if body is not None:
            settings["model_sha256"] = hashlib.sha256(body).hexdigest()
        if self.tokenizer is not None:
            settings["text"] = self.tokenizer.settings()
        text = json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        files = {LABELS_FILE: self.labels.to_text(), SETTINGS_FILE: text}
        return files if self.tokenizer is None else {**files, VOCABULARY_FILE: self.tokenizer.to_text()}

    @classmethod
    def from_settings(
        cls,
        settings: Any,
        labels: LabelMap,
        name: str,
        *,
        body: bytes | memoryview | None = None,
        vocabulary: str | None = None,
    ) -> ModelMetadata:
        """Reads what tfaudio.json holds.

        Args:
          settings: its content, parsed.
          labels: that lay beside it.
          name: what messages call the model.
          body: the model that the files lay behind, to be compared with the checksum.
          vocabulary: content of vocabulary.txt; None if there is none.

        Raises:
          TfaudioError: if the settings are incomplete, from a later version, do not fit the labels or the body, or do
            not hold together.
        """
        version = settings.get("format") if isinstance(settings, dict) else None
        if not isinstance(version, int):
            raise TfaudioError(f"{name} holds a {SETTINGS_FILE} without a format version; {EXPORT_AGAIN}.")
        if version > FORMAT_VERSION:
            raise TfaudioError(
                f"{name} has metadata format {version} and this tfaudio reads up to {FORMAT_VERSION}; upgrade tfaudio."
            )
        for key, (kind, description) in _KINDS.items():
            if key in settings and (not isinstance(settings[key], kind) or isinstance(settings[key], bool)):
                given = json.dumps(settings[key])
                raise TfaudioError(
                    f"{name} holds a {SETTINGS_FILE} whose '{key}' is {given}, not {description}; {EXPORT_AGAIN}."
                )
        try:
            metadata = cls(
                labels=labels,
                front_end=FrontEndConfig.from_dict(settings["front_end"]),
                clip=ClipConfig.from_dict(settings["clip"]),
                model=settings["model"],
                variant=settings["variant"],
                score_activation=settings["score_activation"],
                tfaudio_version=settings["tfaudio"],
                dataset=settings.get("dataset"),
                dataset_fingerprint=settings.get("dataset_fingerprint"),
                streaming=StreamingSettings.from_dict(settings["streaming"]) if "streaming" in settings else None,
                thresholds=settings.get("thresholds") or {},
                feature_mean=_numbers(settings, "mean"),
                feature_stddev=_numbers(settings, "stddev"),
                calibration=_calibration(settings.get("calibration")),
                unknown_below=settings.get("unknown_below"),
                tokenizer=_tokenizer(settings, vocabulary, labels),
            )
            count = settings["num_labels"]
        except KeyError as error:
            raise TfaudioError(f"{name} holds a {SETTINGS_FILE} without {error}; {EXPORT_AGAIN}.") from error
        except TfaudioError as error:
            raise TfaudioError(f"{name} holds settings that do not hold together: {error}") from error
        if count != len(labels):
            raise TfaudioError(f"{name} has {count} outputs but {len(labels)} labels; {EXPORT_AGAIN}.")
        if body is not None and hashlib.sha256(body).hexdigest() != settings.get("model_sha256"):
            raise TfaudioError(f"{name} is damaged or was changed after its export; copy it again, or {EXPORT_AGAIN}.")
        return metadata


def check_thresholds(thresholds: Mapping[str, Any], labels: LabelMap) -> None:
    """Raises TfaudioError for a threshold of an unknown label, or one that is no score."""
    for label, score in thresholds.items():
        labels.index(label)
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1:
            raise TfaudioError(f"the threshold of '{label}' must be a score from 0 to 1, not {score!r}.")


def tag_thresholds(labels: LabelMap, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Returns the score from which on a tagger gives each class, by label: its own, or 0.5.

    Args:
      labels: the classes.
      thresholds: of some of them.
    """
    return {label: float(thresholds.get(label, DEFAULT_THRESHOLD)) for label in labels}


def tags_of(scores: Iterable[float], labels: LabelMap, thresholds: Mapping[str, float]) -> list[tuple[str, float]]:
    """Returns the classes that a tagger gives, with their scores, the surest first; there may be none.

    Args:
      scores: one a class.
      labels: of the scores.
      thresholds: score from which on each class is given, by label, as `tag_thresholds` has them.
    """
    given = [(label, float(score)) for label, score in zip(labels, scores, strict=True) if score >= thresholds[label]]
    return sorted(given, key=lambda tag: -tag[1])


def _short(values: Sequence[float]) -> list[float]:
    """float32 values in as few digits as bring them back."""
    return [float(f"{value:.9g}") for value in values]


def _numbers(settings: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """One half of the normalisation; empty where there is none."""
    table = settings.get("normalization")
    if table is None:
        return ()
    values = table[key]
    if not isinstance(values, list) or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        raise TfaudioError(f"'normalization.{key}' holds no numbers.")
    return tuple(map(float, values))


def _tokenizer(settings: Mapping[str, Any], vocabulary: str | None, labels: LabelMap) -> Tokenizer | None:
    if "text" not in settings:
        return None
    if vocabulary is None:
        raise TfaudioError(f"the model takes text, but has no {VOCABULARY_FILE}.")
    config = TextConfig.from_dict(settings["text"])
    try:
        return Tokenizer.from_text(vocabulary, config, labels)
    except TfaudioError as error:
        raise TfaudioError(f"{VOCABULARY_FILE}: {error}") from error


def _calibration(value: Mapping[str, Any] | None) -> Calibration | None:
    if value is None:
        return None
    clips, fingerprint = value["clips"], value["fingerprint"]
    if type(clips) is not int or not isinstance(fingerprint, str):
        raise TfaudioError("'calibration' holds no number of clips and fingerprint.")
    return Calibration(clips, fingerprint)
