"""The shape of each frame's spectrum in a few numbers."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError

_TINY = np.finfo(np.float32).tiny
# librosa's floors: of the power behind the flatness, and of peaks and valleys, which may lie 80 dB below the highest.
_SMALLEST = 1e-10
_TOP_DB = 80.0


def _hertz(config: FrontEndConfig) -> npt.NDArray[np.float32]:
    return np.fft.rfftfreq(config.fft_length, 1.0 / config.sample_rate).astype(np.float32)


def _mean_over(values: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Mean of values [..., bins] weighted by the magnitude; 0 where that is silent."""
    total = tf.reduce_sum(magnitude, axis=-1, keepdims=True)
    return tf.reduce_sum(values * magnitude, axis=-1, keepdims=True) / tf.maximum(total, _TINY)


def centroid(magnitude: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes the mean frequency of each frame, weighted by magnitude; 0 in silence.

    Args:
      magnitude: float32 [..., frames, fft_length // 2 + 1].
      config: sample_rate and fft_length are used.

    Returns:
      float32 [..., frames, 1], Hz.
    """
    return _mean_over(_hertz(config), magnitude)


def bandwidth(magnitude: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes the standard deviation of frequency in each frame, weighted by magnitude; 0 in silence.

    Args:
      magnitude: float32 [..., frames, fft_length // 2 + 1].
      config: sample_rate and fft_length are used.

    Returns:
      float32 [..., frames, 1], Hz.
    """
    deviation = _hertz(config) - centroid(magnitude, config)
    return tf.sqrt(_mean_over(tf.square(deviation), magnitude))


def rolloff(magnitude: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Finds the lowest frequency up to which a share of each frame's magnitude lies; 0 in silence.

    Args:
      magnitude: float32 [..., frames, fft_length // 2 + 1].
      config: sample_rate, fft_length and rolloff_share are used.

    Returns:
      float32 [..., frames, 1], Hz: that of a Fourier bin.
    """
    below = _cumulative_sum(magnitude)
    missed = tf.cast(below < config.rolloff_share * below[..., -1:], tf.float32)
    return tf.reduce_sum(missed, axis=-1, keepdims=True) * (config.sample_rate / config.fft_length)


def _cumulative_sum(values: tf.Tensor, block: int = 32) -> tf.Tensor:
    """tf.cumsum over the last axis as two small matrix products: XLA's own takes seven times as long on a CPU."""
    count = values.shape[-1]
    num_blocks = -(-count // block)
    padding = [[0, 0]] * (values.shape.rank - 1) + [[0, num_blocks * block - count]]
    # Three axes and no more: the product of four with a matrix ends the process (oneDNN, TensorFlow 2.16 to 2.21).
    blocks = tf.reshape(tf.pad(values, padding), [-1, num_blocks, block])
    within = tf.matmul(blocks, np.triu(np.ones((block, block), np.float32)))
    before = tf.matmul(within[..., -1], np.triu(np.ones((num_blocks, num_blocks), np.float32), 1))
    sums = tf.reshape(within + before[..., tf.newaxis], tf.concat([tf.shape(values)[:-1], [-1]], axis=0))
    return tf.ensure_shape(sums[..., :count], values.shape)


def flatness(power: tf.Tensor) -> tf.Tensor:
    """Computes the geometric mean of each frame's power over its arithmetic mean: 1 for noise's ideal and for silence.

    Args:
      power: float32 [..., frames, bins].

    Returns:
      float32 [..., frames, 1], 0 to 1.

    Source: J. Johnston, Transform coding of audio signals using perceptual noise criteria (1988).
    """
    power = tf.maximum(power, _SMALLEST)
    geometric = tf.exp(tf.reduce_mean(tf.math.log(power), axis=-1, keepdims=True))
    return geometric / tf.reduce_mean(power, axis=-1, keepdims=True)


@dataclass(frozen=True)
class ContrastBand:
    """Fourier bins start to stop, of which `count` make the peak and as many the valley."""

    start: int
    stop: int
    count: int


@functools.lru_cache(maxsize=16)
def contrast_bands(config: FrontEndConfig) -> tuple[ContrastBand, ...]:
    """Divides the Fourier bins into octaves, as librosa.feature.spectral_contrast does.

    A band begins with the last bin below its octave. It leaves out the last bin in its octave, but that counts for
    the size of the quantile. The highest band reaches up to half the sample rate.

    Raises:
      TfaudioError: if a band holds no Fourier bin.
    """
    hertz = np.fft.rfftfreq(config.fft_length, 1.0 / config.sample_rate)
    edges = [0.0, *(config.contrast_lower_hertz * 2.0 ** np.arange(config.contrast_bands + 1))]
    bands = []
    for number in range(config.contrast_bands + 1):
        inside = np.flatnonzero((hertz >= edges[number]) & (hertz <= edges[number + 1]))
        highest = number == config.contrast_bands
        if len(inside):
            start = inside[0] - 1 if number else inside[0]
            stop = len(hertz) if highest else inside[-1] + 1
            count = max(1, int(np.rint(config.contrast_quantile * (stop - start))))
            stop = stop if highest else stop - 1
        if not len(inside) or start >= stop:
            raise TfaudioError(
                f"no Fourier bin falls into the band of the spectral contrast from {edges[number]:g} to "
                f"{edges[number + 1]:g} Hz; raise front_end.fft_length or front_end.contrast_lower_hertz."
            )
        bands.append(ContrastBand(int(start), int(stop), min(count, int(stop - start))))
    return tuple(bands)


def contrast(magnitude: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes how far the peaks of each octave stand above its valleys; 0 throughout a silent waveform.

    Both are raised to 80 dB below the highest of the waveform: peaks below the highest peak, valleys likewise.

    Args:
      magnitude: float32 [..., frames, fft_length // 2 + 1].
      config: sample_rate, fft_length, contrast_bands, contrast_lower_hertz and contrast_quantile are used.

    Returns:
      float32 [..., frames, contrast_bands + 1]: 10 log10 of the ratio of magnitudes, as in librosa.

    Source: D.-N. Jiang et al., Music type classification by spectral contrast feature (2002).
    """
    peaks, valleys = [], []
    for band in contrast_bands(config):
        inside = magnitude[..., band.start : band.stop]
        peaks.append(_mean_of_highest(inside, band.count))
        valleys.append(-_mean_of_highest(-inside, band.count))
    return _decibel(tf.concat(peaks, axis=-1)) - _decibel(tf.concat(valleys, axis=-1))


def _mean_of_highest(values: tf.Tensor, count: int) -> tf.Tensor:
    if count == 1:
        return tf.reduce_max(values, axis=-1, keepdims=True)
    return tf.reduce_mean(tf.math.top_k(values, count).values, axis=-1, keepdims=True)


def _decibel(values: tf.Tensor) -> tf.Tensor:
    decibel = tf.math.log(tf.maximum(values, _SMALLEST)) * (10.0 / math.log(10.0))
    return tf.maximum(decibel, tf.reduce_max(decibel, axis=[-2, -1], keepdims=True) - _TOP_DB)
