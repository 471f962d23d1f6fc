"""The front end: waveform in, features out, as a function and as the Keras layer inside every model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.family import compute_family
from tfaudio.features.normalization import Normalization
from tfaudio.features.waveform import as_waveform, check_sample_rate


def compute_features(
    waveform: Any,
    config: FrontEndConfig,
    normalization: Normalization | None = None,
    *,
    sample_rate: int | None = None,
    check_values: bool = True,
) -> tf.Tensor:
    """Computes the features that a configuration describes.

    Every value depends on its own example alone, and the arithmetic is float32 whatever the Keras policy. Of a learnt
    front end this is the part before what is learnt: energies that are not yet compressed where PCEN is trained, and
    before a learnt filter bank, as of "waveform", the waveform itself, cut into steps.

    Args:
      waveform: float32 [..., num_samples], mono, in [-1, 1], at config.sample_rate. None at all is silence.
      config: what to compute.
      normalization: mean and deviation of each bin to standardise with; None or empty leaves the values alone.
      sample_rate: Hz, of the waveform where it is known, to be checked.
      check_values: refuse NaN, infinity and values far beyond full scale, in a graph by an assertion; to be left out
        only where that is known already.

    Returns:
      float32 [..., config.num_frames(num_samples), config.num_bins]; finite, whatever the waveform.

    Raises:
      TfaudioError: if the waveform is none, its values or its rate are refused, or the normalisation has another size.
      tf.errors.InvalidArgumentError: in place of it where a graph finds the values.

    >>> compute_features(tf.zeros([2, 16000]), FrontEndConfig()).shape
    TensorShape([2, 32, 64])
    """
    check_sample_rate(sample_rate, config.sample_rate)
    waveform = as_waveform(waveform, check_values=check_values)
    compute = _steps if config.takes_steps else compute_family
    if waveform.shape.rank != 2:
        # One waveform or a batch of batches is a batch: products with matrices sum in another order where there are two
        # axes, and end the process where there are four (oneDNN).
        rows = compute(tf.reshape(waveform, [-1, _sizes(waveform)[-1]]), config)
        features = tf.reshape(rows, [*_sizes(waveform)[:-1], *_sizes(rows)[1:]])
    else:
        features = compute(waveform, config)
    if normalization:
        if len(normalization.mean) != config.num_bins:
            raise TfaudioError(
                f"The normalisation has {len(normalization.mean)} bins, but the front end gives {config.num_bins}."
            )
        # One multiplication and one addition by constants: cheap on a device, and folded by converters.
        scale = 1.0 / np.asarray(normalization.stddev, np.float32)
        features = features * scale - np.asarray(normalization.mean, np.float32) * scale
    return features


def without_silence(features: Any, waveform: Any) -> Any:
    """Sets the features of a waveform of zeros alone to zero, by which a model that takes text too knows that there is
    no sound.

    Args:
      features: float32 [..., frames, bins].
      waveform: float32 [..., num_samples]; or a Keras tensor, as the features.
    """
    heard = keras.ops.cast(keras.ops.any(keras.ops.not_equal(waveform, 0.0), axis=-1), "float32")
    return features * keras.ops.expand_dims(keras.ops.expand_dims(heard, -1), -1)


_LEAST_POWER = 1e-10  # -100 dB of full scale; what is quieter is not raised to full level


def _steps(waveform: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """The waveform in steps, [..., num_frames, frame_step], filled up with silence.

    Where nothing learnt follows in the front end, at a mean power of one: recordings differ in level by more than the
    eight bits tell apart that a quantised classifier takes.
    """
    *leading, count = _sizes(waveform)
    if config.filterbank is None:
        power = tf.reduce_mean(tf.square(waveform), axis=-1, keepdims=True)
        waveform *= tf.math.rsqrt(tf.maximum(power, _LEAST_POWER))
    frames = config.num_frames(count)
    padding = [[0, 0]] * len(leading) + [[0, frames * config.frame_step - count]]
    return tf.reshape(tf.pad(waveform, padding), [*leading, frames, config.frame_step])


def _sizes(tensor: tf.Tensor) -> list[Any]:
    """Sizes of a tensor's axes: integers where they are known, and tensors where only the graph will know."""
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape)]


@keras.saving.register_keras_serializable(package="tfaudio")
class FrontEnd(keras.layers.Layer):
    """Keras layer around `compute_features`.

    Args:
      config: a FrontEndConfig, or its dictionary (as a saved model holds it).
      normalization: a Normalization, its dictionary, or None.

    Example:

    >>> FrontEnd(FrontEndConfig(num_mel_bins=40))(np.zeros([1, 16000], "float32")).shape
    TensorShape([1, 32, 40])

    Input shape: [batch, samples], float32. Values that are not finite or far beyond full scale raise.
    Output shape: [batch, config.num_frames(samples), config.num_bins], float32.
    """

    def __init__(
        self,
        config: FrontEndConfig | dict[str, Any],
        normalization: Normalization | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")  # half precision cannot hold the range of a power spectrum
        super().__init__(trainable=False, **kwargs)
        self.supports_jit = False  # in compiled code the assertion on the waveform would vanish
        self.config = config if isinstance(config, FrontEndConfig) else FrontEndConfig.from_dict(config)
        if isinstance(normalization, dict):
            normalization = Normalization.from_dict(normalization)
        self.normalization = normalization or None

    def call(self, waveform: Any) -> tf.Tensor:
        waveform = tf.convert_to_tensor(waveform)
        self._check_rank(waveform.shape.rank)
        return compute_features(waveform, self.config, self.normalization)

    @staticmethod
    def _check_rank(rank: int | None) -> None:
        if rank != 2:  # [batch, samples, channels] would pass for many waveforms of a sample or two
            raise TfaudioError(
                f"The front end takes waveforms [batch, samples], mono, not {rank} axes; average channels, and add an "
                "axis to a single waveform."
            )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        self._check_rank(len(input_shape))
        samples = input_shape[-1]
        frames = None if samples is None else self.config.num_frames(samples)
        return (*input_shape[:-1], frames, self.config.num_bins)

    def get_config(self) -> dict[str, Any]:
        return {
            **{k: v for k, v in super().get_config().items() if k != "trainable"},
            "config": self.config.to_dict(),
            "normalization": self.normalization.to_dict() if self.normalization else None,
        }
