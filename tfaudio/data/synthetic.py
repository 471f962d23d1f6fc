"""Ten kinds of sound made by signal processing, and mixtures of them: data that need no download.

The kinds are easy to tell by ear and not trivially so by their spectra: pitch, length, onset, level and
background are drawn at random, their bands overlap, and two pairs differ in their course in time alone
(rising and falling sweeps; regular clicks and irregular crackle).
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfaudio.errors import TfaudioError
from tfaudio.files import folder_written_whole, write_atomically
from tfaudio.registry import unknown_name_message

# Raise it with any change to the sounds: the cached copy of the data set carries it in its name.
SYNTHETIC_VERSION = 1
NUM_FOLDS = 5
_MIXTURES = 0x7A65  # keeps the draws of mixtures apart from those of sounds
# An unfinished copy of the data set of this age belongs to nobody any more.
_LEFTOVER_SECONDS = 24 * 3600

Waveform = NDArray[np.float64]
Maker = Callable[[np.random.Generator, int, int], Waveform]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draws evenly on a logarithmic scale, as pitch and tempo are heard."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _oscillator(frequency: float | Waveform, num_samples: int, sample_rate: int) -> Waveform:
    """Sine of a fixed or moving frequency in Hz; silent where it would pass half the sample rate."""
    frequency = np.broadcast_to(np.asarray(frequency, dtype=np.float64), (num_samples,))
    return np.sin(2 * np.pi * np.cumsum(frequency) / sample_rate) * (frequency < 0.45 * sample_rate)


def _harmonics(rng: np.random.Generator, frequency: float | Waveform, num_samples: int, sample_rate: int) -> Waveform:
    """A tone with one to five harmonics that fall off at random."""
    slope, count = rng.uniform(0.7, 2.0), rng.integers(1, 6)
    tones = [_oscillator(k * frequency, num_samples, sample_rate) / k**slope for k in range(1, int(count) + 1)]
    return np.sum(tones, axis=0)


def _pulses(num_samples: int, positions: Waveform, weights: Waveform) -> Waveform:
    """Unit impulses of these weights at these positions, in samples."""
    signal = np.zeros(num_samples)
    index = positions.astype(np.int64)
    inside = index < num_samples
    np.add.at(signal, index[inside], weights[inside])
    return signal


def _click(rng: np.random.Generator, sample_rate: int, low: float, high: float) -> Waveform:
    """One short resonance between these frequencies in Hz, of 2 to 12 ms."""
    n = max(8, int(0.03 * sample_rate))
    time = np.arange(n) / sample_rate
    ring = _oscillator(_log_uniform(rng, low, high), n, sample_rate)
    return (0.7 * ring + 0.3 * rng.standard_normal(n)) * np.exp(-time / rng.uniform(0.002, 0.012))


def _bell(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    ratios = np.array([0.5, 1.0, 1.19, 1.56, 2.0, 2.66, 3.01, 4.1]) * rng.uniform(0.98, 1.02, 8)
    base, ring = _log_uniform(rng, 500, 1_500), rng.uniform(0.2, 0.6)
    time = np.arange(n) / rate
    partials = [
        rng.uniform(0.3, 1.0) * np.exp(-time * ratio**0.7 / ring) * _oscillator(base * ratio, n, rate)
        for ratio in ratios
    ]
    return np.sum(partials, axis=0)


def _bubbles(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    """Short blips whose pitch rises, as of a bubble that shrinks."""
    signal = np.zeros(n)
    for _ in range(int(rng.integers(2, 9))):
        length = min(n, int(rng.uniform(0.03, 0.12) * rate))
        time = np.arange(length) / rate
        pitch = _log_uniform(rng, 350, 1_500) * (1 + time * rng.uniform(3, 14))
        at = int(rng.integers(0, n - length + 1))
        decay = np.exp(-time * rng.uniform(20, 60)) * np.minimum(1, time * 400)
        signal[at : at + length] += rng.uniform(0.4, 1) * decay * _oscillator(pitch, length, rate)
    return signal


def _clicks(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    gap = rate / _log_uniform(rng, 5, 22)
    positions = np.arange(0, n, gap)
    train = _pulses(n, positions + rng.uniform(0, 0.03 * gap, len(positions)), rng.uniform(0.8, 1.0, len(positions)))
    return np.convolve(train, _click(rng, rate, 700, 2_500))[:n]


def _crackle(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    count = max(3, int(_log_uniform(rng, 5, 22) * n / rate))
    signal = np.zeros(n)
    for part in np.array_split(rng.uniform(0, n, count), 3):  # three kinds of click, so that they are not all alike
        signal += np.convolve(_pulses(n, part, rng.uniform(0.3, 1.0, len(part))), _click(rng, rate, 1_500, 6_000))[:n]
    return signal


def _sweep(rng: np.random.Generator, n: int) -> Waveform:
    """Frequencies of a rising sweep, Hz."""
    low = _log_uniform(rng, 250, 900)
    return low * _log_uniform(rng, 2.5, 6) ** (np.linspace(0, 1, n) ** rng.uniform(0.6, 1.6))


def _rising(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    return _fade(_harmonics(rng, _sweep(rng, n), n, rate), rng)


def _falling(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    return _fade(_harmonics(rng, _sweep(rng, n)[::-1], n, rate), rng)


def _hum(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    """A low tone whose level beats."""
    depth = rng.uniform(0.5, 1.0)
    beat = 1 - depth * (0.5 + 0.5 * _oscillator(_log_uniform(rng, 5, 25), n, rate))
    return _fade(beat * _harmonics(rng, _log_uniform(rng, 80, 300), n, rate), rng)


def _noise_burst(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    """Noise through one wide resonance, with a fast attack and a slow decay."""
    centre, width = _log_uniform(rng, 1_000, 5_000), rng.uniform(0.7, 1.5)
    hertz = np.fft.rfftfreq(n, 1 / rate)
    shape = np.exp(-0.5 * (np.log2(np.maximum(hertz, 1) / centre) / width) ** 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape, n)
    time = np.arange(n) / rate
    return noise * np.minimum(1, time / rng.uniform(0.002, 0.05)) * np.exp(-time / rng.uniform(0.08, 0.5))


def _plucked_string(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    """Karplus-Strong: noise goes round a delay line and loses its high notes on every turn.

    Source: K. Karplus, A. Strong, "Digital synthesis of plucked-string and drum timbres", 1983.
    """
    period = max(2, round(rate / _log_uniform(rng, 100, 450)))
    loss = rng.uniform(0.985, 0.999)
    line = rng.standard_normal(period + 1)
    signal = np.empty(n + period + 1)
    signal[: period + 1] = line
    # Whole periods at a time: each sample needs only samples a period back.
    for start in range(period + 1, n + period + 1, period):
        stop = min(start + period, n + period + 1)
        older = signal[start - period - 1 : stop - period]
        signal[start:stop] = loss * 0.5 * (older[1:] + older[:-1])
    return signal[period + 1 :]


def _whistle(rng: np.random.Generator, n: int, rate: int) -> Waveform:
    """A pure tone with vibrato and a little breath."""
    vibrato = 1 + rng.uniform(0.015, 0.08) * _oscillator(_log_uniform(rng, 4, 9), n, rate)
    tone = _oscillator(_log_uniform(rng, 1_000, 3_000) * vibrato, n, rate)
    return _fade(tone + rng.uniform(0.02, 0.2) * rng.standard_normal(n), rng)


def _fade(signal: Waveform, rng: np.random.Generator) -> Waveform:
    """Fades in and out over up to 30 % of the length each."""
    position = np.linspace(0, 1, len(signal))
    return (
        signal
        * np.minimum(1, position / rng.uniform(0.02, 0.3))
        * np.minimum(1, (1 - position) / rng.uniform(0.02, 0.3))
    )


_MAKERS: dict[str, Maker] = {
    "bell": _bell,
    "bubbles": _bubbles,
    "clicks": _clicks,
    "crackle": _crackle,
    "falling_sweep": _falling,
    "hum": _hum,
    "noise_burst": _noise_burst,
    "plucked_string": _plucked_string,
    "rising_sweep": _rising,
    "whistle": _whistle,
}
SOUND_KINDS: tuple[str, ...] = tuple(_MAKERS)


def make_sound(
    kind: str, *, seed: int, index: int, sample_rate: int = 16_000, seconds: float = 1.0
) -> NDArray[np.float32]:
    """Makes one sound in a noisy background; the same arguments always give the same sound.

    The sound fills 60 to 100 % of the clip, at a drawn onset, with noise of a drawn colour 0 to 30 dB below
    it, and a peak of -24 to -1 dB of full scale.

    Args:
      kind: one of SOUND_KINDS.
      seed: chooses the data set.
      index: chooses the sound within the kind.
      sample_rate: Hz, at least 4,000.
      seconds: length, at least 0.1.

    Returns:
      float32 [round(seconds * sample_rate)], within [-1, 1].

    Raises:
      TfaudioError: if the kind is unknown, or the rate or length too small.
    """
    if kind not in _MAKERS:
        raise TfaudioError(unknown_name_message("kind of sound", kind, list(SOUND_KINDS)))
    if sample_rate < 4_000 or seconds < 0.1:
        raise TfaudioError(f"Sounds are made at 4000 Hz and 0.1 s at least, not {sample_rate} Hz and {seconds:g} s.")
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), index])
    total = round(seconds * sample_rate)
    length = int(total * rng.uniform(0.6, 1.0))
    onset = int(rng.integers(0, total - length + 1))
    sound = np.zeros(total)
    sound[onset : onset + length] = _MAKERS[kind](rng, length, sample_rate)
    noise = _coloured_noise(rng, total, sample_rate)
    ratio_db = rng.uniform(0, 30)
    mixed = sound / _rms(sound[onset : onset + length]) + noise / _rms(noise) * 10 ** (-ratio_db / 20)
    peak = 10 ** (-rng.uniform(1, 24) / 20)
    return (mixed * peak / np.abs(mixed).max()).astype(np.float32)


def _coloured_noise(rng: np.random.Generator, num_samples: int, sample_rate: int) -> Waveform:
    """Noise whose power falls by 0 to 6 dB an octave above 50 Hz."""
    hertz = np.maximum(np.fft.rfftfreq(num_samples, 1 / sample_rate), 50)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(num_samples)) * hertz ** -rng.uniform(0, 1), num_samples)


def _rms(signal: Waveform) -> float:
    return float(np.sqrt(np.mean(signal**2))) + 1e-12


def write_synthetic(
    folder: str | os.PathLike[str],
    *,
    clips_per_class: int = 40,
    sample_rate: int = 16_000,
    seconds: float = 1.0,
    seed: int = 0,
) -> Path:
    """Writes the data set as `KIND/0001.wav` (16-bit) and `manifest.csv` with folds 1 to 5, whole or not at all.

    Args:
      folder: a new or empty folder.
      clips_per_class: number of clips of each kind; every fifth goes to the same fold.
      sample_rate: Hz.
      seconds: length of each clip.
      seed: another seed gives other sounds of the same kinds.

    Returns:
      The folder.

    Raises:
      TfaudioError: if the folder is not empty or cannot be written, or a parameter is too small.
    """
    import soundfile  # needs a system library, which the sounds themselves do not

    _check_free(folder)
    if clips_per_class < 1:
        raise TfaudioError(f"clips_per_class must be at least 1, not {clips_per_class}.")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "label", "fold", "group"])
    with folder_written_whole(folder) as temporary:
        for kind in SOUND_KINDS:
            (temporary / kind).mkdir()
            for index in range(clips_per_class):
                name = f"{kind}/{index + 1:04d}"
                sound = make_sound(kind, seed=seed, index=index, sample_rate=sample_rate, seconds=seconds)
                soundfile.write(temporary / f"{name}.wav", sound, sample_rate, subtype="PCM_16")
                rows.writerow([f"{name}.wav", kind, 1 + index % NUM_FOLDS, name])
        write_atomically(temporary / "manifest.csv", table.getvalue())
    return Path(folder)


def mix_sounds(
    kinds: Sequence[str], *, seed: int, index: int, sample_rate: int = 16_000, seconds: float = 1.0
) -> NDArray[np.float32]:
    """Mixes one sound of each kind; the same arguments always give the same mixture.

    The sounds begin and end at their own times, up to 6 dB of power apart; the mixture's peak is -12 to -1 dB of full
    scale.

    Args:
      kinds: different ones of SOUND_KINDS, at least one.
      seed: chooses the data set.
      index: chooses the sounds within their kinds.
      sample_rate: Hz, at least 4,000.
      seconds: length, at least 0.1.

    Returns:
      float32 [round(seconds * sample_rate)], within [-1, 1].

    Raises:
      TfaudioError: as `make_sound`.
    """
    rng = np.random.default_rng([seed, index, _MIXTURES])
    mixed = np.zeros(round(seconds * sample_rate))
    for kind in kinds:
        sound = make_sound(kind, seed=seed, index=index, sample_rate=sample_rate, seconds=seconds).astype(np.float64)
        mixed += sound / _rms(sound) * 10 ** (-rng.uniform(0, 6) / 20)
    peak = 10 ** (-rng.uniform(1, 12) / 20)
    return (mixed * peak / np.abs(mixed).max()).astype(np.float32)


def write_synthetic_tags(
    folder: str | os.PathLike[str],
    *,
    clips: int = 500,
    sample_rate: int = 16_000,
    seconds: float = 1.0,
    seed: int = 1,
) -> Path:
    """Writes mixtures of one to three kinds of sound as `audio/0001.wav` (16-bit), whole or not at all.

    Beside them lies `manifest.csv` with a column `labels` and folds 1 to 5. Kinds are drawn evenly and without regard
    to each other, so that nothing but its sound tells of a kind.

    Args:
      folder: a new or empty folder.
      clips: number of mixtures; every fifth goes to the same fold.
      sample_rate: Hz.
      seconds: length of each.
      seed: another seed gives other mixtures of the same kinds.

    Returns:
      The folder.

    Raises:
      TfaudioError: if the folder is not empty or cannot be written, or a parameter is too small.
    """
    import soundfile

    _check_free(folder)
    if clips < 1:
        raise TfaudioError(f"clips must be at least 1, not {clips}.")
    rng = np.random.default_rng([seed, clips])
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "labels", "fold"])
    with folder_written_whole(folder) as temporary:
        (temporary / "audio").mkdir()
        for index in range(clips):
            kinds = sorted(rng.choice(SOUND_KINDS, size=rng.integers(1, 4), replace=False).tolist())
            name = f"audio/{index + 1:04d}.wav"
            sound = mix_sounds(kinds, seed=seed, index=index, sample_rate=sample_rate, seconds=seconds)
            soundfile.write(temporary / name, sound, sample_rate, subtype="PCM_16")
            rows.writerow([name, ";".join(kinds), 1 + index % NUM_FOLDS])
        write_atomically(temporary / "manifest.csv", table.getvalue())
    return Path(folder)


def synthetic_folder() -> Path:
    """Returns the folder of the built-in sounds; writes it on first use, whole or not at all.

    It lies in the folder that TFAUDIO_CACHE names, or in ~/.cache/tfaudio.

    Raises:
      TfaudioError: if the folder cannot be written.
    """
    return _built_in("synthetic", write_synthetic)


def synthetic_tags_folder() -> Path:
    """Returns the folder of the built-in mixtures, as `synthetic_folder` does that of the sounds."""
    return _built_in("synthetic_tags", write_synthetic_tags)


def _check_free(folder: str | os.PathLike[str]) -> None:
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise TfaudioError(f"{os.fspath(folder)} exists already; name a new or empty folder.")


def _built_in(name: str, write: Callable[[Path], Path]) -> Path:
    cache = Path(os.environ.get("TFAUDIO_CACHE") or Path.home() / ".cache" / "tfaudio").absolute()
    final = cache / f"{name}-v{SYNTHETIC_VERSION}"
    _remove_leftovers(cache)
    if (final / "manifest.csv").is_file():
        return final
    mine = cache / f".{final.name}.{os.getpid()}"
    write(mine)
    try:
        os.rename(mine, final)
    except OSError:
        shutil.rmtree(mine, ignore_errors=True)
        # Another process may have finished first; its files are the same as ours.
        if not (final / "manifest.csv").is_file():
            raise TfaudioError(f"{final} stands in the way of the built-in data; remove it.") from None
    return final


def _remove_leftovers(cache: Path) -> None:
    """Removes what processes that were killed while they wrote the built-in data have left behind.

    By age, since the process may be one of another machine on the same disk; writing takes a minute at most.
    """
    for path in cache.glob(".*"):
        # Nothing else: the folder is whichever one TFAUDIO_CACHE names.
        if not re.fullmatch(r"\.{1,2}synthetic(_tags)?-v\d+\.\d+(\.\w+)?", path.name):
            continue
        try:
            old = path.stat().st_mtime < time.time() - _LEFTOVER_SECONDS
        except OSError:  # another process has just removed it
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)
