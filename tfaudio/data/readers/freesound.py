"""Folders of sounds with their metadata in JSON, as programs that download from Freesound leave them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tfaudio.data.readers.walk import files_below
from tfaudio.data.spec import Clip, DatasetSpec, Skipped, composed, usable_spec, why_not_audio
from tfaudio.errors import TfaudioError

_COMMON = "metadata.json"
# Who recorded and uploaded a sound: the clips of one are heard in one room, with one microphone.
_UPLOADER_KEYS = ("username", "uploader")


def read_freesound(root: Path) -> DatasetSpec:
    """Reads recordings at any depth with JSON beside them.

    Metadata is `NAME.json` beside `NAME.wav`, or one `metadata.json` in the root: an object by name or number of the
    sound, a list of objects with "id" or "name", or such a list under "results", as the service answers a search.
    The number of a sound is its name up to the first sign that is no digit, as in `1234_dog.wav`.

    The class is "label"; where there is none, it is the top folder that the recording lies in. Tags are no classes:
    a sound has several. The group is the uploader ("username" or "uploader").

    Raises:
      TfaudioError: if JSON is damaged or has another form, or no recording has metadata and a class.
    """
    if not root.is_dir():
        raise TfaudioError(f"{root} is not a folder; set data.data_dir (--data_dir) to the folder of the sounds.")
    common = _common_records(root / _COMMON) if (root / _COMMON).is_file() else {}
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for path in files_below(root, skipped):
        if path.suffix.lower() == ".json":
            continue
        if reason := why_not_audio(path):
            skipped.append(Skipped(str(path), reason))
            continue
        record = _record_of(path, common)
        between = path.relative_to(root).parts[:-1]
        if record is None:
            skipped.append(Skipped(str(path), f"there is no {path.stem}.json beside it and no entry in {_COMMON}"))
            continue
        label = record.get("label") or (between[0] if between else None)
        if not isinstance(label, str) or not label.strip():
            skipped.append(Skipped(str(path), 'its metadata has no "label", and it lies in no class folder'))
            continue
        uploader = next((str(record[key]) for key in _UPLOADER_KEYS if record.get(key)), None)
        clips.append(Clip(str(path), composed(label.strip()), group=composed(uploader) if uploader else None))
    return usable_spec("freesound", clips, skipped, root)


def _record_of(path: Path, common: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    own = path.with_suffix(".json")
    if own.is_file() and own.name != _COMMON:
        record = _load(own)
        if not isinstance(record, dict):
            raise TfaudioError(f"{own} must hold a JSON object of the sound's metadata.")
        return record
    number = re.match(r"\d+", path.stem)
    names = (path.name, path.stem, number[0] if number else path.stem)
    return next((common[name] for name in names if name in common), None)


def _common_records(path: Path) -> dict[str, dict[str, Any]]:
    """The metadata of each sound, by its name or number as text."""
    document = _load(path)
    if isinstance(document, dict) and isinstance(document.get("results"), list):
        document = document["results"]
    if isinstance(document, list) and all(isinstance(record, dict) for record in document):
        return {str(record[key]): record for record in document for key in ("name", "id") if key in record}
    if isinstance(document, dict) and all(isinstance(record, dict) for record in document.values()):
        return document
    raise TfaudioError(f"{path} must hold a JSON object of objects by sound, or a list of objects.")


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise TfaudioError(f"{path} cannot be read ({error.strerror}); change its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise TfaudioError(f"{path} is not valid JSON ({error}); mend or remove it.") from error
