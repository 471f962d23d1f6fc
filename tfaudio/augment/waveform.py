"""Random changes to one waveform. Stateless: the same seed gives the same result, in any order of execution."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfaudio.config import AugmentConfig


def split_seed(seed: Any, count: int) -> list[tf.Tensor]:
    """Derives independent seeds, int32 [2] each, from one."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, count), num=count)


def random_start(num_samples: Any, window: int, seed: Any) -> tf.Tensor:
    """Draws where a window of a longer recording starts, int64; 0 if the recording is not longer."""
    room = tf.maximum(tf.cast(num_samples, tf.int64) - window, 0) + 1
    return tf.random.stateless_uniform([], seed, 0, room, tf.int64)


def time_shift(waveform: tf.Tensor, fraction: float, seed: Any) -> tf.Tensor:
    """Rotates a waveform [samples] by up to `fraction` of its length; what leaves one end enters the other."""
    share = tf.random.stateless_uniform([], seed, -fraction, fraction)
    length = tf.shape(waveform)[0]
    return tf.roll(waveform, tf.cast(share * tf.cast(length, tf.float32), tf.int32), axis=0)


def gain(waveform: tf.Tensor, largest_db: float, seed: Any) -> tf.Tensor:
    """Changes the level by up to `largest_db` decibels either way."""
    decibel = tf.random.stateless_uniform([], seed, -largest_db, largest_db)
    return waveform * tf.exp(decibel * (math.log(10.0) / 20.0))


def white_noise(waveform: tf.Tensor, probability: float, snr_db: tuple[float, ...], seed: Any) -> tf.Tensor:
    """Adds white noise at a signal-to-noise ratio drawn from `snr_db`, to a share of the waveforms.

    The ratio is of mean powers over the whole waveform; silence gets no noise.
    """
    draw_seed, snr_seed, noise_seed = split_seed(seed, 3)
    chosen = tf.random.stateless_uniform([], draw_seed) < probability

    def noisy() -> tf.Tensor:  # in a branch: the noise costs more than the rest and is often not wanted
        snr = tf.random.stateless_uniform([], snr_seed, snr_db[0], snr_db[1])
        level = tf.sqrt(tf.reduce_mean(tf.square(waveform))) * tf.exp(-snr * (math.log(10.0) / 20.0))
        return waveform + level * tf.random.stateless_normal(tf.shape(waveform), noise_seed)

    return tf.cond(chosen, noisy, lambda: waveform)


def augment_waveform(waveform: tf.Tensor, config: AugmentConfig, seed: Any) -> tf.Tensor:
    """Applies the waveform changes of a configuration.

    Args:
      waveform: float32 [samples].
      config: time_shift, gain_db, noise_probability and noise_snr_db are used; zeros switch a change off.
      seed: integer [2].

    Returns:
      float32 of the same shape.
    """
    shift_seed, gain_seed, noise_seed = split_seed(seed, 3)
    shape = waveform.shape
    if config.time_shift:
        waveform = time_shift(waveform, config.time_shift, shift_seed)
    if config.gain_db:
        waveform = gain(waveform, config.gain_db, gain_seed)
    if config.noise_probability:
        waveform = white_noise(waveform, config.noise_probability, config.noise_snr_db, noise_seed)
    return tf.ensure_shape(waveform, shape)
