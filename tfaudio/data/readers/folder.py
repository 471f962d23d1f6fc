"""A folder of recordings with one subfolder a class."""

from __future__ import annotations

import os
from pathlib import Path

from tfaudio.data.readers.walk import files_below, visible
from tfaudio.data.spec import (
    AUDIO_EXTENSIONS,
    Clip,
    DatasetSpec,
    Skipped,
    composed,
    usable_spec,
    why_not_audio,
    why_unusable,
)
from tfaudio.errors import TfaudioError

_SPLIT_NAMES = frozenset(("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"))


def unlabelled_clips(root: Path, skipped: list[Skipped]) -> tuple[Clip, ...]:
    """Returns every recording of a folder and of the folders in it, sorted; their label is empty.

    Args:
      root: to search.
      skipped: takes what cannot be used.

    Raises:
      TfaudioError: if there is no such folder, or no recording in it.
    """
    if not root.is_dir():
        raise TfaudioError(f"{root} is not a folder; name one with recordings by data.data_dir (--data_dir).")
    clips = []
    for path in files_below(root, skipped):
        if reason := why_not_audio(path) or why_unusable(str(path)):
            skipped.append(Skipped(str(path), reason))
        else:
            clips.append(Clip(str(path), ""))
    if not clips:
        raise TfaudioError(f"{root} holds no usable recordings; check data.data_dir (--data_dir).")
    return tuple(clips)


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
    for path in visible(root, skipped):
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
