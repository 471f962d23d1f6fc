"""Spoken words in background sound: training examples, and long tracks whose words are known.

Words are those of FSDD by its official split, backgrounds the recordings of ESC-10 by its folds; what a track is
tested with, no classifier was trained on. Everything follows from a seed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from tfaudio.runtime.audio import resample

Array = npt.NDArray[np.float32]

RATE = 8_000  # Hz, FSDD's
BACKGROUND = "_background_"
_NOT_SILENT = 1e-5  # root mean square; below, a recording has no level to speak of
_BACKGROUND_DB = (-45.0, -25.0)  # levels below full scale
_SNR_DB = (0.0, 25.0)  # of training words
_CLEAN = 0.15  # share of training words without background


@dataclass(frozen=True)
class Word:
    """A spoken word: float32 [samples] at RATE, and its label."""

    label: str
    waveform: Array


@dataclass(frozen=True)
class Event:
    """A word in a track; seconds."""

    label: str
    start: float
    end: float


def read_words(folder: Path, *, test: bool) -> list[Word]:
    """FSDD's words: 0 to 4 of each speaker and digit are for testing."""
    files = sorted((folder / "recordings").glob("*.wav"))
    chosen = [f for f in files if (int(f.stem.split("_")[2]) < 5) == test]
    return [Word(f.stem.split("_")[0], _read(f)) for f in chosen]


def read_backgrounds(folder: Path, folds: Sequence[int]) -> list[Array]:
    """ESC-10's recordings of some folds; silent ones are left out."""
    with (folder / "esc10.csv").open(encoding="utf-8") as file:
        names = sorted(row["filename"] for row in csv.DictReader(file) if int(row["fold"]) in folds)
    recordings = [_read(folder / "audio" / name) for name in names]
    return [r for r in recordings if _level(r) > _NOT_SILENT]


def training_examples(
    words: Sequence[Word], backgrounds: Sequence[Array], *, seed: int, copies: int = 1, seconds: float = 1.0
) -> Iterator[tuple[str, Array]]:
    """Yields (label, float32 [seconds * RATE]): words whole in background; background alone, and with parts of words.

    A stream meets parts of words all the time, as they move into the window and out of it: what shows less than 40 %
    of a word is background.
    """
    rng, length = np.random.default_rng(seed), round(seconds * RATE)
    for _ in range(copies):
        for word in words:
            background = _background(rng, backgrounds, length)
            if rng.uniform() < _CLEAN:
                background *= 1e-3
            yield word.label, _mixed(rng, word, background, whole=True)
    for _ in range(copies * len(words) // 2):
        yield BACKGROUND, _background(rng, backgrounds, length)
    for _ in range(copies * len(words) // 4):
        word = words[rng.integers(len(words))]
        yield BACKGROUND, _mixed(rng, word, _background(rng, backgrounds, length), whole=False)


def make_track(
    words: Sequence[Word],
    backgrounds: Sequence[Array],
    *,
    seconds: float,
    snr_db: tuple[float, float],
    seed: int,
) -> tuple[Array, list[Event]]:
    """Mixes each word once, at a random time, into backgrounds that follow each other in random order.

    Backgrounds are set to a random level, and repeat until the track is full; the ratio of a word to it is drawn.

    Returns:
      float32 [seconds * RATE], and the words in the order of time, 2 s or more apart.
    """
    rng, length = np.random.default_rng(seed), round(seconds * RATE)
    track = np.zeros(length, np.float32)
    levels = np.zeros(length, np.float32)  # of the background at each sample, root mean square
    place = 0
    while place < length:
        for index in rng.permutation(len(backgrounds)):
            recording = _at_level(rng, backgrounds[index])[: length - place]
            if len(recording) == 0:
                break
            track[place : place + len(recording)] = recording
            levels[place : place + len(recording)] = _level(recording)
            place += len(recording)
    slot = length / len(words)
    events = []
    for number, index in enumerate(rng.permutation(len(words))):
        word = words[index]
        room = int(slot - len(word.waveform) - 2 * RATE)
        if room < 1:
            raise ValueError(f"{len(words)} words do not fit into {seconds:g} s.")
        start = int(number * slot) + int(rng.integers(room))
        stretch = slice(start, start + len(word.waveform))
        level = max(float(levels[stretch].mean()), _NOT_SILENT)
        ratio = 10.0 ** (rng.uniform(*snr_db) / 20.0)
        track[stretch] += word.waveform * (level * ratio / max(_level(word.waveform), _NOT_SILENT))
        events.append(Event(word.label, start / RATE, stretch.stop / RATE))
    return np.clip(track, -1.0, 1.0), events


def _read(path: Path) -> Array:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(samples.mean(axis=1), rate, RATE)


def _level(waveform: Array) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def _at_level(rng: np.random.Generator, recording: Array) -> Array:
    level = 10.0 ** (rng.uniform(*_BACKGROUND_DB) / 20.0)
    return (recording * (level / max(_level(recording), _NOT_SILENT))).astype(np.float32)


def _background(rng: np.random.Generator, backgrounds: Sequence[Array], length: int) -> Array:
    recording = _at_level(rng, backgrounds[rng.integers(len(backgrounds))])
    recording = np.resize(recording, max(len(recording), length))
    start = rng.integers(len(recording) - length + 1)
    return recording[start : start + length].copy()


def _mixed(rng: np.random.Generator, word: Word, background: Array, *, whole: bool) -> Array:
    """The word in the background; without `whole`, less than 40 % of it at one edge."""
    length = len(background)
    waveform = word.waveform[:length]
    if whole:
        start = int(rng.integers(length - len(waveform) + 1))
    else:
        shown = int(len(waveform) * rng.uniform(0.05, 0.4))
        start = shown - len(waveform) if rng.uniform() < 0.5 else length - shown
    begin, end = max(start, 0), min(start + len(waveform), length)
    level = max(_level(background), 10.0 ** (_BACKGROUND_DB[0] / 20.0))
    gain = level * 10.0 ** (rng.uniform(*_SNR_DB) / 20.0) / max(_level(waveform), _NOT_SILENT)
    background[begin:end] += waveform[begin - start : end - start] * gain
    return np.clip(background, -1.0, 1.0)
