"""Constant-Q and variable-Q transforms as matrix products in the time domain.

A filter is as long as its pitch is low. Filters of about one length share a matrix, and frames of that length: each
octave takes half of what the one below it takes, so that all weigh twice as much as the lowest, whatever their
number. Nothing is approximated, neither by decimation nor by a spectrum with its small values cut off, and a device
needs neither a Fourier transform nor a resampler.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.stft import centred_frames, hann

# Equivalent noise bandwidth of the Hann window, in bins.
_WINDOW_BANDWIDTH = 1.5
_LONGEST_FILTER = 2**16  # samples


@dataclass(frozen=True)
class FilterGroup:
    """Neighbouring bands whose filters are of about one length.

    Args:
      matrix: float32 [samples, 2 * bands]: cosines before sines, each filter centred on sample `before`.
      before: samples of a frame ahead of its instant.
    """

    matrix: npt.NDArray[np.float32]
    before: int


def band_frequencies(config: FrontEndConfig) -> npt.NDArray[np.float64]:
    """Centres of the bands, Hz, from the lowest."""
    return config.cqt.lower_hertz * 2.0 ** (np.arange(config.cqt.num_bins) / config.cqt.bins_per_octave)


def filter_lengths(config: FrontEndConfig) -> npt.NDArray[np.float64]:
    """Lengths of the filters in samples, not rounded.

    Raises:
      TfaudioError: if the lowest filter is too long for any device, or the highest band passes half the sample rate.
    """
    settings, rate = config.cqt, config.sample_rate
    ratio = 4.0 ** (1.0 / settings.bins_per_octave)  # of the two neighbours of a band
    relative_width = (ratio - 1.0) / (ratio + 1.0)
    frequencies = band_frequencies(config)
    highest = frequencies[-1] * (1.0 + 0.5 * _WINDOW_BANDWIDTH * relative_width) + 0.5 * settings.gamma
    if highest > rate / 2:
        raise TfaudioError(
            f"the highest of the {settings.num_bins} constant-Q bands reaches up to {highest:.0f} Hz, beyond half of "
            f"front_end.sample_rate ({rate / 2:g} Hz); lower front_end.cqt.num_bins or front_end.cqt.lower_hertz."
        )
    lengths = rate / (relative_width * frequencies + settings.gamma)
    if lengths[0] > _LONGEST_FILTER:
        raise TfaudioError(
            f"the filter of the lowest constant-Q band would have {lengths[0]:.0f} samples, more than "
            f"{_LONGEST_FILTER}; raise front_end.cqt.lower_hertz or front_end.cqt.gamma, or lower "
            "front_end.cqt.bins_per_octave."
        )
    return lengths


@functools.lru_cache(maxsize=8)
def filter_groups(config: FrontEndConfig) -> tuple[FilterGroup, ...]:
    """Builds the filters, from the lowest band: complex tones under a Hann window, of sum 1, times the root of their
    length, so that white noise is as loud in every band.

    Raises:
      TfaudioError: as `filter_lengths`.

    Source: librosa.filters.wavelet and the scaling of librosa.vqt(scale=True).
    """
    lengths, frequencies = filter_lengths(config), band_frequencies(config)
    octave = np.floor(np.log2(lengths[0] / lengths) + 1e-9)
    groups = []
    for number in np.unique(octave):
        members = np.flatnonzero(octave == number)
        before = -int(np.floor(-lengths[members[0]] / 2))
        after = int(np.floor(lengths[members[0]] / 2))
        matrix = np.zeros([before + after, 2, len(members)])
        for column, band in enumerate(members):
            samples = np.arange(np.floor(-lengths[band] / 2), np.floor(lengths[band] / 2))
            window = hann(len(samples))
            window *= np.sqrt(lengths[band]) / window.sum()
            angle = 2.0 * np.pi * frequencies[band] / config.sample_rate * samples
            rows = slice(before + int(samples[0]), before + int(samples[-1]) + 1)
            matrix[rows, 0, column] = window * np.cos(angle)
            matrix[rows, 1, column] = -window * np.sin(angle)
        constant = matrix.reshape(before + after, -1).astype(np.float32)
        constant.setflags(write=False)  # the cache hands out this very array
        groups.append(FilterGroup(constant, before))
    return tuple(groups)


def constant_q_power(waveform: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes the power in bands of equal width on the scale of musical pitch.

    Args:
      waveform: float32 [..., num_samples].
      config: cqt, sample_rate and frame_step are used.

    Returns:
      float32 [..., num_frames, cqt.num_bins]: squared magnitude of the inner product with each filter.
    """
    powers = []
    for group in filter_groups(config):
        frames = centred_frames(waveform, len(group.matrix), config.frame_step, before=group.before)
        real, imaginary = tf.split(tf.matmul(frames, group.matrix), 2, axis=-1)
        powers.append(tf.square(real) + tf.square(imaginary))
    return tf.concat(powers, axis=-1)
