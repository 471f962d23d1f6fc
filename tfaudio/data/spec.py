"""What a data set is: one row a clip, and the names of its classes; and which files can be a clip."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap

# What libsndfile reads, by the name of the file.
AUDIO_EXTENSIONS = frozenset((".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3")) | frozenset(
    (".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64")
)
# Audio that libsndfile cannot read: worth another word than a text file that lies about.
_FOREIGN_EXTENSIONS = frozenset((".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".ape", ".wv", ".mka"))
NOT_AUDIO = "not an audio file by its name"
# Between the classes of one clip, wherever they stand in one cell or line.
LABEL_SEPARATOR = ";"


@dataclass(frozen=True)
class Clip:
    """One labelled recording, or a part of one.

    Args:
      path: absolute path of the file.
      label: name of its class.
      fold: official fold of cross-validation, if the data set has folds.
      split: "train", "validation" or "test", if the data set has an official split.
      group: what must not be torn apart by a split: a speaker, a source recording, a session.
      text: what is said in it or written about it, if it is known.
      start: seconds from the beginning of the file at which the clip starts; None is the beginning.
      end: seconds from the beginning of the file at which the clip ends; None is the end of the file.
      also: further classes of the clip, where it has several.
    """

    path: str
    label: str
    fold: int | None = None
    split: str | None = None
    group: str | None = None
    text: str | None = None
    start: float | None = None
    end: float | None = None
    also: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All classes of the clip, `label` first."""
        return (self.label, *self.also)

    @property
    def label_text(self) -> str:
        """All classes of the clip as one text, for tables and messages."""
        return LABEL_SEPARATOR.join(self.labels)


@dataclass(frozen=True)
class Skipped:
    """A file that is left out.

    Args:
      path: absolute path of the file or folder.
      reason: why, as the end of a sentence that begins with the path.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: its clips in a fixed order, and its classes.

    Args:
      name: name in the catalogue.
      clips: one entry a clip; sorted by path and start here, whatever the order given.
      labels: the classes; every clip's labels are among them.
      description: one line for people.
      licence: licence of the recordings.
      skipped: files that were found and left out.

    Raises:
      ValueError: if a label of a clip is not among the labels.
      TfaudioError: if a clip has a label twice, or clips have several and one of them holds what separates them.

    >>> clips = (Clip("/d/b.wav", "dog", fold=2), Clip("/d/a.wav", "cat", fold=1))
    >>> spec = DatasetSpec("pets", clips, LabelMap(("cat", "dog")))
    >>> spec.clips[0].label, spec.folds, spec.relative_path(spec.clips[0])
    ('cat', (1, 2), 'a.wav')
    """

    name: str
    clips: tuple[Clip, ...]
    labels: LabelMap
    description: str = ""
    licence: str = ""
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        unknown = {label for clip in self.clips for label in clip.labels} - set(self.labels.names)
        if unknown:
            raise ValueError(f"Clips carry labels that are not among the classes: {', '.join(sorted(unknown))}.")
        if self.multi_label:
            self._check_labels()
        # The order that a file system or a CSV happens to give must decide nothing later on.
        object.__setattr__(self, "clips", tuple(sorted(self.clips, key=lambda c: (c.path, c.start or 0.0, c.end or 0))))

    def _check_labels(self) -> None:
        for name in self.labels:
            if LABEL_SEPARATOR in name:
                raise TfaudioError(
                    f"Class name '{name}' of data set '{self.name}' holds a '{LABEL_SEPARATOR}', which separates the "
                    "labels of a clip that has several; rename the class."
                )
        for clip in self.clips:
            if len(set(clip.labels)) < len(clip.labels):
                raise TfaudioError(f"{clip.path} has a label twice ({clip.label_text}); remove one of them.")

    @property
    def multi_label(self) -> bool:
        """Whether a clip has several classes."""
        return any(clip.also for clip in self.clips)

    @property
    def folds(self) -> tuple[int, ...]:
        """The official folds in ascending order; empty if there are none."""
        return tuple(sorted({clip.fold for clip in self.clips if clip.fold is not None}))

    @property
    def has_official_split(self) -> bool:
        """Whether clips are marked as training or test data by the data set itself."""
        return any(clip.split is not None for clip in self.clips)

    def class_counts(self, clips: Iterable[Clip] | None = None) -> dict[str, int]:
        """Counts clips per class, in the order of the labels; absent classes count 0, and a clip in each of its own.

        Args:
          clips: the clips to count, such as one part of a split; None counts all.
        """
        counts = dict.fromkeys(self.labels, 0)
        for clip in self.clips if clips is None else clips:
            for label in clip.labels:
                counts[label] += 1
        return counts

    @cached_property
    def root(self) -> str:
        """The deepest folder that holds all clips; "" if there is none (two drives, no clips)."""
        try:
            return os.path.commonpath({os.path.dirname(clip.path) for clip in self.clips})
        except ValueError:
            return ""

    def relative_path(self, clip: Clip) -> str:
        """Path below `root` with forward slashes: the same on every machine that holds the data."""
        return Path(os.path.relpath(clip.path, self.root) if self.root else clip.path).as_posix()

    def group_of(self, clip: Clip) -> str:
        """The clip's group; a clip without one is a group of its own file."""
        return clip.group if clip.group is not None else self.relative_path(clip)

    def fingerprint(self, *, with_text: bool = False) -> str:
        """Identifies what is trained and tested on: sha256, hex, over each clip's relative path, label, fold,
        split, group, start, end and, where it has some, further labels; and `with_text`, for a model that reads it, its
        text. It is the same on every machine, and does not look at the audio itself."""
        digest = hashlib.sha256()
        for clip in self.clips:
            row: list[Any] = [
                self.relative_path(clip),
                clip.label,
                clip.fold,
                clip.split,
                clip.group,
                clip.start,
                clip.end,
            ]
            row += [list(clip.also)] if clip.also else []  # stored figures name the digests of rows without
            row += [clip.text] * with_text
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()


