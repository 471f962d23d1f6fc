"""Bringing waveforms to the length that a classifier takes, inside the graph."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

Short = Literal["pad", "tile"]


def fix_length(
    waveform: tf.Tensor, num_samples: int, *, short: Short = "pad", start: int | tf.Tensor | None = None
) -> tf.Tensor:
    """Crops a waveform, or fills it up, to a fixed length.

    Args:
      waveform: float32 [n]; n may be 0, which gives zeros.
      num_samples: length of the result.
      short: "pad" adds zeros at the end, "tile" repeats the waveform.
      start: first sample of the crop (None: 0); moved so that the crop lies inside the waveform, and
        without effect on one that is not longer than num_samples.

    Returns:
      float32 [num_samples], of static shape.

    >>> fix_length(tf.constant([1.0, 2.0]), 5, short="tile").numpy().tolist()
    [1.0, 2.0, 1.0, 2.0, 1.0]
    """
    waveform = tf.convert_to_tensor(waveform, tf.float32)
    spare = tf.maximum(tf.shape(waveform)[0] - num_samples, 0)
    first = tf.clip_by_value(tf.cast(0 if start is None else start, tf.int32), 0, spare)
    if short == "tile":
        return _stretches(waveform, first[tf.newaxis], num_samples, short)[0]
    crop = waveform[first : first + num_samples]  # a copy of one block, in a tenth of the time of gathering
    return tf.ensure_shape(tf.pad(crop, [[0, num_samples - tf.shape(crop)[0]]]), [num_samples])


def windows(
    waveform: tf.Tensor, *, num_samples: int, hop: int, num_windows: int | tf.Tensor, short: Short = "pad"
) -> tf.Tensor:
    """Cuts a waveform into windows of equal length, one every `hop` samples.

    What a window reaches beyond the end of the waveform is filled as `fix_length` fills a short one:
    `ClipConfig.num_windows` says how many windows are worth having.

    Args:
      waveform: float32 [n].
      num_samples: samples in a window.
      hop: samples from the start of one window to the start of the next.
      num_windows: integer, or integer scalar tensor.
      short: "pad" or "tile".

    Returns:
      float32 [num_windows, num_samples].

    >>> windows(tf.range(5.0), num_samples=3, hop=2, num_windows=2).numpy().tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    """
    waveform = tf.convert_to_tensor(waveform, tf.float32)
    num_windows = tf.cast(num_windows, tf.int32)
    if short == "tile":
        return _stretches(waveform, tf.range(num_windows) * hop, num_samples, short)
    end = (num_windows - 1) * hop + num_samples
    padded = tf.pad(waveform[:end], [[0, tf.maximum(end - tf.shape(waveform)[0], 0)]])
    if hop == num_samples:
        return tf.reshape(padded, [num_windows, num_samples])
    # Cut out in blocks, in a fraction of the time of gathering sample by sample.
    return tf.ensure_shape(tf.signal.frame(padded, num_samples, hop), [None, num_samples])


def _stretches(waveform: tf.Tensor, starts: tf.Tensor, num_samples: int, short: Short) -> tf.Tensor:
    """float32 [n] and int32 [windows] to float32 [windows, num_samples]."""
    available = tf.maximum(tf.shape(waveform)[0] - starts, 0)[:, tf.newaxis]
    offsets = tf.range(num_samples)[tf.newaxis]
    if short == "tile":
        offsets = tf.math.floormod(offsets, tf.maximum(available, 1))
    end = tf.shape(waveform)[0]
    # One zero behind the end, which all indices beyond it point to.
    indices = tf.where(offsets < available, starts[:, tf.newaxis] + offsets, end)
    stretches = tf.gather(tf.pad(waveform, [[0, 1]]), indices)
    return tf.ensure_shape(stretches, [starts.shape[0], num_samples])
