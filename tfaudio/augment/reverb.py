"""Reverberation: a waveform in a room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfaudio.augment.room import make_responses
from tfaudio.augment.sounds import SoundBank
from tfaudio.config.augment import ReverbConfig


def usable_response(
    response: npt.NDArray[np.float32], *, sample_rate: int, longest_seconds: float
) -> npt.NDArray[np.float32]:
    """Brings an impulse response to the form in which it changes neither time nor loudness.

    It begins with its largest sample, the direct sound, and has an energy of 1, which leaves the power of white noise
    as it is.

    Args:
      response: float32 [n], not all zeros.
      sample_rate: Hz.
      longest_seconds: what follows is cut off.

    Returns:
      float32 [at most n].
    """
    direct = int(np.argmax(np.abs(response)))
    response = response[direct : direct + max(1, round(longest_seconds * sample_rate))]
    return (response / np.sqrt(np.sum(np.square(response, dtype=np.float64)))).astype(np.float32)


def response_bank(
    config: ReverbConfig, sample_rate: int, seed: int, recorded: Sequence[npt.NDArray[np.float32]] | None
) -> SoundBank:
    """Collects the impulse responses that examples draw from.

    Args:
      config: where they come from.
      sample_rate: Hz.
      seed: of those that are made.
      recorded: those of config.dir, where config.source is "files".
    """
    responses = recorded if recorded is not None else make_responses(config, sample_rate, seed)
    longest = config.longest_seconds
    return SoundBank([usable_response(r, sample_rate=sample_rate, longest_seconds=longest) for r in responses])
