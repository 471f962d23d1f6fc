"""Mel-frequency cepstral coefficients: the cosine transform of a compressed mel spectrum, as one matrix."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig


@functools.lru_cache(maxsize=16)
def cepstral_matrix(num_bands: int, num_coefficients: int, lifter: float) -> npt.NDArray[np.float32]:
    """Builds the orthonormal cosine transform (DCT-II) and the liftering behind it.

    Args:
      num_bands: mel bands.
      num_coefficients: the first ones are kept.
      lifter: L of the liftering 1 + L/2 sin(pi (k + 1) / L) of coefficient k; 0 leaves them alone.

    Returns:
      float32 [num_bands, num_coefficients].

    Source: N. Ahmed et al., Discrete Cosine Transform (1974); B.-H. Juang et al., On the use of bandpass liftering in
    speech recognition (1987).

    >>> cepstral_matrix(40, 13, 22.0).shape
    (40, 13)
    """
    band, coefficient = np.arange(num_bands)[:, None], np.arange(num_coefficients)
    matrix = np.cos(np.pi * coefficient * (2 * band + 1) / (2 * num_bands)) * np.sqrt(2.0 / num_bands)
    matrix[:, 0] *= np.sqrt(0.5)
    if lifter:
        matrix *= 1.0 + lifter / 2.0 * np.sin(np.pi * (coefficient + 1) / lifter)
    result = matrix.astype(np.float32)
    result.setflags(write=False)  # the cache hands out this very array
    return result


def mfcc(compressed_bands: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes cepstral coefficients.

    Args:
      compressed_bands: float32 [..., frames, num_mel_bins], on a logarithmic scale as a rule.
      config: num_mel_bins, num_mfcc and mfcc_lifter are used.

    Returns:
      float32 [..., frames, num_mfcc].
    """
    matrix = cepstral_matrix(config.num_mel_bins, config.num_mfcc, config.mfcc_lifter)
    return tf.matmul(compressed_bands, matrix)
