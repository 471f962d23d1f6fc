"""Waveforms through their Fourier transform: convolution, and gains over frequency."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def fft_size(num_samples: Any) -> Any:
    """The least power of two, from 2, that is not smaller: an integer of an integer, an int32 scalar of a tensor."""
    if isinstance(num_samples, int):
        return 1 << max(1, (num_samples - 1).bit_length())
    octaves = tf.math.log(tf.cast(tf.maximum(num_samples, 2), tf.float64)) / math.log(2.0)
    return tf.bitwise.left_shift(1, tf.cast(tf.math.ceil(octaves - 1e-9), tf.int32))  # log(2^29) / log(2) is above 29


def frequencies_of(size: Any, sample_rate: int) -> tf.Tensor:
    """Hz of each bin of a real Fourier transform, float32 [size // 2 + 1]."""
    return tf.cast(tf.range(size // 2 + 1), tf.float32) * (sample_rate / tf.cast(size, tf.float32))


def num_samples_of(waveform: tf.Tensor) -> Any:
    """Length of a waveform [samples]: an integer where the graph knows it, else a scalar tensor."""
    length = waveform.shape[0]
    return tf.shape(waveform)[0] if length is None else length


def convolve(waveform: tf.Tensor, response: tf.Tensor) -> tf.Tensor:
    """Convolves with an impulse response and keeps the waveform's length: the tail beyond its end is cut off.

    Args:
      waveform: float32 [samples].
      response: float32 [taps].

    Returns:
      float32 [samples].
    """
    num_samples = num_samples_of(waveform)
    size = fft_size(num_samples + num_samples_of(response))
    spectrum = tf.signal.rfft(waveform, [size]) * tf.signal.rfft(response, [size])
    return tf.signal.irfft(spectrum, [size])[:num_samples]


def apply_gain(
    waveform: tf.Tensor, sample_rate: int, gain: Callable[[tf.Tensor], tf.Tensor], *, ringing_seconds: float = 0.1
) -> tf.Tensor:
    """Multiplies the spectrum by a real gain over frequency, which delays nothing.

    Args:
      waveform: float32 [samples].
      sample_rate: Hz.
      gain: frequencies in Hz, float32 [n], to gains.
      ringing_seconds: silence behind the waveform, so that what rings before its start does not come out at its end.

    Returns:
      float32 [samples].
    """
    num_samples = num_samples_of(waveform)
    size = fft_size(num_samples + int(ringing_seconds * sample_rate))
    spectrum = tf.signal.rfft(waveform, [size])
    gains = tf.cast(gain(frequencies_of(size, sample_rate)), tf.complex64)
    return tf.signal.irfft(spectrum * gains, [size])[:num_samples]
