"""Low-, high- and band-pass filters, as another microphone or loudspeaker has them."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfaudio.augment.seeds import draw_index, draw_log, split_seed
from tfaudio.augment.spectrum import apply_gain
from tfaudio.config.augment import FilterConfig

# Fourth order: 24 dB an octave, as of loudspeakers' crossovers. A gentler slope is hardly heard, a steeper one rings.
ORDER = 4


def low_pass_gain(frequencies: tf.Tensor, cutoff_hertz: Any, order: int = ORDER) -> tf.Tensor:
    """Magnitude of a Butterworth low-pass, 3 dB down at its cut-off.

    Source: S. Butterworth, "On the Theory of Filter Amplifiers", 1930: |H|^2 = 1 / (1 + (f / fc)^(2 n)).
    """
    return tf.math.rsqrt(1.0 + tf.pow(frequencies / cutoff_hertz, 2.0 * order))


def high_pass_gain(frequencies: tf.Tensor, cutoff_hertz: Any, order: int = ORDER) -> tf.Tensor:
    """Magnitude of a Butterworth high-pass, 3 dB down at its cut-off; 0 at 0 Hz."""
    return tf.math.rsqrt(1.0 + tf.pow(cutoff_hertz / frequencies, 2.0 * order))  # 1 / inf at 0 Hz


def low_pass(waveform: tf.Tensor, sample_rate: int, cutoff_hertz: Any, order: int = ORDER) -> tf.Tensor:
    """Takes the treble above a cut-off from a waveform [samples], without delay."""
    return apply_gain(waveform, sample_rate, lambda f: low_pass_gain(f, cutoff_hertz, order))


def high_pass(waveform: tf.Tensor, sample_rate: int, cutoff_hertz: Any, order: int = ORDER) -> tf.Tensor:
    """Takes the bass below a cut-off from a waveform [samples], without delay."""
    return apply_gain(waveform, sample_rate, lambda f: high_pass_gain(f, cutoff_hertz, order))


def band_pass(
    waveform: tf.Tensor, sample_rate: int, lower_hertz: Any, upper_hertz: Any, order: int = ORDER
) -> tf.Tensor:
    """Leaves what lies between two cut-offs of a waveform [samples], without delay."""
    return apply_gain(
        waveform, sample_rate, lambda f: high_pass_gain(f, lower_hertz, order) * low_pass_gain(f, upper_hertz, order)
    )


def random_filter(waveform: tf.Tensor, sample_rate: int, config: FilterConfig, seed: Any) -> tf.Tensor:
    """Applies one of the configured kinds of filter, at cut-offs drawn evenly over octaves."""
    kind_seed, low_seed, high_seed = split_seed(seed, 3)
    upper, lower = draw_log(config.low_pass_hertz, low_seed), draw_log(config.high_pass_hertz, high_seed)
    gains = {
        "low_pass": lambda f: low_pass_gain(f, upper),
        "high_pass": lambda f: high_pass_gain(f, lower),
        "band_pass": lambda f: high_pass_gain(f, lower) * low_pass_gain(f, upper),
    }
    kinds = [gains[kind] for kind in config.kinds]

    def gain(frequencies: tf.Tensor) -> tf.Tensor:
        branches = [functools.partial(kind, frequencies) for kind in kinds]
        return tf.switch_case(draw_index(len(kinds), kind_seed), branches)

    return apply_gain(waveform, sample_rate, gain)
