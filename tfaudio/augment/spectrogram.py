"""Random changes to batches of features, and mixing of examples. Stateless, as the waveform's."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfaudio.augment.waveform import split_seed
from tfaudio.config import AugmentConfig


def _keep(size: tf.Tensor, batch: tf.Tensor, masks: int, fraction: float, seed: Any) -> tf.Tensor:
    """Draws `masks` stretches an example and returns float [batch, size]: 0 inside a stretch, 1 outside."""
    width_seed, start_seed = split_seed(seed, 2)
    length = tf.cast(size, tf.float32)
    width = tf.random.stateless_uniform([batch, masks, 1], width_seed, 0.0, fraction * length)
    start = tf.random.stateless_uniform([batch, masks, 1], start_seed) * (length - width)
    position = tf.range(length)
    inside = (position >= tf.floor(start)) & (position < tf.floor(start) + tf.floor(width))
    return 1.0 - tf.cast(tf.reduce_any(inside, axis=1), tf.float32)


def spec_augment(features: tf.Tensor, config: AugmentConfig, seed: Any) -> tf.Tensor:
    """Sets random stretches of frames and bands of bins to zero, the mean of standardised features.

    Args:
      features: float32 [batch, frames, bins].
      config: the numbers and widths of the masks.
      seed: integer [2].

    Returns:
      float32 of the same shape.

    Source: D. Park et al., SpecAugment (2019), https://arxiv.org/abs/1904.08779, without warping.
    """
    time_seed, frequency_seed = split_seed(seed, 2)
    shape = tf.shape(features)
    if config.time_masks and config.time_mask_fraction:
        keep = _keep(shape[1], shape[0], config.time_masks, config.time_mask_fraction, time_seed)
        features = features * keep[:, :, None]
    if config.frequency_masks and config.frequency_mask_fraction:
        keep = _keep(shape[2], shape[0], config.frequency_masks, config.frequency_mask_fraction, frequency_seed)
        features = features * keep[:, None, :]
    return features


def mixup(
    features: tf.Tensor, targets: tf.Tensor, mask: tf.Tensor | None, alpha: float, seed: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Mixes each example of a batch with its neighbour, and their targets likewise.

    Args:
      features: float32 [batch, frames, bins].
      targets: float32 [batch, classes].
      mask: boolean [batch, frames] or None; the mixture has audio where either has.
      alpha: each share is drawn from Beta(alpha, alpha) and taken as at least one half.
      seed: integer [2].

    Returns:
      features, targets and mask of the mixtures.

    Source: H. Zhang et al., mixup (2018), https://arxiv.org/abs/1710.09412.
    """
    batch = tf.shape(features)[0]
    gammas = tf.random.stateless_gamma([2, batch], seed, alpha=alpha) + 1e-9  # two zeros would divide to NaN
    share = gammas[0] / (gammas[0] + gammas[1])
    share = tf.maximum(share, 1.0 - share)  # so that an example's own place in the batch decides its main part
    wide, narrow = share[:, None, None], share[:, None]
    # The batch was shuffled, so the neighbour is a random partner.
    features = wide * features + (1.0 - wide) * tf.roll(features, 1, axis=0)
    targets = narrow * targets + (1.0 - narrow) * tf.roll(targets, 1, axis=0)
    return features, targets, None if mask is None else mask | tf.roll(mask, 1, axis=0)
