"""Audio files to waveforms in NumPy and libsndfile alone, in blocks: what a device does.

`Resampler` is the streaming twin of `tfaudio.audio.resample`, and `read_windows` gives the windows of
`tfaudio.audio.framing.windows` without holding a recording in memory.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile

from tfaudio.config import RESAMPLER, ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.sound_file import mono_blocks, open_recording, promised_frames

__all__ = ["Resampler", "Waveform", "duration_seconds", "mono_blocks", "open_recording", "read_windows", "resample"]

Waveform = npt.NDArray[np.float32]


class Resampler:
    """Changes the sample rate of a waveform that comes in blocks of any size, with bounded memory.

    The blocks of the result, put together, are the waveform resampled whole: sample k lies at
    k / target_rate seconds, and there are ceil(n * target_rate / source_rate) of them.

    Args:
      source_rate: Hz, above 0.
      target_rate: Hz, above 0.

    >>> resampler = Resampler(44_100, 16_000)
    >>> len(resampler.process(np.zeros(441, np.float32))) + len(resampler.flush())
    160
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        if source_rate < 1 or target_rate < 1:
            raise TfaudioError(f"Sample rates must be at least 1 Hz, not {source_rate} and {target_rate}.")
        divisor = math.gcd(source_rate, target_rate)
        self._up, self._down = target_rate // divisor, source_rate // divisor
        self._reach, self._half = _half_width(self._down, self._up)
        cycles = -(-2 * self._half // self._down)
        self._step, self._outputs = cycles * self._down, cycles * self._up
        self._by_matrix = (self._step + 2 * self._half) * self._outputs <= RESAMPLER.matrix_limit
        self._reset()

    def _reset(self) -> None:
        self._received = 0
        self._produced = 0
        self._first = -self._half  # place in the waveform of the first sample held
        self._held = np.zeros(self._half, np.float32)

    @property
    def delay_samples(self) -> int:
        """Samples of the source that are held back at most, for what follows them or to fill a block."""
        if self._up == self._down:
            return 0
        return self._half + (self._step if self._by_matrix else 1)

    def process(self, block: npt.ArrayLike) -> Waveform:
        """Takes the next samples, float32 [n], and returns those of the result that are final, float32 [m]."""
        block = np.asarray(block, np.float32)
        if self._up == self._down:
            return block
        self._received += len(block)
        self._held = np.concatenate([self._held, block])
        return self._advance()

    def flush(self) -> Waveform:
        """Ends the waveform: returns the rest of the result, and starts afresh."""
        if self._up == self._down:
            return np.zeros(0, np.float32)
        total = -(-self._received * self._up // self._down)
        rest = total - self._produced
        self._held = np.concatenate([self._held, np.zeros(self._step + 2 * self._half, np.float32)])
        result = self._advance()[:rest]
        self._reset()
        return result

    def _advance(self) -> Waveform:
        result = self._matrix_blocks() if self._by_matrix else self._interpolated()
        self._produced += len(result)
        return result

    def _matrix_blocks(self) -> Waveform:
        """Whole blocks of `step` samples, each by one matrix product, as far as the samples held reach."""
        matrix = _matrix(self._down, self._up)
        blocks = (len(self._held) - 2 * self._half) // self._step
        if blocks < 1:
            return np.zeros(0, np.float32)
        # Two products rather than one over frames that overlap, which BLAS does not take.
        here = self._held[: blocks * self._step].reshape(blocks, self._step)
        after = np.lib.stride_tricks.sliding_window_view(self._held[self._step :], 2 * self._half)
        result = (here @ matrix[: self._step] + after[:: self._step][:blocks] @ matrix[self._step :]).reshape(-1)
        self._held = self._held[blocks * self._step :].copy()
        return result

    def _interpolated(self) -> Waveform:
        """Nearly coprime rates: each output's kernel is interpolated between two phases."""
        bank = _bank(self._down, self._up)
        taps = 2 * self._half
        # Output k stands on source samples floor(k * down / up) - half + 1 and the `taps - 1` after it.
        last = self._first + len(self._held) - 1 - self._half
        end = -(-(last + 1) * self._up // self._down) if last >= 0 else 0
        parts = []
        for begin in range(self._produced, end, 1024):
            place = np.arange(begin, min(begin + 1024, end), dtype=np.int64) * self._down
            phase = (place % self._up) * (RESAMPLER.phases / self._up)
            lower = phase.astype(np.int64)
            share = (phase - lower).astype(np.float32)[:, np.newaxis]
            kernel = bank[lower] * (1 - share) + bank[lower + 1] * share
            base = place // self._up - self._half + 1 - self._first
            frames = np.lib.stride_tricks.sliding_window_view(self._held, taps)[base]
            parts.append(np.einsum("ot,ot->o", frames, kernel))
        start = max(end, self._produced) * self._down // self._up - self._half + 1
        spare = max(0, min(start - self._first, len(self._held)))
        self._held, self._first = self._held[spare:].copy(), self._first + spare
        return np.concatenate([*parts, np.zeros(0, np.float32)])


def resample(waveform: npt.ArrayLike, source_rate: int, target_rate: int) -> Waveform:
    """Resamples a whole waveform, float32 [n] to [ceil(n * target_rate / source_rate)]."""
    resampler = Resampler(source_rate, target_rate)
    return np.concatenate([resampler.process(waveform), resampler.flush()])


def _half_width(down: int, up: int) -> tuple[float, int]:
    reach = RESAMPLER.reach(down, up)
    return reach, math.ceil(reach)


def _kernel(distance: npt.NDArray[np.float64], reach: float) -> npt.NDArray[np.float64]:
    position = distance / reach
    window = np.i0(RESAMPLER.kaiser_beta * np.sqrt(np.maximum(1 - position**2, 0)))
    return np.where(np.abs(position) < 1, np.sinc(RESAMPLER.zero_crossings * position) * window, 0.0)


@functools.lru_cache(maxsize=8)
def _matrix(down: int, up: int) -> Waveform:
    """float32 [step + 2 * half, outputs]; its columns are the kernel at each output's place, of sum 1."""
    reach, half = _half_width(down, up)
    cycles = -(-2 * half // down)
    inputs = np.arange(cycles * down + 2 * half) - half
    places = np.arange(cycles * up) * (down / up)
    matrix = _kernel(inputs[:, np.newaxis] - places, reach)
    return (matrix / matrix.sum(axis=0)).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _bank(down: int, up: int) -> Waveform:
    """float32 [phases + 1, 2 * half]; row p is the kernel p / phases of a sample behind its middle."""
    reach, half = _half_width(down, up)
    phases = np.arange(RESAMPLER.phases + 1)[:, np.newaxis] / RESAMPLER.phases
    bank = _kernel(np.arange(2 * half) - (half - 1) - phases, reach)
    return (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)


def read_windows(
    file: str | os.PathLike[str] | IO[bytes], *, sample_rate: int, clip: ClipConfig
) -> Iterator[tuple[float, Waveform]]:
    """Reads a recording of any length window by window, in bounded memory.

    The windows are those of `tfaudio.audio.framing.windows`, as many as `ClipConfig.num_windows` says.

    Args:
      file: path, or binary file object (a pipe too).
      sample_rate: Hz; the recording is resampled to it.
      clip: length and hop of the windows; with `seconds` None, the recording is yielded whole, once.

    Yields:
      (start in seconds, float32 [num_samples]).

    Raises:
      TfaudioError: if the recording cannot be used; where that shows only in decoding, after the windows
        before the damage.
    """
    name = _name(file)
    with open_recording(file, name) as sound:
        blocks = _resampled(sound, name, sample_rate)
        if clip.seconds is None:
            yield 0.0, np.concatenate(list(blocks))
            return
        window, hop = clip.num_samples(sample_rate), clip.hop_samples(sample_rate)
        held, start, end, index = np.zeros(0, np.float32), 0, 0, 0  # held is the waveform from start to end
        for block in blocks:
            held, end = np.concatenate([held, block]), end + len(block)
            while index * hop + window <= end:
                first = index * hop - start
                yield index * hop / sample_rate, held[first : first + window].copy()
                index += 1
            spare = min(max(index * hop - start, 0), len(held))
            held, start = held[spare:], start + spare
        while index < clip.num_windows(end, sample_rate):
            rest = held[index * hop - start :]
            yield index * hop / sample_rate, _fill(rest, window, clip.short)
            index += 1


def duration_seconds(file: str | os.PathLike[str]) -> float | None:
    """Length of a recording by its header, or None where it cannot be known; for progress bars.

    >>> duration_seconds("missing.wav") is None
    True
    """
    try:
        with open_recording(file, str(file)) as sound:
            frames = promised_frames(sound)
            return None if frames is None else frames / sound.samplerate
    except TfaudioError:
        return None


def _name(file: Any) -> str:
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else "The audio stream"


def _resampled(sound: soundfile.SoundFile, name: str, sample_rate: int) -> Iterator[Waveform]:
    resampler = Resampler(sound.samplerate, sample_rate)
    for block in mono_blocks(sound, name):
        yield resampler.process(block)
    yield resampler.flush()


def _fill(waveform: Waveform, num_samples: int, short: str) -> Waveform:
    if short == "tile" and len(waveform):
        return np.resize(waveform, num_samples)
    return np.pad(waveform, (0, num_samples - len(waveform)))
