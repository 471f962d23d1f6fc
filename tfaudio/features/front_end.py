"""The front end: waveform in, features out, as a function and as the Keras layer inside every model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.compression import compress
from tfaudio.features.mel import mel_matrix
from tfaudio.features.normalization import Normalization
from tfaudio.features.stft import power_spectrogram


def compute_features(waveform: Any, config: FrontEndConfig, normalization: Normalization | None = None) -> tf.Tensor:
    """Computes the features that a configuration describes.

    Every value depends on its own example alone, and the arithmetic is float32 whatever the Keras policy.

    Args:
      waveform: float32 [..., num_samples], mono, in [-1, 1], at config.sample_rate.
      config: what to compute.
      normalization: mean and deviation of each bin to standardise with; None or empty leaves the values alone.

    Returns:
      float32 [..., config.num_frames(num_samples), config.num_bins].

    Raises:
      TfaudioError: if the waveform is a scalar or holds integers, or the normalisation has another size.

    >>> compute_features(tf.zeros([2, 16000]), FrontEndConfig()).shape
    TensorShape([2, 32, 64])
    """
    waveform = tf.convert_to_tensor(waveform)
    if not waveform.dtype.is_floating:
        raise TfaudioError(
            f"The waveform holds {waveform.dtype.name} values; scale it to floats in [-1, 1] first "
            "(int16 samples / 32768)."
        )
    if waveform.shape.rank == 0:
        raise TfaudioError("The waveform is a single number; pass [..., samples].")
    waveform = tf.cast(waveform, tf.float32)
    power = power_spectrogram(waveform, config)
    if config.feature == "mel":
        power = tf.matmul(power, mel_matrix(config))
    features = compress(power, config)
    if normalization:
        if len(normalization.mean) != config.num_bins:
            raise TfaudioError(
                f"The normalisation has {len(normalization.mean)} bins, but the front end gives {config.num_bins}."
            )
        # One multiplication and one addition by constants: cheap on a device, and folded by converters.
        scale = 1.0 / np.asarray(normalization.stddev, np.float32)
        features = features * scale - np.asarray(normalization.mean, np.float32) * scale
    return features


@keras.saving.register_keras_serializable(package="tfaudio")
class FrontEnd(keras.layers.Layer):
    """Keras layer around `compute_features`.

    Args:
      config: a FrontEndConfig, or its dictionary (as a saved model holds it).
      normalization: a Normalization, its dictionary, or None.

    Example:

    >>> FrontEnd(FrontEndConfig(num_mel_bins=40))(np.zeros([1, 16000], "float32")).shape
    TensorShape([1, 32, 40])

    Input shape: [batch, samples], float32.
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
        self.config = config if isinstance(config, FrontEndConfig) else FrontEndConfig.from_dict(config)
        if isinstance(normalization, dict):
            normalization = Normalization.from_dict(normalization)
        self.normalization = normalization or None

    def call(self, waveform: Any) -> tf.Tensor:
        return compute_features(waveform, self.config, self.normalization)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        samples = input_shape[-1]
        frames = None if samples is None else self.config.num_frames(samples)
        return (*input_shape[:-1], frames, self.config.num_bins)

    def get_config(self) -> dict[str, Any]:
        return {
            **{k: v for k, v in super().get_config().items() if k != "trainable"},
            "config": self.config.to_dict(),
            "normalization": self.normalization.to_dict() if self.normalization else None,
        }
