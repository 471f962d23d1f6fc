"""Recordings in memory that the pipeline's graph draws from: backgrounds, and impulse responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf


class SoundBank:
    """Waveforms of different lengths, one after the other in one tensor (not a constant: graphs end at 2 GB).

    Args:
      waveforms: float32 [n] each; at least one, none of them empty.
    """

    def __init__(self, waveforms: Sequence[npt.NDArray[np.float32]]) -> None:
        if not waveforms or not all(len(w) for w in waveforms):
            raise ValueError("A bank needs waveforms, and samples in each of them.")
        lengths = np.array([len(w) for w in waveforms], np.int64)
        self._shortest = int(lengths.min())
        self._samples = tf.constant(np.concatenate(waveforms))
        self._lengths = tf.constant(lengths)
        self._offsets = tf.constant(np.cumsum(lengths) - lengths)

    def random(self, seed: Any) -> tf.Tensor:
        """Draws one of the waveforms, whole: float32 [n]."""
        offset, length = self._place(tf.random.stateless_uniform([], seed))
        return tf.slice(self._samples, offset[tf.newaxis], length[tf.newaxis])

    def cut(self, num_samples: Any, which: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
        """Cuts a stretch out of one of the waveforms; a short one is repeated.

        Args:
          num_samples: length of the stretch.
          which: of the waveforms, float32 scalar in [0, 1).
          where: the stretch begins, float32 scalar in [0, 1): of a long one where a whole stretch is left, of a short
            one anywhere.

        Returns:
          float32 [num_samples].
        """
        offset, length = self._place(which)
        wanted = tf.cast(num_samples, tf.int64)

        def stretch() -> tf.Tensor:
            return tf.slice(
                self._samples, (offset + _index(where, length - wanted + 1))[tf.newaxis], wanted[tf.newaxis]
            )

        if isinstance(num_samples, int) and num_samples <= self._shortest:
            return stretch()  # without a branch, which costs more than the cut
        return tf.cond(
            length >= wanted,
            stretch,
            lambda: tf.gather(self._samples, offset + (_index(where, length) + tf.range(wanted)) % length),
        )

    def _place(self, which: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Offset and length, int64, of one of the waveforms."""
        if len(self._lengths) == 1:
            return self._offsets[0], self._lengths[0]
        index = _index(which, len(self._lengths))
        return tf.gather(self._offsets, index), tf.gather(self._lengths, index)


def _index(share: tf.Tensor, count: Any) -> tf.Tensor:
    """The index, int64, at a share in [0, 1) of `count` things; in double precision, which does not round up to 1."""
    return tf.cast(tf.cast(share, tf.float64) * tf.cast(count, tf.float64), tf.int64)
