"""Recordings of single words joined to strings of words, each string from one speaker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfaudio.config.base import Config, check, check_range

_MOST_WORDS = 64
_MOST_STRINGS = {"per_epoch": 1_000_000, "per_speaker": 10_000}  # the latter are in memory at once


@dataclass(frozen=True, kw_only=True)
class StringConfig(Config):
    """How words are joined.

    Args:
      shortest: words in a string at least.
      longest: words in a string at most.
      longest_gap: seconds of silence between two words at most; there is as much at either end.
      per_epoch: strings in an epoch of training, each drawn anew.
      per_speaker: strings of each speaker to test on.
    """

    section = "strings"

    shortest: int = 1
    longest: int = 6
    longest_gap: float = 0.2
    per_epoch: int = 640
    per_speaker: int = 200

    def check(self) -> None:
        check_range("strings.longest", self.longest, 1, _MOST_WORDS)
        check(
            1 <= self.shortest <= self.longest,
            f"strings.shortest must be 1 to strings.longest ({self.longest}), not {self.shortest}.",
        )
        check_range("strings.longest_gap", self.longest_gap, 0.0, 10.0)
        for name, most in _MOST_STRINGS.items():
            check_range(f"strings.{name}", getattr(self, name), 1, most)


class Spoken(NamedTuple):
    """A string as it sounds, and what is said.

    Args:
      waveform: float32 [samples].
      words: int32 [words], the class of each.
    """

    waveform: npt.NDArray[np.float32]
    words: npt.NDArray[np.int32]


def draw_strings(
    words_of: dict[str, list[tuple[npt.NDArray[np.float32], int]]],
    count: int,
    config: StringConfig,
    sample_rate: int,
    seed: tuple[int, ...],
) -> Iterator[Spoken]:
    """Draws strings of words.

    Args:
      words_of: of each speaker, the waveforms of single words and their classes.
      count: how many strings.
      config: how words are joined.
      sample_rate: Hz.
      seed: the same one gives the same strings.

    Yields:
      the strings, speakers in turn.
    """
    rng = np.random.default_rng(seed)
    speakers = sorted(words_of)
    longest_gap = round(config.longest_gap * sample_rate)
    for number in range(count):
        words = words_of[speakers[number % len(speakers)]]
        chosen = rng.integers(len(words), size=rng.integers(config.shortest, config.longest + 1))
        parts = [np.zeros(rng.integers(longest_gap + 1), np.float32)]
        for index in chosen:
            parts += [words[index][0], np.zeros(rng.integers(longest_gap + 1), np.float32)]
        yield Spoken(np.concatenate(parts), np.array([words[index][1] for index in chosen], np.int32))
