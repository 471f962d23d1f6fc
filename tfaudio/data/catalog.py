"""The data sets that can be named, and the readers that turn their files into a `DatasetSpec`.

A reader looks at names and sizes only: no audio is decoded here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tfaudio.config import DataConfig
from tfaudio.data.manifest import csv_rows, read_manifest
from tfaudio.data.spec import (
    AUDIO_EXTENSIONS,
    NOT_AUDIO,
    Clip,
    DatasetSpec,
    Skipped,
    composed,
    usable_spec,
    why_not_audio,
)
from tfaudio.data.synthetic import synthetic_folder
from tfaudio.errors import TfaudioError
from tfaudio.registry import Registry

_SPLIT_NAMES = frozenset(("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"))


@dataclass(frozen=True)
class CatalogEntry:
    """A data set that a configuration can name.

    Args:
      name: the name.
      description: one line for people.
      licence: licence of the recordings.
      url: where to get it; "" for data of the user's own.
      citation: paper or author to name.
      task: what is told apart.
      reader: takes the folder (or file) and returns the data set.
      needs_data_dir: whether the user must say where it lies.
    """

    name: str
    description: str
    licence: str
    url: str
    citation: str
    task: str
    reader: Callable[[Path], DatasetSpec]
    needs_data_dir: bool = True


DATASETS: Registry[CatalogEntry] = Registry("data set")


def read_dataset(config: DataConfig) -> DatasetSpec:
    """Reads the data set that a configuration names.

    Args:
      config: its name and place; with `strict`, a recording that cannot be used raises instead of being
        listed in `DatasetSpec.skipped`. A file that is no audio by its name never raises.

    Raises:
      TfaudioError: if the name is unknown, the folder is missing or does not hold what it should, or
        fewer than two classes are left.
    """
    entry = DATASETS[config.dataset]
    if config.data_dir is not None:
        path = Path(os.path.abspath(Path(config.data_dir).expanduser()))
    elif entry.needs_data_dir:
        raise TfaudioError(f"Data set '{entry.name}' has to be told where it lies; set data.data_dir (--data_dir).")
    else:
        path = synthetic_folder()
    if not path.exists():
        raise TfaudioError(
            f"{path} does not exist; set data.data_dir (--data_dir) to where data set '{entry.name}' lies."
        )
    spec = entry.reader(path)
    unusable = [s for s in spec.skipped if s.reason != NOT_AUDIO]
    if config.strict and unusable:
        raise TfaudioError(
            f"{unusable[0].path}: {unusable[0].reason}; mend or remove it, or set data.strict to false to skip it."
        )
    return replace(spec, description=entry.description, licence=entry.licence)


def read_folder(root: Path) -> DatasetSpec:
    """Reads a folder with one subfolder a class.

    Files in deeper folders count to the class of the top one; the folders between are their group, so that
    `dog/rex/1.wav` and `dog/rex/2.wav` stay together. The group of any other file is its name without the
    extension. Names that begin with a dot are passed over.

    Raises:
      TfaudioError: if there are no class folders, no audio files, or only one class.
    """
    if not root.is_dir():
        raise TfaudioError(f"{root} is not a folder; for a CSV file set data.dataset (--dataset) to 'manifest'.")
    skipped: list[Skipped] = []
    clips: list[Clip] = []
    class_folders: list[Path] = []
    for path in _visible(root, skipped):
        if path.is_dir():
            class_folders.append(path)
        elif path.suffix.lower() in AUDIO_EXTENSIONS:
            skipped.append(Skipped(str(path), "it lies in no class folder"))
    names = {path.name.lower() for path in class_folders}
    if len(names) > 1 and names & {"train", "training"} and names <= _SPLIT_NAMES:
        raise TfaudioError(
            f"The folders of {root} ({', '.join(sorted(names))}) are parts of a split, not classes; list the files "
            "in a CSV with the columns path, label and split, and set data.dataset (--dataset) to 'manifest'."
        )
    if not class_folders:
        raise TfaudioError(f"{root} holds no class folders; put the recordings into one subfolder a class.")
    here = os.path.realpath(root)
    for folder in class_folders:
        before = len(clips)
        for path in files_below(folder, skipped, above=(here,)):
            if reason := why_not_audio(path):
                skipped.append(Skipped(str(path), reason))
                continue
            between = path.parent.relative_to(folder).as_posix()
            group = path.stem if between == "." else between
            clips.append(Clip(str(path), composed(folder.name), group=composed(group)))
        if len(clips) == before:
            skipped.append(Skipped(str(folder), "a class folder without audio files"))
    return usable_spec("folder", clips, skipped, root)


def read_esc(root: Path, name: str) -> DatasetSpec:
    """Reads ESC-50 or its subset ESC-10: a folder `audio` and a CSV beside it or in `meta`.

    The group of a clip is the recording it was cut from: the part of its name between the first two dashes.

    Args:
      root: the folder; "esc10" is also found in a folder of ESC-50, by its column esc10.
      name: "esc10" or "esc50".

    Raises:
      TfaudioError: if the CSV is missing or wrong, or none of the recordings is there.
    """
    tables = [f"{name}.csv", f"meta/{name}.csv"] + (["esc50.csv", "meta/esc50.csv"] if name == "esc10" else [])
    table = next((root / t for t in tables if (root / t).is_file()), None)
    if table is None:
        raise TfaudioError(
            f"{root} holds no {' or '.join(tables)}; set data.data_dir (--data_dir) to the data set's folder."
        )
    subset = name == "esc10" and table.name == "esc50.csv"
    clips: list[Clip] = []
    for line, row in csv_rows(table, required=["filename", "fold", "category"] + ["esc10"] * subset):
        if subset and row["esc10"].lower() != "true":
            continue
        parts = row["filename"].split("-")
        if len(parts) < 3 or not row["fold"].isdigit() or not row["category"]:
            raise TfaudioError(
                f"{table}, line {line}: expected a filename like 1-100032-A-0.wav, a fold and a category."
            )
        path = root / "audio" / row["filename"]
        if not path.exists():  # copies are often stored in another format than the WAV that the table names
            path = next((p for e in sorted(AUDIO_EXTENSIONS) if (p := path.with_suffix(e)).exists()), path)
        clips.append(Clip(str(path), row["category"], fold=int(row["fold"]), group=parts[1]))
    return usable_spec(name, clips, [], root)


def read_fsdd(root: Path) -> DatasetSpec:
    """Reads the Free Spoken Digit Dataset: `recordings/{digit}_{speaker}_{index}.wav`.

    Index 0 to 4 of each speaker and digit is the official test set; the group is the speaker.

    Raises:
      TfaudioError: if there are no recordings.
    """
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for path in _visible(folder, skipped):
        match = re.fullmatch(r"(\d)_(.+)_(\d+)\.wav", path.name)
        if not match:
            skipped.append(
                Skipped(str(path), NOT_AUDIO if why_not_audio(path) else "its name is not DIGIT_SPEAKER_INDEX.wav")
            )
            continue
        digit, speaker, index = match.groups()
        clips.append(Clip(str(path), digit, split="test" if int(index) < 5 else "train", group=speaker))
    return usable_spec("fsdd", clips, skipped, folder)


def _read_synthetic(root: Path) -> DatasetSpec:
    return replace(read_manifest(root), name="synthetic")


def _visible(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """Entries of a folder, sorted, less those that systems hide or cannot name."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        skipped.append(Skipped(str(folder), f"the folder cannot be read ({error.strerror})"))
        return []
    visible = []
    for path in paths:
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        try:
            path.name.encode()
        except UnicodeEncodeError:
            # Such a name could go into no label file, table or JSON.
            printable = str(path).encode("utf-8", "backslashreplace").decode()
            skipped.append(Skipped(printable, "its name is not valid UTF-8; rename it"))
            continue
        visible.append(path)
    return visible


