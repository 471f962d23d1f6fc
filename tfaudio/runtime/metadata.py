"""What a TFLite file of this package says about itself, read without TensorFlow."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from pathlib import Path

from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.model_settings import EXPORT_AGAIN, LABELS_FILE, SETTINGS_FILE, VOCABULARY_FILE, ModelMetadata

__all__ = ["ModelMetadata", "parse_metadata", "read_metadata", "read_model_file", "read_settings_folder"]


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
        settings = json.loads((folder / SETTINGS_FILE).read_text("utf-8"))
        labels = LabelMap.from_text((folder / LABELS_FILE).read_text("utf-8"))
        file = folder / VOCABULARY_FILE
        vocabulary = file.read_text("utf-8") if file.is_file() else None
    except FileNotFoundError as error:
        raise TfaudioError(
            f"{folder} has no {Path(str(error.filename)).name}: this SavedModel is not from tfaudio or is incomplete; "
            f"{EXPORT_AGAIN}."
        ) from error
    except (OSError, ValueError) as error:
        raise TfaudioError(f"The settings in {folder} cannot be read ({error}); {EXPORT_AGAIN}.") from error
    return ModelMetadata.from_settings(settings, labels, str(folder), vocabulary=vocabulary)


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
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        if b"TFLITE_METADATA" in content:  # it names files behind the model, and they are not there
            raise TfaudioError(f"{name} is cut short or damaged; copy it again, or {EXPORT_AGAIN}.") from error
        raise TfaudioError(f"{name} has no tfaudio metadata (labels and front end); {EXPORT_AGAIN}.") from error
    with archive:
        missing = {LABELS_FILE, SETTINGS_FILE} - set(archive.namelist())
        if missing:
            raise TfaudioError(f"{name} has no tfaudio metadata ({', '.join(sorted(missing))}); {EXPORT_AGAIN}.")
        try:
            settings = json.loads(archive.read(SETTINGS_FILE))
            labels = LabelMap.from_text(archive.read(LABELS_FILE).decode("utf-8"))
            has_vocabulary = VOCABULARY_FILE in archive.namelist()
            vocabulary = archive.read(VOCABULARY_FILE).decode("utf-8") if has_vocabulary else None
            body_length = min(member.header_offset for member in archive.infolist())
        except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError, OSError, zlib.error) as error:
            raise TfaudioError(f"{name} is damaged ({error}); copy it again, or {EXPORT_AGAIN}.") from error
    body = memoryview(content)[:body_length]
    return ModelMetadata.from_settings(settings, labels, name, body=body, vocabulary=vocabulary)
