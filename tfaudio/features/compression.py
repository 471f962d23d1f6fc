"""From power to a scale on which loudness is nearly linear."""

from __future__ import annotations

import math

import tensorflow as tf

from tfaudio.config import FrontEndConfig


def compress(power: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Applies the logarithm that the configuration asks for.

    The decibel floor hangs on the loudest value of the same example, never of the batch.

    Args:
      power: float32 [..., frames, bins], not negative.
      config: compression, log_offset and top_db are used.

    Returns:
      float32 of the same shape.
    """
    if config.compression == "none":
        return power
    if config.compression == "log":
        return tf.math.log(power + config.log_offset)
    decibel = tf.math.log(tf.maximum(power, config.log_offset)) * (10.0 / math.log(10.0))
    if config.top_db is None:
        return decibel
    return tf.maximum(decibel, tf.reduce_max(decibel, axis=[-2, -1], keepdims=True) - config.top_db)
