"""What a waveform has to be before features are taken from it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfaudio.config import LARGEST_SAMPLE
from tfaudio.errors import TfaudioError

_NOT_FINITE = "The waveform holds samples that are not finite numbers (NaN or infinity); leave the recording out."
_TOO_LARGE = (
    f"The waveform holds samples beyond {LARGEST_SAMPLE:g} where full scale is 1, which looks like 16-bit integers; "
    "divide it by 32768."
)


def as_waveform(samples: Any, *, check_values: bool) -> tf.Tensor:
    """Turns samples into a float32 tensor [..., num_samples], and refuses what is no waveform.

    Args:
      samples: anything that converts to a tensor of floats.
      check_values: refuse NaN, infinity and values beyond `LARGEST_SAMPLE` too. In a graph, which has no values yet,
        an assertion is added: it raises InvalidArgumentError when the graph runs, vanishes in compiled (XLA) code and
        is left out of .tflite files.

    Raises:
      TfaudioError: if they are integers, complex, a single number, of unknown rank, or their values are refused.
    """
    waveform = tf.convert_to_tensor(samples)
    if not waveform.dtype.is_floating:
        raise TfaudioError(
            f"The waveform holds {waveform.dtype.name} values; scale it to floats in [-1, 1] first "
            "(int16 samples / 32768)."
        )
    if waveform.shape.rank is None:
        raise TfaudioError("The number of the waveform's axes is not known; set its shape to [..., samples].")
    if waveform.shape.rank == 0:
        raise TfaudioError("The waveform is a single number; pass [..., samples].")
    waveform = tf.cast(waveform, tf.float32)
    if check_values:
        _check_values(waveform)
    return waveform


def _check_values(waveform: tf.Tensor) -> None:
    usable = tf.reduce_all(tf.abs(waveform) <= LARGEST_SAMPLE)  # of NaN too, which no comparison holds for
    if not tf.executing_eagerly():
        tf.debugging.Assert(usable, [f"{_TOO_LARGE} Or: {_NOT_FINITE}"], name="usable_waveform")
    elif not usable:
        finite = tf.reduce_all(tf.math.is_finite(waveform))
        raise TfaudioError(_TOO_LARGE if finite else _NOT_FINITE)


def check_sample_rate(sample_rate: int | None, expected: int) -> None:
    """Refuses a waveform at another rate than the front end's; None is not known, and believed.

    Raises:
      TfaudioError: if the rates differ.
    """
    if sample_rate is not None and sample_rate != expected:
        raise TfaudioError(
            f"The waveform has {sample_rate} Hz, but front_end.sample_rate is {expected} Hz; resample it first "
            "(tfaudio.audio.resample.resample)."
        )
