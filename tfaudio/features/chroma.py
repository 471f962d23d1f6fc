"""Chroma: how the power of a frame is shared among the pitch classes, whatever the octave."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig

_LOWEST_A_HERTZ = 440.0 / 16  # where the octaves are counted from
# Octaves far from the fifth above the lowest A tell little of the harmony: a bell of this width, in octaves.
_CENTRE_OCTAVE, _OCTAVE_WIDTH = 5.0, 2.0
_TINY = np.finfo(np.float32).tiny


@functools.lru_cache(maxsize=16)
def chroma_matrix(config: FrontEndConfig) -> npt.NDArray[np.float32]:
    """Builds the filter bank from a power spectrum to pitch classes, of which the first is C (with 12 of them).

    A Fourier bin is shared among the classes by a bell around its own pitch, as wide as the bin is; the shares have
    the Euclidean norm 1, times the weight of the bin's octave.

    Args:
      config: sample_rate, fft_length and num_chroma are used.

    Returns:
      float32 [fft_length // 2 + 1, num_chroma].

    Source: D. Ellis, Chroma feature analysis and synthesis (2007); with the settings of librosa.filters.chroma.

    >>> chroma_matrix(FrontEndConfig()).shape
    (513, 12)
    """
    classes = config.num_chroma
    hertz = np.arange(1, config.fft_length) * (config.sample_rate / config.fft_length)
    pitch = classes * np.log2(hertz / _LOWEST_A_HERTZ)  # in classes, from the lowest A
    pitch = np.concatenate([[pitch[0] - 1.5 * classes], pitch])  # silence at 0 Hz: an octave and a half below
    width = np.append(np.maximum(np.diff(pitch), 1.0), 1.0)
    half = np.round(classes / 2.0)
    distance = np.remainder(pitch[:, None] - np.arange(classes) + half + 10 * classes, classes) - half
    shares = np.exp(-0.5 * (2.0 * distance / width[:, None]) ** 2)
    shares /= np.linalg.norm(shares, axis=1, keepdims=True)
    shares *= np.exp(-0.5 * ((pitch / classes - _CENTRE_OCTAVE) / _OCTAVE_WIDTH) ** 2)[:, None]
    from_c = np.roll(shares, -3 * (classes // 12), axis=1)  # C is three semitones above A
    matrix = from_c[: config.fft_length // 2 + 1].astype(np.float32)
    matrix.setflags(write=False)  # the cache hands out this very array
    return matrix


def chroma(power: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes the pitch classes of each frame, the strongest being 1; all are 0 in a silent frame.

    Args:
      power: float32 [..., frames, fft_length // 2 + 1].
      config: sample_rate, fft_length and num_chroma are used.

    Returns:
      float32 [..., frames, num_chroma], 0 to 1.
    """
    classes = tf.matmul(power, chroma_matrix(config))
    return classes / tf.maximum(tf.reduce_max(classes, axis=-1, keepdims=True), _TINY)
