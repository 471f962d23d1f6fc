"""Stateless randomness: every draw follows from a seed that is handed in, in any order of execution."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class Change(enum.IntEnum):
    """The number by which each change derives its seed, so that a new change leaves the draws of the others alone.

    A number, once given, stands: another one would change the result of a seed.
    """

    SPEED = 1
    TIME_STRETCH = 2
    PITCH_SHIFT = 3
    POLARITY = 4
    REVERB = 5
    BACKGROUND = 6
    FILTER = 7
    CLIPPING = 8
    CODEC = 9
    FILTER_AUGMENT = 10
    FREQUENCY_SHIFT = 11
    TIME_WARP = 12
    SAME_CLASS = 13
    CUTMIX = 14
    MIXUP_CHOICE = 15
    BETWEEN_CLASS = 16
    DROPPED_INPUT = 20


def split_seed(seed: Any, count: int) -> list[tf.Tensor]:
    """Derives independent seeds, integer [2] each, from one."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, count), num=count)


def fold_in(seed: Any, number: Any) -> tf.Tensor:
    """Derives the seed, integer [2], of one of many numbered things."""
    seed = tf.convert_to_tensor(seed)
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, seed.dtype))


def draw(range_: tuple[float, ...], seed: Any) -> tf.Tensor:
    """Draws from a range, uniformly."""
    return tf.random.stateless_uniform([], seed, range_[0], range_[1])


def draw_log(range_: tuple[float, ...], seed: Any) -> tf.Tensor:
    """Draws from a range of positive values so that equal ratios are equally likely."""
    low, high = tf.math.log(tf.constant(range_[0])), tf.math.log(tf.constant(range_[1]))
    return tf.exp(tf.random.stateless_uniform([], seed) * (high - low) + low)


def draw_index(count: int | tf.Tensor, seed: Any) -> tf.Tensor:
    """Draws one of `count` things, int32."""
    return tf.random.stateless_uniform([], seed, 0, count, tf.int32)


def sometimes(
    waveform: tf.Tensor,
    probability: float,
    seed: Any,
    number: Change,
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Changes a share of the waveforms.

    Args:
      waveform: float32 [samples].
      probability: that share; 0 adds nothing to the graph.
      seed: integer [2], of the example.
      number: of the change, by which it has a seed of its own.
      change: (waveform, seed) to a waveform of the same length; in a branch, so that it costs only where it is drawn.

    Returns:
      float32 [samples].
    """
    if not probability:
        return waveform
    chosen_seed, change_seed = split_seed(fold_in(seed, number), 2)
    chosen = tf.random.stateless_uniform([], chosen_seed) < probability
    return tf.cond(chosen, lambda: change(waveform, change_seed), lambda: waveform)
