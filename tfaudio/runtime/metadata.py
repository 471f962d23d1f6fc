"""What a TFLite file of this package says about itself, read without TensorFlow."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfaudio.config import ClipConfig, FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap

FORMAT_VERSION = 1
_LABELS_FILE, _SETTINGS_FILE = "labels.txt", "tfaudio.json"
_EXPORT_AGAIN = "export it again with `tfaudio export`"


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


def read_metadata(path: str | os.PathLike[str]) -> ModelMetadata:
    """Reads the labels and settings inside a TFLite file.

    Raises:
      TfaudioError: if there is no such file, or it is no TFLite file, cut short, damaged, or not from this package.
    """
    return parse_metadata(read_model_file(path), str(path))


def read_settings_folder(folder: str | os.PathLike[str]) -> ModelMetadata:
    """Reads the labels and settings that travel beside a SavedModel, in its folder `assets`.

    Raises:
      TfaudioError: if they are not there, damaged, or from a later version.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / _SETTINGS_FILE).read_text("utf-8"))
        labels = LabelMap.from_text((folder / _LABELS_FILE).read_text("utf-8"))
    except FileNotFoundError as error:
        raise TfaudioError(
            f"{folder} has no {Path(str(error.filename)).name}: this SavedModel is not from tfaudio or is incomplete; "
            f"{_EXPORT_AGAIN}."
        ) from error
    except (OSError, ValueError) as error:
        raise TfaudioError(f"The settings in {folder} cannot be read ({error}); {_EXPORT_AGAIN}.") from error
    return _metadata(settings, labels, str(folder))


def read_model_file(path: str | os.PathLike[str]) -> bytes:
    """Reads a file whole; a TfaudioError says why that cannot be done."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise TfaudioError(f"There is no model file {path}; check the path.") from error
    except OSError as error:
        raise TfaudioError(f"The model file {path} cannot be read: {error.strerror}.") from error


def parse_metadata(content: bytes, name: str) -> ModelMetadata:
    """Reads the labels and settings inside a TFLite file's bytes; `name` is what messages call it."""
    if content[4:8] != b"TFL3":
        what = "is empty" if not content else "is not a TFLite file"
        raise TfaudioError(f"{name} {what}; name a model_*.tflite file that `tfaudio export` wrote.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError) as error:
        if b"TFLITE_METADATA" in content:  # it names files behind the model, and they are not there
            raise TfaudioError(f"{name} is cut short or damaged; copy it again, or {_EXPORT_AGAIN}.") from error
        raise TfaudioError(f"{name} has no tfaudio metadata (labels and front end); {_EXPORT_AGAIN}.") from error
    with archive:
        missing = {_LABELS_FILE, _SETTINGS_FILE} - set(archive.namelist())
        if missing:
            raise TfaudioError(f"{name} has no tfaudio metadata ({', '.join(sorted(missing))}); {_EXPORT_AGAIN}.")
        try:
            settings = json.loads(archive.read(_SETTINGS_FILE))
            labels = LabelMap.from_text(archive.read(_LABELS_FILE).decode("utf-8"))
            body_length = min(member.header_offset for member in archive.infolist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise TfaudioError(f"{name} is damaged ({error}); copy it again, or {_EXPORT_AGAIN}.") from error
    metadata = _metadata(settings, labels, name)
    if hashlib.sha256(memoryview(content)[:body_length]).hexdigest() != settings.get("model_sha256"):
        raise TfaudioError(f"{name} is damaged or was changed after its export; copy it again, or {_EXPORT_AGAIN}.")
    return metadata


def _metadata(settings: Any, labels: LabelMap, name: str) -> ModelMetadata:
    version = settings.get("format") if isinstance(settings, dict) else None
    if not isinstance(version, int):
        raise TfaudioError(f"{name} holds a {_SETTINGS_FILE} without a format version; {_EXPORT_AGAIN}.")
    if version > FORMAT_VERSION:
        raise TfaudioError(
            f"{name} has metadata format {version} and this tfaudio reads up to {FORMAT_VERSION}; upgrade tfaudio."
        )
    try:
        metadata = ModelMetadata(
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
        count = int(settings["num_labels"])
    except KeyError as error:
        raise TfaudioError(f"{name} holds a {_SETTINGS_FILE} without {error}; {_EXPORT_AGAIN}.") from error
    except TfaudioError as error:
        raise TfaudioError(f"{name} holds settings that do not hold together: {error}") from error
    if count != len(labels):
        raise TfaudioError(f"{name} has {count} outputs but {len(labels)} labels; {_EXPORT_AGAIN}.")
    return metadata
