"""How features change: slope and curvature over time, from a parabola fitted to the frames around each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig


def slope_weights(half: int) -> npt.NDArray[np.float64]:
    """Weights [half] of x[t + k] - x[t - k], k = 1 to half, in the slope of a straight line through 2 half + 1 frames.

    Source: A. Savitzky and M. Golay, Smoothing and differentiation of data by simplified least squares procedures
    (1964), for the degree 1; the regression formula of speech recognition.
    """
    k = np.arange(1, half + 1)
    return k / (2.0 * np.sum(k**2))


def curvature_weights(half: int) -> npt.NDArray[np.float64]:
    """Weights [half] of x[t + k] + x[t - k] - 2 x[t], k = 1 to half, in the second derivative of a fitted parabola.

    Source: as `slope_weights`, for the degree 2. The weights of all frames sum to zero, so that of x[t] itself
    follows from the others.
    """
    k = np.arange(-half, half + 1)
    bent = k**2 - np.mean(k**2)  # what of a parabola no constant can explain
    return (2.0 * bent / np.sum(bent**2))[half + 1 :]


def append_deltas(features: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Appends each bin's slope and, with deltas = 2, its curvature; the first and last frame go on beyond the ends.

    Args:
      features: float32 [..., frames, bins], of one frame at least.
      config: deltas and delta_frames are used.

    Returns:
      float32 [..., frames, (1 + deltas) * bins]: all bins, their slopes (a frame), their curvatures (a frame squared).

    Source: librosa.feature.delta(mode="nearest"), of order 1 and 2; the curvature is not the slope of the slope.
    """
    half = config.delta_frames // 2
    static_frames = features.shape[-2]
    frames = tf.shape(features)[-2] if static_frames is None else static_frames
    first, last = features[..., :1, :], features[..., -1:, :]
    around = tf.concat([*[first] * half, features, *[last] * half], axis=-2)

    def shifted(k: int) -> tf.Tensor:
        return around[..., half + k : half + k + frames, :]

    # Sums of differences: exactly zero where nothing changes, and the same for any size of the batch.
    parts = [features, tf.add_n([w * (shifted(k) - shifted(-k)) for k, w in enumerate(slope_weights(half), 1)])]
    if config.deltas == 2:
        weighted = enumerate(curvature_weights(half), 1)
        parts.append(tf.add_n([w * ((shifted(k) - features) + (shifted(-k) - features)) for k, w in weighted]))
    return tf.concat(parts, axis=-1)
