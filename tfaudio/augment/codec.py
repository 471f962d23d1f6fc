"""What a transmission leaves of a sound: a narrow band, few bits."""

from __future__ import annotations

import functools
import math
from typing import Any

import tensorflow as tf

from tfaudio.augment.filters import band_pass, low_pass
from tfaudio.augment.seeds import draw_index, draw_log, split_seed
from tfaudio.config.augment import CodecConfig

_MU = 255.0
_LEVELS = 127.0  # of either sign: 8 bits, and one zero
_TELEPHONE_BAND_HERTZ = (300.0, 3_400.0)
_TELEPHONE_NYQUIST_HERTZ = 4_000.0
_STEEP = 16  # order: 96 dB an octave


def mu_law(waveform: tf.Tensor) -> tf.Tensor:
    """Quantises to 8 bits of mu-law, full scale being the waveform's largest sample, and expands again.

    Args:
      waveform: float32 [samples].

    Returns:
      float32 [samples].

    Source: ITU-T G.711 (1988), the continuous curve F(x) = sgn(x) ln(1 + mu |x|) / ln(1 + mu), mu = 255.
    """
    peak = tf.reduce_max(tf.abs(waveform), keepdims=True)
    compressed = tf.math.log1p(_MU * tf.math.divide_no_nan(tf.abs(waveform), peak)) / math.log1p(_MU)
    quantised = tf.round(compressed * _LEVELS) / _LEVELS
    return tf.sign(waveform) * peak * tf.math.expm1(quantised * math.log1p(_MU)) / _MU


def telephone(waveform: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """The band of a telephone, 300 to 3400 Hz, in mu-law at 8 kHz.

    The waveform stays at its own rate; what quantisation adds above the 4 kHz that the line carries is taken off.
    """
    narrow = mu_law(band_pass(waveform, sample_rate, *_TELEPHONE_BAND_HERTZ, _STEEP // 2))
    return low_pass(narrow, sample_rate, _TELEPHONE_NYQUIST_HERTZ, _STEEP)


def random_codec(waveform: tf.Tensor, sample_rate: int, config: CodecConfig, seed: Any) -> tf.Tensor:
    """Sends a waveform [samples] through one of the configured kinds of codec."""
    kind_seed, width_seed = split_seed(seed, 2)
    kinds = {
        "telephone": functools.partial(telephone, waveform, sample_rate),
        "low_rate": lambda: low_pass(waveform, sample_rate, draw_log(config.bandwidth_hertz, width_seed), _STEEP),
    }
    return tf.switch_case(draw_index(len(config.kinds), kind_seed), [kinds[kind] for kind in config.kinds])
