"""Training, validation and test sets: by the official columns, or by a hash of the group.

No split depends on the order of the files, on a random state or on the machine, and no split by hash
tears a group (a speaker, a source recording) apart: such a result would be flattered by what the
classifier remembers of the group.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

from tfaudio.data.spec import Clip, DatasetSpec
from tfaudio.errors import TfaudioError
from tfaudio.registry import unknown_name_message

_TEST_SALT = "tfaudio test 1"
# Another salt than the test's, or the validation groups would be those that came next to the test set.
_VALIDATION_SALT = "tfaudio validation 1"


@dataclass(frozen=True)
class Split:
    """The three parts of a data set.

    Args:
      train: clips to learn from.
      validation: clips for early stopping and the choice of a checkpoint; may be empty.
      test: clips that are only measured on.
      rule: how the parts were found, for people.
    """

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]
    rule: str

    def names(self, spec: DatasetSpec) -> dict[str, list[str]]:
        """Returns the relative paths of each part's clips: what a run folder keeps of its split."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: [spec.relative_path(clip) for clip in clips] for part, clips in parts.items()}


def hash_fraction(group: str, salt: str = "") -> float:
    """Maps a name to a number in [0, 1), evenly, and the same on every machine.

    >>> hash_fraction("a") == hash_fraction("a"), 0 <= hash_fraction("a", "salt") < 1
    (True, True)
    """
    digest = hashlib.sha256(f"{salt}\0{group}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: more would round up to 1.0


def split_dataset(
    spec: DatasetSpec,
    *,
    test_fold: int | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    train_on_all: bool = False,
) -> Split:
    """Splits a data set by the first rule that it allows.

    0. `train_on_all`: nothing is tested on.
    1. `test_fold`: the official fold of that number is the test set.
    2. An official split column: its test clips are the test set, its validation clips (if it marks any)
       the validation set.
    3. Otherwise the groups of each class are ranked by a hash of their names, and the first
       `test_fraction` of them (rounded, at least one) are the test set. A group that holds several classes
       goes to one side whole, so such classes may get more than their share. No group is taken that is the
       last of one of its classes, so every class can be learnt: a class of a single group is not tested.

    Validation clips come out of the training clips by rule 3, with `validation_fraction` and another salt.

    Args:
      spec: the data set.
      test_fold: one of `spec.folds`, or None.
      test_fraction: share of the groups of each class, in (0, 1); rule 3 only.
      validation_fraction: share of the remaining groups of each class, in [0, 1); 0 holds none out.
      train_on_all: what official columns call test or validation is trained on too.

    Raises:
      TfaudioError: if the fold is unknown, or no clip is left to train, to validate or to test on.
    """
    rest: list[Clip]
    test: list[Clip]
    if train_on_all:
        rest, test, rule = list(spec.clips), [], "test: none"
    elif test_fold is not None:
        _check_fold(spec, test_fold)
        rest = [clip for clip in spec.clips if clip.fold != test_fold]
        test = [clip for clip in spec.clips if clip.fold == test_fold]
        rule = f"test: official fold {test_fold}"
    elif spec.has_official_split:
        rest = [clip for clip in spec.clips if clip.split != "test"]
        test = [clip for clip in spec.clips if clip.split == "test"]
        rule = "test: official split"
        if not test:
            raise TfaudioError(
                f"The split column of data set '{spec.name}' marks no usable recording as 'test'; mark some, or "
                "remove the column to split by a hash of the group."
            )
    else:
        rest, test = _hold_out(spec, spec.clips, test_fraction, _TEST_SALT)
        rule = f"test: {test_fraction:g} of the groups of each class, by hash"
        if not test:
            raise TfaudioError(
                f"No class of data set '{spec.name}' has two groups of recordings, so nothing can be held out for "
                "testing; add recordings, or name the groups, folds or the split in a manifest."
            )
    if not rest:
        raise TfaudioError(f"All recordings of data set '{spec.name}' are test data; mark some for training.")

    by_column = test_fold is None and not train_on_all
    official = [clip for clip in rest if clip.split == "validation"] if by_column else []
    if official:
        train, validation = [clip for clip in rest if clip.split != "validation"], official
        rule += "; validation: official split"
        if not train:
            raise TfaudioError(f"The split column of data set '{spec.name}' marks nothing as 'train'; mark some.")
    else:
        train, validation, note = _hold_out_validation(spec, rest, validation_fraction)
        rule += note
    return Split(tuple(train), tuple(validation), tuple(test), rule)


def leave_group_out(spec: DatasetSpec, group: str, *, validation_fraction: float = 0.0) -> Split:
    """Returns the split with one group as the test set, as leave-one-group-out has one for each.

    Official folds and splits play no part.

    Args:
      spec: the data set.
      group: to test on.
      validation_fraction: share of the training groups of each class to hold out by hash.

    Raises:
      TfaudioError: if there is no such group or no other one, or no clip is left to validate on.
    """
    groups = sorted({spec.group_of(clip) for clip in spec.clips})
    if len(groups) < 2:
        raise TfaudioError(
            f"Data set '{spec.name}' has {len(groups)} group of recordings, so none can be left out; name the "
            "groups in a manifest, or choose another protocol."
        )
    if group not in groups:
        raise TfaudioError(unknown_name_message(f"group of data set '{spec.name}'", group, groups))
    test = tuple(clip for clip in spec.clips if spec.group_of(clip) == group)
    rest = [clip for clip in spec.clips if spec.group_of(clip) != group]
    train, validation, note = _hold_out_validation(spec, rest, validation_fraction)
    return Split(tuple(train), tuple(validation), test, f"test: group '{group}'" + note)


def _check_fold(spec: DatasetSpec, fold: int) -> None:
    if not spec.folds:
        raise TfaudioError(f"Data set '{spec.name}' has no official folds; leave out the test fold {fold}.")
    if fold not in spec.folds:
        raise TfaudioError(
            f"Data set '{spec.name}' has no fold {fold}; its folds are {', '.join(map(str, spec.folds))}."
        )


def _hold_out_validation(
    spec: DatasetSpec, clips: Iterable[Clip], fraction: float
) -> tuple[list[Clip], list[Clip], str]:
    if fraction == 0:
        return list(clips), [], "; no validation"
    train, validation = _hold_out(spec, clips, fraction, _VALIDATION_SALT)
    if not validation:
        raise TfaudioError(
            f"No class of data set '{spec.name}' has two groups of training recordings, so none can be held out for "
            "validation; add recordings, or set data.validation_fraction to 0."
        )
    return train, validation, f"; validation: {fraction:g} of the training groups of each class, by hash"


def _hold_out(spec: DatasetSpec, clips: Iterable[Clip], fraction: float, salt: str) -> tuple[list[Clip], list[Clip]]:
    """Returns the clips that stay and those held out, in their order; see rule 3 of `split_dataset`."""
    clips = list(clips)
    groups_of: dict[str, set[str]] = {}
    classes_of: dict[str, set[str]] = {}
    for clip in clips:
        group = spec.group_of(clip)
        for label in clip.labels:
            groups_of.setdefault(label, set()).add(group)
        classes_of.setdefault(group, set()).update(clip.labels)
    held: set[str] = set()
    remaining = {label: len(groups) for label, groups in groups_of.items()}
    # Classes with few groups choose first: what they need cannot be taken from a common class as easily.
    for label in sorted(groups_of, key=lambda name: (len(groups_of[name]), name)):
        groups = groups_of[label]
        wanted = max(1, math.floor(fraction * len(groups) + 0.5))
        for group in sorted(groups, key=lambda name: (hash_fraction(name, salt), name)):
            if len(groups) - remaining[label] >= wanted:
                break
            if group in held or any(remaining[other] == 1 for other in classes_of[group]):
                continue
            held.add(group)
            for other in classes_of[group]:
                remaining[other] -= 1
    stay = [clip for clip in clips if spec.group_of(clip) not in held]
    return stay, [clip for clip in clips if spec.group_of(clip) in held]
