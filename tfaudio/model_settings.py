"""What a model file says about itself, labels.txt and tfaudio.json: written by the export, read on devices.

This module alone knows the keys, so that what is written is what is read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tfaudio.config import ClipConfig, FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap

FORMAT_VERSION = 1
LABELS_FILE, SETTINGS_FILE = "labels.txt", "tfaudio.json"
EXPORT_AGAIN = "export it again with `tfaudio export`"
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("tfaudio", "model", "variant", "score_activation"), (str, "text")),
    **dict.fromkeys(("dataset", "dataset_fingerprint"), ((str, type(None)), "text")),
    **dict.fromkeys(("front_end", "clip"), (dict, "a table")),
    "num_labels": (int, "a whole number"),
}


@dataclass(frozen=True)
class ModelMetadata:
    """Everything that running a model file takes.

    Args:
      labels: of the outputs, in their order.
      front_end: what the file computes from the waveform, and at which sample rate.
      clip: the window that the file takes, and how recordings are cut into such windows.
      model: name of the architecture.
      variant: "float32", "float16", "dynamic_range", "int8" or, of a SavedModel, "saved_model".
      score_activation: "softmax": the scores of a window sum to one.
      tfaudio_version: that wrote the file.
      dataset: name of the data set that the model was trained on, where known.
      dataset_fingerprint: of that data set, where known.
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

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.front_end.sample_rate

    @property
    def num_samples(self) -> int:
        """Samples of the waveform that the file takes."""
        return self.clip.num_samples(self.sample_rate)

    def to_files(self, *, body: bytes | None = None) -> dict[str, str]:
        """Returns the texts of labels.txt and tfaudio.json by file name.

        Args:
          body: the model that the files will lie behind; its checksum then shows later damage and changes.
        """
        settings: dict[str, Any] = {
            "format": FORMAT_VERSION,
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
        if body is not None:
            settings["model_sha256"] = hashlib.sha256(body).hexdigest()
        text = json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return {LABELS_FILE: self.labels.to_text(), SETTINGS_FILE: text}

    @classmethod
    def from_settings(
        cls, settings: Any, labels: LabelMap, name: str, *, body: bytes | memoryview | None = None
    ) -> ModelMetadata:
        """Reads what tfaudio.json holds.

        Args:
          settings: its content, parsed.
          labels: that lay beside it.
          name: what messages call the model.
          body: the model that the files lay behind, to be compared with the checksum.

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
