"""Features of the waveform itself, frame by frame, without a window."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfaudio.config import FrontEndConfig
from tfaudio.features.stft import centred_frames

_SILENT = 1e-10  # samples nearer to zero than this have no sign (librosa's threshold)


def rms(waveform: Any, config: FrontEndConfig) -> tf.Tensor:
    """Computes the root of the mean square of each frame; silence surrounds the waveform.

    Args:
      waveform: float32 [..., num_samples].
      config: frame_length and frame_step are used.

    Returns:
      float32 [..., num_frames, 1].
    """
    length = config.frame_length
    squares = centred_frames(tf.square(waveform), length, config.frame_step, before=length // 2)
    return tf.sqrt(tf.reduce_mean(squares, axis=-1, keepdims=True))


def zero_crossing_rate(waveform: Any, config: FrontEndConfig) -> tf.Tensor:
    """Computes the share of a frame's samples whose sign differs from that of the sample before, inside the frame.

    Zero counts as positive. Beyond its ends the waveform goes on as its first and last sample, so nothing is crossed
    there.

    Args:
      waveform: float32 [..., num_samples].
      config: frame_length and frame_step are used.

    Returns:
      float32 [..., num_frames, 1], 0 to 1.
    """
    length = config.frame_length
    negative = tf.cast(waveform < -_SILENT, tf.float32)
    crossed = tf.abs(negative - tf.concat([negative[..., :1], negative[..., :-1]], axis=-1))
    # Of the frame's first sample the one before lies outside: frames that are one shorter, and begin one later.
    inside = centred_frames(crossed, length - 1, config.frame_step, before=length // 2 - 1)
    return tf.reduce_sum(inside, axis=-1, keepdims=True) / length
