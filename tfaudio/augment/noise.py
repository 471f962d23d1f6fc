"""Noise of three colours, and mixing at a signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfaudio.augment.sounds import SoundBank
from tfaudio.augment.spectrum import fft_size, frequencies_of
from tfaudio.config.augment import NoiseColor

# Power falls with this power of frequency.
_SLOPES: dict[NoiseColor, int] = {"white": 0, "pink": 1, "brown": 2}
# Where pink and brown noise begin: brown noise would have almost all of its power below what is heard.
LOWEST_HERTZ = 20.0
# Two minutes at 16 kHz, in 8 MB: two million places where a cut may begin.
_BANK_SAMPLES = 2**21


def add_at_ratio(waveform: tf.Tensor, noise: tf.Tensor, snr_db: Any) -> tf.Tensor:
    """Adds noise at a ratio of mean powers over the whole waveform.

    Args:
      waveform: float32 [samples].
      noise: float32 [samples], of any level.
      snr_db: signal-to-noise ratio.

    Returns:
      float32 [samples]; the waveform itself where either is silent, since no level has the ratio then.
    """
    ratio = tf.math.divide_no_nan(tf.reduce_sum(tf.square(waveform)), tf.reduce_sum(tf.square(noise)))
    return waveform + tf.sqrt(ratio) * tf.exp(snr_db * (-math.log(10.0) / 20.0)) * noise


def colored_noise(num_samples: Any, sample_rate: int, color: NoiseColor, seed: Any) -> tf.Tensor:
    """Gaussian noise whose power falls by 0 (white), 3 (pink) or 6 dB (brown) an octave.

    Args:
      num_samples: an integer or an int32 scalar.
      sample_rate: Hz.
      color: of the noise.
      seed: integer [2].

    Returns:
      float32 [num_samples]; white noise of standard deviation 1; the others of some level, with nothing below 20 Hz.
    """
    slope = _SLOPES[color]
    if not slope:
        return tf.random.stateless_normal([num_samples], seed)
    # White noise through 1 / sqrt(f) or 1 / f, in one block: its end meets its start, which nobody hears.
    size = fft_size(num_samples)
    spectrum = tf.signal.rfft(tf.random.stateless_normal([size], seed))
    frequencies = frequencies_of(size, sample_rate)
    gains = tf.where(frequencies < LOWEST_HERTZ, 0.0, tf.pow(frequencies / LOWEST_HERTZ, -slope / 2.0))
    return tf.signal.irfft(spectrum * tf.cast(gains, tf.complex64), [size])[:num_samples]


def noise_bank(colors: Sequence[NoiseColor], sample_rate: int, seed: int) -> SoundBank:
    """Makes noise to cut from, one stretch of each colour: drawing it anew for each example costs twenty times as much.

    Args:
      colors: of the noise.
      sample_rate: Hz.
      seed: the same one makes the same noise.
    """
    seeds = [(seed, number) for number in range(len(colors))]
    return SoundBank(
        [colored_noise(_BANK_SAMPLES, sample_rate, c, s).numpy() for c, s in zip(colors, seeds, strict=True)]
    )
