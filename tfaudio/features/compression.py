"""From energies to a scale on which loudness is nearly linear."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from tfaudio.config import FrontEndConfig
from tfaudio.features.pcen import pcen


def compress(energy: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Applies the compression that the configuration asks for.

    Args:
      energy: float32 [..., frames, bins], not negative: power, or with config.spectrum "magnitude" its square root.
      config: compression, log_offset, top_db, spectrum and pcen are used.

    Returns:
      float32 of the same shape.
    """
    return _COMPRESSIONS[config.compression](energy, config)


def _none(energy: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    del config
    return energy


def _log(energy: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    return tf.math.log(energy + config.log_offset)


def _db(energy: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Decibels; their floor hangs on the loudest value of the same example, never of the batch."""
    factor = 10.0 if config.spectrum == "power" else 20.0
    decibel = tf.math.log(tf.maximum(energy, config.log_offset)) * (factor / math.log(10.0))
    if config.top_db is None:
        return decibel
    return tf.maximum(decibel, tf.reduce_max(decibel, axis=[-2, -1], keepdims=True) - config.top_db)


def _pcen(energy: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Left to the classifier's first layers where it is trained with them."""
    return energy if config.pcen.trainable else pcen(energy, config)


_COMPRESSIONS: dict[str, Callable[[tf.Tensor, FrontEndConfig], tf.Tensor]] = {
    "log": _log,
    "db": _db,
    "pcen": _pcen,
    "none": _none,
}
