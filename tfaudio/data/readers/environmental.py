"""Environmental and urban sounds: ESC-10, ESC-50, UrbanSound8K and FSD50K."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tfaudio.data.manifest import csv_rows
from tfaudio.data.readers.walk import as_stored, find_mark
from tfaudio.data.spec import Clip, DatasetSpec, composed, usable_spec
from tfaudio.errors import TfaudioError

URBANSOUND8K_CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling",
    "engine_idling", "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip


def read_esc(root: Path, name: str) -> DatasetSpec:
    """Reads ESC-50 or its subset ESC-10: a folder `audio` and a CSV beside it or in `meta`.

    The group of a clip is the recording it was cut from: the part of its name between the first two dashes. Its text is
    the title that its author gave it, where the CSV has a column `title`.

    Args:
      root: the folder; "esc10" is also found in a folder of ESC-50, by its column esc10.
      name: "esc10" or "esc50".

    Raises:
      TfaudioError: if the CSV is missing or wrong, or none of the recordings is there.
    """
    tables = [f"{name}.csv", f"meta/{name}.csv"] + (["esc50.csv", "meta/esc50.csv"] if name == "esc10" else [])
    table = find_mark(root, tables)
    subset = name == "esc10" and table.name == "esc50.csv"
    clips: list[Clip] = []
    for line, row in csv_rows(table, required=["filename", "fold", "category"] + ["esc10"] * subset):
        if subset and row["esc10"].lower() != "true":
            continue
        parts = row["filename"].split("-")
        if len(parts) < 3 or not row["fold"].isdecimal() or not row["category"]:
            raise TfaudioError(
                f"{table}, line {line}: expected a filename like 1-100032-A-0.wav, a fold and a category."
            )
        path = as_stored(root / "audio" / row["filename"])
        text = composed(row.get("title", "")) or None
        clips.append(Clip(str(path), row["category"], fold=int(row["fold"]), group=parts[1], text=text))
    return usable_spec(name, clips, [], root)


def read_urbansound8k(root: Path) -> DatasetSpec:
    """Reads UrbanSound8K: `metadata/UrbanSound8K.csv` and `audio/fold1` to `audio/fold10`.

    A well-known copy has the table and the folders of the folds in one folder; that is read too.

    The folds are the official ones; the group of a clip is the recording it was cut from, the first number of its
    name. The table's start and end are places in that recording, not in the clip, and are passed over.

    Raises:
      TfaudioError: if the table is missing, a row has another form or an unknown class, or no recording is there.
    """
    table = find_mark(root, ["metadata/UrbanSound8K.csv", "UrbanSound8K.csv"])
    audio = root / "audio" if (root / "audio").is_dir() else root
    clips: list[Clip] = []
    for line, row in csv_rows(table, required=["slice_file_name", "fold", "class"]):
        name = re.fullmatch(r"(\d+)-(\d)-\d+-\d+\.wav", row["slice_file_name"])
        if not name or not re.fullmatch(r"[1-9]|10", row["fold"]):
            raise TfaudioError(f"{table}, line {line}: expected a name like 100032-3-0-0.wav and a fold of 1 to 10.")
        recording, code = name.groups()
        # The class stands twice: in the name by its number. Rows that were shifted in a spreadsheet show here.
        if row["class"] != URBANSOUND8K_CLASSES[int(code)]:
            raise TfaudioError(
                f"{table}, line {line}: class '{row['class']}' does not fit {row['slice_file_name']}, where {code} "
                f"stands for {URBANSOUND8K_CLASSES[int(code)]}; get the table again."
            )
        path = as_stored(audio / f"fold{row['fold']}" / row["slice_file_name"])
        clips.append(Clip(str(path), row["class"], fold=int(row["fold"]), group=recording))
    return usable_spec("urbansound8k", clips, [], root)


# Of the official split, by the names of its column; the rows of eval.csv have none.
_FSD50K_PARTS = {"train": "train", "val": "validation"}


def read_fsd50k(root: Path) -> DatasetSpec:
    """Reads FSD50K: `FSD50K.ground_truth/dev.csv` and `eval.csv`, `FSD50K.dev_audio` and `FSD50K.eval_audio`.

    A clip has several classes: those that were heard, and those above them in the tree of sounds. The split is the
    official one, in which nobody who uploaded clips is in two parts; who did is the group, where the folder
    `FSD50K.metadata` is there too.

    Raises:
      TfaudioError: if a table is missing, a row has another form, or none of the recordings is there.
    """
    clips: list[Clip] = []
    for part in ("dev", "eval"):
        table = find_mark(root, [f"FSD50K.ground_truth/{part}.csv"])
        about = root / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json"
        uploaders = _fsd50k_uploaders(about)
        for line, row in csv_rows(table, required=["fname", "labels"] + ["split"] * (part == "dev")):
            labels = row["labels"].split(",")
            split = _FSD50K_PARTS.get(row["split"]) if part == "dev" else "test"
            if not row["fname"].isdecimal() or not all(labels) or len(set(labels)) < len(labels) or split is None:
                raise TfaudioError(
                    f'{table}, line {line}: expected a number, labels such as "Bark,Dog" and, in dev.csv, a split '
                    "of train or val; get the table again."
                )
            path = as_stored(root / f"FSD50K.{part}_audio" / f"{row['fname']}.wav")
            label, *also = labels
            group = None
            if uploaders is not None and not (group := uploaders.get(row["fname"])):
                raise TfaudioError(
                    f"{table}, line {line}: {about} does not say who uploaded {row['fname']}; get both again, or "
                    "remove that file."
                )
            clips.append(Clip(str(path), label, split=split, also=tuple(also), group=group))
    return usable_spec("fsd50k", clips, [], root)


def _fsd50k_uploaders(file: Path) -> dict[str, str] | None:
    """Who uploaded each clip, by its number; None where the file is not there.

    Raises:
      TfaudioError: if it is damaged or has another form.
    """
    if not file.is_file():
        return None
    try:
        return {number: composed(about["uploader"]) for number, about in json.loads(file.read_bytes()).items()}
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise TfaudioError(
            f"{file} does not say who uploaded each clip ({type(error).__name__}: {error}); get it again, or remove it."
        ) from error
