"""Decoding one clip without TensorFlow, and what is measured of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfaudio.data.spec import Clip
from tfaudio.sound_file import DecodeError, open_recording, read_bytes, read_stretch, seekable_frames

SILENCE_DB = -60.0  # full scale is 0
CLIPPED_LEVEL = 0.999
_LOWEST_DB = -120.0
_FRAME_SECONDS = 0.02


@dataclass(frozen=True)
class Measures:
    """What is measured of a clip.

    Args:
      seconds: its length.
      sample_rate: Hz, of the file.
      peak_db: largest sample, dB of full scale; -120 at the least.
      level_db: root mean square, likewise.
      clipped: share of the samples at full scale.
      silent: share of frames of 20 ms below -60 dB.
      digest: sha256, hex, of the rate and the decoded samples.
    """

    seconds: float
    sample_rate: int
    peak_db: float
    level_db: float
    clipped: float
    silent: float
    digest: str


def read_clip(clip: Clip) -> tuple[npt.NDArray[np.float32], int]:
    """Decodes a clip: float32 [n] at the rate of the file, and that rate in Hz.

    Of a part of a file no more is decoded, where the format lets one go to a sample: some cut an hour into a thousand.

    Raises:
      DecodeError: if it cannot be read, or no sample lies between its start and its end.
      OSError: if the disk fails.
    """
    if clip.start is None and clip.end is None:
        return read_bytes(Path(clip.path).read_bytes(), clip.path)
    with open_recording(clip.path, clip.path) as sound:
        rate, length = sound.samplerate, seekable_frames(sound)
        if length is None:
            waveform = read_bytes(Path(clip.path).read_bytes(), clip.path)[0]
            return waveform[slice(*_samples_of(clip, rate, len(waveform)))], rate
        return read_stretch(sound, clip.path, *_samples_of(clip, rate, length)), rate


def _samples_of(clip: Clip, rate: int, length: int) -> tuple[int, int]:
    """First sample of a clip in a file of this length, and the one after its last."""
    begin = round((clip.start or 0.0) * rate)
    end = length if clip.end is None else min(length, round(clip.end * rate))
    if begin >= end:
        until = "its end" if clip.end is None else f"{clip.end:g} s"
        raise DecodeError(f"{clip.path} has no samples from {clip.start or 0.0:g} s to {until}; mend start and end.")
    return begin, end


def measure(waveform: npt.NDArray[np.float32], sample_rate: int) -> Measures:
    """Measures a waveform, float32 [n], n > 0, of this rate in Hz."""
    magnitude = np.abs(waveform)
    frame = min(len(waveform), max(1, round(_FRAME_SECONDS * sample_rate)))
    starts = np.arange(0, len(waveform) - frame + 1, frame)
    power = np.square(waveform)
    frames = np.add.reduceat(power[: starts[-1] + frame], starts, dtype=np.float64) / frame
    return Measures(
        seconds=len(waveform) / sample_rate,
        sample_rate=sample_rate,
        peak_db=_decibels(float(magnitude.max())),
        level_db=_decibels(float(np.sqrt(power.mean(dtype=np.float64)))),
        clipped=float((magnitude >= CLIPPED_LEVEL).mean()),
        silent=float((frames < 10 ** (SILENCE_DB / 10)).mean()),
        digest=hashlib.sha256(f"{sample_rate} ".encode() + waveform.astype("<f4").tobytes()).hexdigest(),
    )


def _decibels(amplitude: float) -> float:
    return max(_LOWEST_DB, 20 * float(np.log10(max(amplitude, 1e-30))))