def why_not_audio(path: Path) -> str | None:
    """Says why a file cannot be a recording, by its name alone; None if it can."""
    extension = path.suffix.lower()
    if extension in AUDIO_EXTENSIONS:
        return None
    if extension in _FOREIGN_EXTENSIONS:
        return f"{extension} files cannot be decoded; convert them to WAV or FLAC"
    return NOT_AUDIO


def why_unusable(path: str) -> str | None:
    """Says why a file cannot be read, without opening it; None if nothing speaks against it."""
    if not os.path.exists(path):
        return "a symbolic link to a file that does not exist" if os.path.islink(path) else "the file does not exist"
    if not os.path.isfile(path):
        return "not a regular file"
    if not os.path.getsize(path):
        return "the file is empty"
    return None if os.access(path, os.R_OK) else "the file may not be read"


def composed(name: str) -> str:
    """Gives accented letters one form: macOS stores names decomposed, keyboards type them composed."""
    return unicodedata.normalize("NFC", name)


def usable_spec(name: str, clips: Iterable[Clip], skipped: Iterable[Skipped], source: Path) -> DatasetSpec:
    """Makes a data set of what a reader found: sorts out files that cannot be used, refuses what cannot be learnt.

    Args:
      name: of the data set.
      clips: all that were found.
      skipped: what the reader has left out already.
      source: the file or folder that was read, for messages.

    Raises:
      TfaudioError: if no file is usable, or all are of one class.
    """
    usable: list[Clip] = []
    left_out = list(skipped)
    for clip in clips:
        if reason := why_unusable(clip.path):
            left_out.append(Skipped(clip.path, reason))
        else:
            usable.append(clip)
    if not usable:
        example = f" ({left_out[0].path}: {left_out[0].reason})" if left_out else ""
        raise TfaudioError(f"{source} leads to no usable audio files{example}; check data.data_dir (--data_dir).")
    labels = LabelMap.from_labels(label for clip in usable for label in clip.labels)
    if len(labels) < 2:
        raise TfaudioError(f"{source} has only the class '{labels[0]}'; a classifier needs at least two classes.")
    return DatasetSpec(name, tuple(usable), labels, skipped=tuple(sorted(left_out, key=lambda s: s.path)))
