"""Random changes to batches of features. Stateless, as the waveform's.

They are made for standardised logarithms, where 0 is a bin's mean and adding is a gain.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfaudio.augment.seeds import Change, fold_in, split_seed
from tfaudio.config import AugmentConfig
from tfaudio.config.augment import FilterAugmentConfig


def change_features(features: tf.Tensor, mask: tf.Tensor | None, config: AugmentConfig, seed: Any) -> tf.Tensor:
    """Applies the changes that belong to single recordings, before these are mixed.

    Args:
      features: float32 [batch, frames, bins], 0 where there is no audio.
      mask: boolean [batch, frames], true at the front of each row, where there is audio; None: everywhere.
      config: filter_augment, frequency_shift and time_warp are used.
      seed: integer [2].

    Returns:
      float32 of the same shape.
    """
    before = features
    if config.filter_augment.probability:
        features = filter_augment(features, config.filter_augment, fold_in(seed, Change.FILTER_AUGMENT))
    if config.frequency_shift:
        features = frequency_shift(features, config.frequency_shift, fold_in(seed, Change.FREQUENCY_SHIFT))
    if config.time_warp:
        features = time_warp(features, mask, config.time_warp, fold_in(seed, Change.TIME_WARP))
    if mask is not None and features is not before:
        features = tf.where(mask[:, :, tf.newaxis], features, 0.0)
    return features


def filter_augment(features: tf.Tensor, config: FilterAugmentConfig, seed: Any) -> tf.Tensor:
    """Adds to each bin of a share of the examples a gain that runs in straight lines over frequency.

    The lines join gains drawn at the edges of random bands, of which none is narrower than half of what equal ones
    would be.

    Args:
      features: float32 [batch, frames, bins].
      config: how many bands, how much gain, and the share.
      seed: integer [2].

    Returns:
      float32 of the same shape.

    Source: H. Nam, S.-H. Kim and Y.-H. Park, FilterAugment (2022), https://arxiv.org/abs/2110.03282, the linear type.
    """
    chosen_seed, count_seed, edge_seed, gain_seed = split_seed(seed, 4)
    batch, bins, most = tf.shape(features)[0], tf.shape(features)[2], config.bands[1]
    chosen = tf.random.stateless_uniform([batch, 1, 1], chosen_seed) < config.probability
    count = tf.random.stateless_uniform([batch, 1], count_seed, config.bands[0], most + 1, tf.int32)
    # The edges of `count` bands are 0, ..., 1; those left over lie at 1 too, and change nothing.
    number = tf.range(1, most + 1, dtype=tf.float32)
    inner = tf.random.stateless_uniform([batch, most], edge_seed)
    is_inner = tf.range(1, most + 1) < count
    inner = tf.sort(tf.where(is_inner, inner, 2.0), axis=1)
    least = 0.5 / tf.cast(count, tf.float32)
    edges = tf.concat([tf.zeros([batch, 1]), tf.where(is_inner, least * number + 0.5 * inner, 1.0)], axis=1)
    gains = tf.random.stateless_uniform([batch, most + 1], gain_seed, -config.deviations, config.deviations)
    place = tf.cast(tf.range(bins), tf.float32) / tf.cast(tf.maximum(bins - 1, 1), tf.float32)
    width = (edges[:, 1:] - edges[:, :-1])[:, :, tf.newaxis]
    way = tf.clip_by_value(tf.math.divide_no_nan(place - edges[:, :-1, tf.newaxis], width), 0.0, 1.0)
    rise = (gains[:, 1:] - gains[:, :-1])[:, :, tf.newaxis]
    curve = gains[:, :1] + tf.reduce_sum(rise * way, axis=1)
    return features + tf.where(chosen, curve[:, tf.newaxis, :], 0.0)


def frequency_shift(features: tf.Tensor, most: int, seed: Any) -> tf.Tensor:
    """Moves all bins of an example up or down by up to `most` of them; what moves in is 0, the mean.

    Args:
      features: float32 [batch, frames, bins].
      most: bins.
      seed: integer [2].

    Returns:
      float32 of the same shape.
    """
    shape = tf.shape(features)
    shift = tf.random.stateless_uniform([shape[0], 1], seed, -most, most + 1, tf.int32)
    source = tf.range(shape[2]) - shift
    inside = (source >= 0) & (source < shape[2])
    moved = tf.gather(features, tf.clip_by_value(source, 0, shape[2] - 1), axis=2, batch_dims=1)
    return tf.where(inside[:, tf.newaxis, :], moved, 0.0)


def time_warp(features: tf.Tensor, mask: tf.Tensor | None, fraction: float, seed: Any) -> tf.Tensor:
    """Moves one instant of each example in time and stretches what lies before and behind, the ends staying.

    Args:
      features: float32 [batch, frames, bins].
      mask: as of `change_features`; what lies behind the audio stays.
      fraction: farthest that the instant is moved, as a share of the example's frames; at most 0.5.
      seed: integer [2].

    Returns:
      float32 of the same shape.

    Source: D. Park et al., SpecAugment (2019), https://arxiv.org/abs/1904.08779; its W is fraction * frames, its spline
    in two dimensions is here a line in one.
    """
    centre_seed, shift_seed = split_seed(seed, 2)
    shape = tf.shape(features)
    frames = tf.fill([shape[0]], shape[1]) if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    last = tf.cast(tf.maximum(frames - 1, 0), tf.float32)[:, tf.newaxis]
    farthest = fraction * last
    centre = farthest + tf.random.stateless_uniform([shape[0], 1], centre_seed) * (last - 2.0 * farthest)
    moved = centre + tf.random.stateless_uniform([shape[0], 1], shift_seed, -1.0, 1.0) * farthest
    time = tf.cast(tf.range(shape[1]), tf.float32)
    left = tf.math.divide_no_nan(time * centre, moved)
    right = last - tf.math.divide_no_nan((last - time) * (last - centre), last - moved)
    source = tf.where(time > last, time, tf.clip_by_value(tf.where(time <= moved, left, right), 0.0, last))
    before = tf.cast(tf.floor(source), tf.int32)
    share = (source - tf.floor(source))[:, :, tf.newaxis]
    after = tf.minimum(before + 1, shape[1] - 1)
    return (1.0 - share) * tf.gather(features, before, batch_dims=1) + share * tf.gather(features, after, batch_dims=1)


def spec_augment(features: tf.Tensor, config: AugmentConfig, seed: Any, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Sets random stretches of frames and bands of bins to zero, the mean of standardised features.

    Args:
      features: float32 [batch, frames, bins].
      config: the numbers and widths of the masks.
      seed: integer [2].
      mask: boolean [batch, frames], true where an example lasts: its own length is what stretches are a share of.

    Returns:
      float32 of the same shape.

    Source: D. Park et al., SpecAugment (2019), https://arxiv.org/abs/1904.08779; `time_warp` is its third part.
    """
    time_seed, frequency_seed = split_seed(seed, 2)
    shape = tf.shape(features)
    if config.time_masks and config.time_mask_fraction:
        lasts = shape[1] if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)[:, None, None]
        keep = _keep(shape[1], shape[0], config.time_masks, config.time_mask_fraction, time_seed, lasts)
        features = features * keep[:, :, None]
    if config.frequency_masks and config.frequency_mask_fraction:
        masks, fraction = config.frequency_masks, config.frequency_mask_fraction
        keep = _keep(shape[2], shape[0], masks, fraction, frequency_seed, shape[2])
        features = features * keep[:, None, :]
    return features


def _keep(size: tf.Tensor, batch: tf.Tensor, masks: int, fraction: float, seed: Any, lasts: tf.Tensor) -> tf.Tensor:
    """Draws `masks` stretches an example and returns float [batch, size]: 0 inside a stretch, 1 outside.

    They lie within the first `lasts`, [] or [batch, 1, 1].
    """
    width_seed, start_seed = split_seed(seed, 2)
    length = tf.cast(lasts, tf.float32)
    width = tf.random.stateless_uniform([batch, masks, 1], width_seed, 0.0, fraction * length)
    start = tf.random.stateless_uniform([batch, masks, 1], start_seed) * (length - width)
    position = tf.range(tf.cast(size, tf.float32))
    inside = (position >= tf.floor(start)) & (position < tf.floor(start) + tf.floor(width))
    return 1.0 - tf.cast(tf.reduce_any(inside, axis=1), tf.float32)