def files_below(folder: Path, skipped: list[Skipped], *, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yields the files of a folder and of the folders in it, sorted; names that begin with a dot are passed over.

    Links are followed, but not round in a circle: a link to a folder that holds the place it is reached from would
    give files a second time, and those of the other classes among them.

    Args:
      folder: to search.
      skipped: takes what cannot be read or named.
      above: real paths of the folders that the walk has come through.
    """
    here = os.path.realpath(folder)
    if any(Path(place).is_relative_to(here) for place in above):
        return
    for path in _visible(folder, skipped):
        if os.path.isdir(path):  # unlike Path.is_dir, it does not raise where a folder lets nobody in
            yield from files_below(path, skipped, above=(*above, here))
        else:
            yield path


_ESC_SOURCE = (
    "https://github.com/karolpiczak/ESC-50",
    'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015',
)

for _entry in (
    CatalogEntry(
        "folder",
        "Your own recordings: one subfolder a class",
        "yours",
        "",
        "",
        "the names of the subfolders",
        read_folder,
    ),
    CatalogEntry(
        "manifest", "Your own recordings, listed in a CSV file", "yours", "", "", "column label", read_manifest
    ),
    CatalogEntry(
        "esc10",
        "ESC-10: 400 environmental clips of 5 s, 10 classes, 5 folds",
        "CC BY 3.0",
        *_ESC_SOURCE,
        "environmental sounds",
        lambda root: read_esc(root, "esc10"),
    ),
    CatalogEntry(
        "esc50",
        "ESC-50: 2,000 environmental clips of 5 s, 50 classes, 5 folds",
        "CC BY-NC 3.0",
        *_ESC_SOURCE,
        "environmental sounds",
        lambda root: read_esc(root, "esc50"),
    ),
    CatalogEntry(
        "fsdd",
        "Free Spoken Digit Dataset: 3,000 spoken digits of 6 speakers at 8 kHz",
        "CC BY-SA 4.0",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        "Z. Jackson et al., Free Spoken Digit Dataset",
        "spoken digits",
        read_fsdd,
    ),
    CatalogEntry(
        "synthetic",
        "Built in: 400 sounds of 1 s made by signal processing, 10 classes, 5 folds",
        "CC0 1.0",
        "",
        "",
        "kinds of sound",
        _read_synthetic,
        needs_data_dir=False,
    ),
):
    DATASETS.register(_entry.name)(_entry)
