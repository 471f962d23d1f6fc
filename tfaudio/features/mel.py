"""Mel filter banks as matrices, in NumPy float64; the graph sees only the finished constant."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError

Array = npt.NDArray[np.float64]

# Slaney's Auditory Toolbox: linear below 1 kHz (200/3 Hz a mel), logarithmic above (27 mels per factor 6.4).
_SLANEY_HERTZ_PER_MEL = 200.0 / 3
_SLANEY_BREAK_HERTZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HERTZ / _SLANEY_HERTZ_PER_MEL
_SLANEY_LOG_STEP = np.log(6.4) / 27.0


def hertz_to_mel(hertz: npt.ArrayLike, scale: str) -> Array:
    """Converts frequencies to mels on the "slaney" or the "htk" scale."""
    f = np.asarray(hertz, np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + f / 700.0)
    above = _SLANEY_BREAK_MEL + np.log(np.maximum(f, _SLANEY_BREAK_HERTZ) / _SLANEY_BREAK_HERTZ) / _SLANEY_LOG_STEP
    return np.where(f < _SLANEY_BREAK_HERTZ, f / _SLANEY_HERTZ_PER_MEL, above)


def mel_to_hertz(mel: npt.ArrayLike, scale: str) -> Array:
    """Inverse of `hertz_to_mel`."""
    m = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (m / 2595.0) - 1.0)
    above = _SLANEY_BREAK_HERTZ * np.exp(_SLANEY_LOG_STEP * (np.maximum(m, _SLANEY_BREAK_MEL) - _SLANEY_BREAK_MEL))
    return np.where(m < _SLANEY_BREAK_MEL, m * _SLANEY_HERTZ_PER_MEL, above)


@functools.lru_cache(maxsize=16)
def mel_matrix(config: FrontEndConfig) -> npt.NDArray[np.float32]:
    """Builds the filter bank that turns a power spectrum into mel bands.

    Triangles are straight in hertz, as in librosa (tf.signal's are straight in mels).

    Args:
      config: sample_rate, fft_length, num_mel_bins, the edges, mel_scale and mel_norm are used.

    Returns:
      float32 [fft_length // 2 + 1, num_mel_bins].

    Raises:
      TfaudioError: if a band is so narrow that no Fourier bin falls into it.

    Source: M. Slaney, Auditory Toolbox (1998); S. Young et al., The HTK Book (2002).

    >>> mel_matrix(FrontEndConfig(num_mel_bins=40)).shape
    (513, 40)
    """
    low, high = hertz_to_mel([config.lower_edge_hertz, config.upper_edge], config.mel_scale)
    edges = mel_to_hertz(np.linspace(low, high, config.num_mel_bins + 2), config.mel_scale)
    bins = np.fft.rfftfreq(config.fft_length, 1.0 / config.sample_rate)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    with np.errstate(divide="ignore", invalid="ignore"):  # edges that are one number in float64 leave a band empty
        rising = (bins[:, None] - left) / (centre - left)
        falling = (right - bins[:, None]) / (right - centre)
        weights = np.nan_to_num(np.maximum(0.0, np.minimum(rising, falling)), posinf=0.0)
    empty = int(np.sum(weights.max(axis=0) == 0))
    if empty:
        raise TfaudioError(
            f"{empty} of {config.num_mel_bins} mel bands are narrower than a Fourier bin and would always be "
            "silent; lower front_end.num_mel_bins, raise front_end.fft_length, or set front_end.lower_edge_hertz and "
            "front_end.upper_edge_hertz further apart."
        )
    if config.mel_norm == "slaney":
        weights *= 2.0 / (right - left)
    matrix = weights.astype(np.float32)
    matrix.setflags(write=False)  # the cache hands out this very array
    return matrix
