"""Spoken words: the Free Spoken Digit Dataset, and Speech Commands in both versions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from tfaudio.data.readers.walk import find_mark, visible
from tfaudio.data.spec import NOT_AUDIO, Clip, DatasetSpec, Skipped, usable_spec, why_not_audio, why_unusable
from tfaudio.data.split import hash_fraction
from tfaudio.errors import TfaudioError

_TARGETS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_OTHERS = ("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow")
_ADDED = ("backward", "follow", "forward", "learn", "visual")  # in version 2
WORDS_OF_VERSION = {1: (*_TARGETS, *_DIGITS, *_OTHERS), 2: (*_TARGETS, *_DIGITS, *_OTHERS, *_ADDED)}
SILENCE, UNKNOWN = "_silence_", "_unknown_"

_NOISE_FOLDER = "_background_noise_"
# Whole recordings of noise are held out, so that none is heard on both sides.
_HELD_OUT_NOISE = {"running_tap": "test", "dude_miaowing": "validation"}
_WINDOW_SECONDS, _HOP_SECONDS = 1.0, 0.5
_UNKNOWN_SALT = "tfaudio unknown words 1"
_SHARES = (("validation", 0.1), ("test", 0.2))  # upper ends


def read_fsdd(root: Path) -> DatasetSpec:
    """Reads the Free Spoken Digit Dataset: `recordings/{digit}_{speaker}_{index}.wav`.

    Index 0 to 4 of each speaker and digit is the official test set; the group is the speaker.

    Raises:
      TfaudioError: if there are no recordings.
    """
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for path in visible(folder, skipped):
        match = re.fullmatch(r"(\d)_(.+)_(\d+)\.wav", path.name)
        if not match:
            skipped.append(
                Skipped(str(path), NOT_AUDIO if why_not_audio(path) else "its name is not DIGIT_SPEAKER_INDEX.wav")
            )
            continue
        digit, speaker, index = match.groups()
        clips.append(Clip(str(path), digit, split="test" if int(index) < 5 else "train", group=speaker))
    return usable_spec("fsdd", clips, skipped, folder)


def read_speech_commands(root: Path, version: int, *, keywords: bool = False) -> DatasetSpec:
    """Reads Speech Commands: one folder a word, files `{speaker}_nohash_{index}.wav`, and `_background_noise_`.

    The split is the published one, by a hash of the speaker; the group is the speaker.

    Args:
      root: the folder.
      version: 1 (30 words) or 2 (35 words).
      keywords: the task of twelve classes. Ten words keep their names. The others become `_unknown_`: in each part of
        the split as many of them as the mean of the ten words, chosen by a hash of the name. Background noise becomes
        `_silence_`: windows of one second, one every half second, as clips with start and end. One recording of noise
        is test data, another validation data, the rest training data.

    Raises:
      TfaudioError: if folders of words are missing, or there are some of the other version.

    Source: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018.
    """
    skipped: list[Skipped] = []
    words = WORDS_OF_VERSION[version]
    _check_words(root, version)
    clips: list[Clip] = []
    for word in words:
        for path in visible(root / word, skipped):
            match = re.fullmatch(r"(.+)_nohash_\d+\.wav", path.name)
            if match:
                clips.append(Clip(str(path), word, split=_part_of(match[1]), group=match[1], text=word))
            else:
                reason = NOT_AUDIO if why_not_audio(path) else "its name is not SPEAKER_nohash_INDEX.wav"
                skipped.append(Skipped(str(path), reason))
    name = f"speech_commands_v{version}"
    if keywords:
        named = [clip for clip in clips if clip.label in _TARGETS]
        clips = named + _unknown(named, [clip for clip in clips if clip.label not in _TARGETS])
        clips += _silence(root / _NOISE_FOLDER, skipped)
        name += "_12"
    return usable_spec(name, clips, skipped, root)


def _check_words(root: Path, version: int) -> None:
    present = {path.name for path in visible(root, []) if path.is_dir()} if root.is_dir() else set()
    missing = [word for word in WORDS_OF_VERSION[version] if word not in present]
    if not missing and (version == 2 or not present & set(_ADDED)):
        return
    if not present & set(WORDS_OF_VERSION[2]):
        find_mark(root, [WORDS_OF_VERSION[version][0]])  # says where they are, if they are near
    other = 3 - version
    if set(WORDS_OF_VERSION[other]) <= present and (other == 2 or not present & set(_ADDED)):
        raise TfaudioError(
            f"{root} holds the words of version {other} of Speech Commands; set data.dataset (--dataset) to "
            f"'speech_commands_v{other}' or 'speech_commands_v{other}_12'."
        )
    if not missing:
        raise TfaudioError(
            f"{root} holds words of version 2 of Speech Commands ({', '.join(sorted(present & set(_ADDED)))}) but not "
            "all of them; unpack one archive alone into an empty folder."
        )
    raise TfaudioError(
        f"{root} lacks {len(missing)} of the {len(WORDS_OF_VERSION[version])} folders of words ({missing[0]} first); "
        "set data.data_dir (--data_dir) to the folder that holds them, or unpack the archive again."
    )


def _part_of(speaker: str) -> str:
    """The published rule: SHA-1 of the speaker, taken modulo 2^27, in percent of 2^27 - 1."""
    largest = 2**27 - 1
    share = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16) % (largest + 1) / largest
    return next((part for part, end in _SHARES if share < end), "train")


def _unknown(named: list[Clip], others: list[Clip]) -> list[Clip]:
    """As many of the other words, in each part, as one of the ten has on average."""
    chosen = []
    for part in ("train", "validation", "test"):
        wanted = round(sum(clip.split == part for clip in named) / len(_TARGETS))
        candidates = [clip for clip in others if clip.split == part]
        candidates.sort(key=lambda clip: hash_fraction(f"{clip.text}/{Path(clip.path).name}", _UNKNOWN_SALT))
        # Without the word: as text beside the sound it would say that it is none of the ten.
        chosen += [replace(clip, label=UNKNOWN, text=None) for clip in candidates[:wanted]]
    return chosen


def _silence(folder: Path, skipped: list[Skipped]) -> list[Clip]:
    recordings = [path for path in visible(folder, skipped) if not why_not_audio(path)] if folder.is_dir() else []
    if not recordings:
        raise TfaudioError(
            f"{folder} holds no recordings, from which the class {SILENCE} is cut; unpack the archive again, or take "
            "the data set without '_12' at the end of its name."
        )
    import soundfile  # needs a system library, which other data sets do not ask for

    clips = []
    for path in recordings:
        try:
            reason = why_unusable(str(path))
            seconds = 0.0 if reason else soundfile.info(path).duration  # of its header; nothing is decoded
        except soundfile.LibsndfileError as error:
            reason = f"its length cannot be read ({error.error_string.strip().rstrip('.')})"
        if reason:
            skipped.append(Skipped(str(path), reason))
            continue
        part = _HELD_OUT_NOISE.get(path.stem, "train")
        for index in range(int((seconds - _WINDOW_SECONDS) / _HOP_SECONDS) + 1 if seconds >= _WINDOW_SECONDS else 0):
            start = index * _HOP_SECONDS
            clips.append(
                Clip(str(path), SILENCE, split=part, group=path.stem, start=start, end=start + _WINDOW_SECONDS)
            )
    return clips
