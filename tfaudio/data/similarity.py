"""Finding recordings that sound the same: a short spectral fingerprint a clip, then their waveforms against each other.

Fingerprints of all clips are compared by matrix products, which leaves a few candidates a clip. Of these, waveforms
whose spectra are made flat are correlated at every shift: copies correlate, however loud, coded, shifted or padded,
and two takes of one word by one speaker do not.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
import scipy.signal
from tqdm import tqdm

RATE = 8_000  # Hz; all is compared at this rate, so that copies at different rates meet
# Candidates: each clip's nearest by the cosine of their fingerprints, from this cosine on.
MOST_CANDIDATES = 5
LEAST_COSINE = 0.9
# Near duplicates: waveforms that match from here on. Measured on ESC-10 and FSDD: what is no copy reaches 0.06 among
# environmental sounds and 0.48 among takes of a digit by one speaker. Copies in MP3 keep 0.82, in Vorbis 0.89, padded
# ones 0.86; of those cut by a tenth or a fifth, at half the rate or with 8 bits 95 % pass, with noise 20 dB below 75 %.
LEAST_MATCH = 0.55
LONGEST_SECONDS = 60.0  # of each clip that is matched, from its beginning

_FRAME, _HOP = 512, 256
_NUM_BANDS = 32
_BAND_EDGES_HERTZ = (60.0, 3_600.0)
_ACTIVE_DB = 30.0  # below the loudest frame; what is softer at either end is cut off
_FRAMES_AT_A_TIME = 4_096
_CORRELATED_HERTZ = (100.0, 3_400.0)
_SMOOTHING_HERTZ = 100.0
_FADE = 80  # samples, 10 ms
_NUM_PARTS = 16
_INAUDIBLE = 1e-6  # of the power of the loudest part
_BYTES_AT_A_TIME = 2**23  # of a block of the matrix of cosines, which then stays near the processor

Waveform = npt.NDArray[np.float32]


def at_common_rate(waveform: Waveform, sample_rate: int) -> Waveform:
    """Resamples to `RATE`, through the nearest ratio with terms up to a thousand.

    Args:
      waveform: float32 [n].
      sample_rate: Hz.

    Returns:
      float32 [about n * RATE / sample_rate].
    """
    if sample_rate == RATE:
        return waveform
    # 8000/44099 in full would ask for a filter of a million taps.
    ratio = Fraction(RATE, sample_rate).limit_denominator(1_000)
    return scipy.signal.resample_poly(waveform, ratio.numerator, ratio.denominator).astype(np.float32)


def spectral_fingerprint(waveform: Waveform) -> npt.NDArray[np.float32]:
    """Describes a sound's spectrum and how it moves, whatever its level, its length and where it begins.

    Of the part from the first to the last active frame, the power in 32 bands from 60 to 3,600 Hz is taken to its cube
    root, much as loudness grows; the fingerprint is the mean of each band over time and its standard deviation. No
    order in time goes in, so that a copy that is cut or shifted stays near.

    Args:
      waveform: float32 [n], n > 0, at `RATE`.

    Returns:
      float32 [64], of unit length; all zero for silence.
    """
    waveform = np.pad(waveform, (0, max(0, _FRAME - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(waveform, _FRAME)[::_HOP]
    window = np.hanning(_FRAME).astype(np.float32)
    power = np.concatenate(
        [
            np.abs(scipy.fft.rfft(frames[i : i + _FRAMES_AT_A_TIME] * window, axis=1)) ** 2 @ _BANDS
            for i in range(0, len(frames), _FRAMES_AT_A_TIME)
        ]
    ).astype(np.float64)
    total = power.sum(axis=1)
    active = np.flatnonzero(total > total.max() * 10 ** (-_ACTIVE_DB / 10))
    if not len(active):
        return np.zeros(2 * _NUM_BANDS, np.float32)
    loudness = np.cbrt(power[active[0] : active[-1] + 1] / total.max())
    halves = [_centred(loudness.mean(axis=0)), _centred(loudness.std(axis=0))]
    return (np.concatenate(halves) / np.linalg.norm(np.concatenate(halves))).astype(np.float32)


def _centred(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """With mean 0 and length 1; the first frame of a clip of one frame has no deviation, and stays 0."""
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 1e-12 else np.zeros_like(values)


def _band_weights() -> npt.NDArray[np.float32]:
    """Triangles that are evenly spaced in the logarithm of the frequency, each of sum 1; [bins, bands]."""
    hertz = np.arange(_FRAME // 2 + 1) * RATE / _FRAME
    edges = np.geomspace(*_BAND_EDGES_HERTZ, _NUM_BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.minimum((hertz[:, None] - low) / (centre - low), (high - hertz[:, None]) / (high - centre))
    weights = np.maximum(weights, 0.0)
    # The lowest bands are narrower than a bin.
    nearest = np.abs(hertz[:, None] - centre).argmin(axis=0)
    empty = weights.sum(axis=0) == 0
    weights[nearest[empty], np.flatnonzero(empty)] = 1.0
    return (weights / weights.sum(axis=0)).astype(np.float32)


_BANDS = _band_weights()


def candidate_pairs(fingerprints: npt.NDArray[np.float32], *, progress: bool = True) -> npt.NDArray[np.int64]:
    """Returns the pairs worth a closer look: each clip with its nearest, by blocks of rows of the matrix of cosines.

    Args:
      fingerprints: float32 [clips, 64], of unit length.
      progress: show a bar on a terminal.

    Returns:
      int64 [pairs, 2], each pair once with the lower index first, sorted.
    """
    num_clips = len(fingerprints)
    count = min(MOST_CANDIDATES, num_clips - 1)
    if count < 1:
        return np.zeros((0, 2), np.int64)
    rows = max(1, _BYTES_AT_A_TIME // (4 * num_clips))
    found = []
    bar = tqdm(total=num_clips, desc="comparing", unit="clip", disable=None if progress else True, leave=False)
    with bar:
        for begin in range(0, num_clips, rows):
            cosines = fingerprints[begin : begin + rows] @ fingerprints.T
            own = np.arange(len(cosines))
            cosines[own, begin + own] = -1.0
            for _ in range(count):  # faster than to sort or to partition the rows
                nearest = cosines.argmax(axis=1)
                near = cosines[own, nearest] >= LEAST_COSINE
                found.append(np.stack([begin + own[near], nearest[near]], axis=1))
                cosines[own, nearest] = -1.0
            bar.update(len(cosines))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0).astype(np.int64)


def waveform_match(first: Waveform, second: Waveform) -> float:
    """Says how far two waveforms coincide at their best shift and polarity, once their spectra are made flat.

    Flat, since sounds of one kind share their envelope and their pitch; what only copies share is the phase. Coinciding
    throughout, since two clicks in silence correlate as well as two copies: the answer is the lower of the correlation
    of the whole and the mean of those of 16 parts of what overlaps.

    Args:
      first: float32 [n], n > 0, at `RATE`; what lies after `LONGEST_SECONDS` is passed over.
      second: float32 [m], likewise.

    Returns:
      At most 1; 0 if one of them is silent or if less than half of the shorter one overlaps.
    """
    first, second = _faded(first), _faded(second)
    length = scipy.fft.next_fast_len(len(first) + len(second), real=True)
    left, right = _flat_spectrum(first, length), _flat_spectrum(second, length)
    # Neither spectrum has a value at 0 Hz or at half the rate, so each line stands for two.
    energy = 2 / length * float(np.sqrt(np.sum(np.abs(left) ** 2) * np.sum(np.abs(right) ** 2)))
    if energy == 0.0:
        return 0.0
    correlation = scipy.fft.irfft(np.conj(left) * right, length)
    peak = int(np.abs(correlation).argmax())
    whole = abs(float(correlation[peak])) / energy
    shift = peak if peak < len(second) else peak - length  # second[t + shift] goes with first[t]
    begin, end = max(0, -shift), min(len(first), len(second) - shift)
    if end - begin < min(len(first), len(second)) / 2:
        return 0.0
    one = scipy.fft.irfft(left, length)[begin:end]
    other = scipy.fft.irfft(right, length)[begin + shift : end + shift] * np.sign(correlation[peak])
    edges = np.linspace(0, end - begin, _NUM_PARTS, endpoint=False).astype(np.int64)
    powers = [np.add.reduceat(product, edges) for product in (one * one, other * other, one * other)]
    heard = np.maximum(powers[0] / powers[0].max(), powers[1] / powers[1].max()) > _INAUDIBLE
    parts = powers[2][heard] / np.sqrt(np.maximum(powers[0][heard] * powers[1][heard], 1e-30))
    return min(whole, float(parts.mean()))


def _faded(waveform: Waveform) -> Waveform:
    """Without its hard edges, which are clicks to a flat spectrum."""
    waveform = waveform[: int(LONGEST_SECONDS * RATE)].copy()
    count = min(_FADE, len(waveform) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2
    waveform[:count] *= ramp
    waveform[len(waveform) - count :] *= ramp[::-1]
    return waveform


def _flat_spectrum(waveform: Waveform, length: int) -> npt.NDArray[np.complex64]:
    spectrum = scipy.fft.rfft(waveform, length)
    hertz = np.arange(len(spectrum)) * RATE / length
    low, high = _CORRELATED_HERTZ
    width = max(3, round(_SMOOTHING_HERTZ * length / RATE))
    envelope = np.sqrt(np.maximum(scipy.ndimage.uniform_filter1d(np.abs(spectrum) ** 2, width), 0.0))
    # 60 dB below the strongest there is only rounding.
    flat = spectrum / np.maximum(envelope, max(1e-3 * float(envelope.max()), 1e-30))
    return np.where((hertz > low) & (hertz < high), flat, 0.0).astype(np.complex64)
