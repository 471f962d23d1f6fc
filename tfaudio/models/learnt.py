"""The learnt part of a front end: filter banks and energy normalisation trained with the classifier behind them.

Every parameter is an offset from its starting value in a unit of its own (bandwidths, factors), and starts at zero:
steps of one size suit all of them, and weight decay draws them towards the mel scale rather than towards nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.mel import hertz_to_mel, mel_to_hertz
from tfaudio.features.pcen import pcen
from tfaudio.models.layers import Tensor, apply_mask, batch_norm, model_inputs

NAME = "learnt_front_end"

# The filters' outputs are complex and narrow, so their energy needs no full rate: this many values for each hertz of
# the widest filter keep it within a percent.
_RATE_PER_BANDWIDTH = 4.0
_LARGEST_FACTOR = 2.0  # of a width, either way: what the rate above allows
_LARGEST_SHIFT = 4.0  # of a centre, in bandwidths


def build_learnt_front_end(config: FrontEndConfig, *, masked: bool) -> keras.Model:
    """Builds the layers between what is computed from the waveform alone and the classifier's body.

    Args:
      config: of the front end; config.learnt holds.
      masked: also take a mask [batch, frames].

    Returns:
      Model from [batch, frames, config.num_bins] to features [batch, frames, config.num_learnt_bins], standardised
      by batch normalisation.

    Raises:
      TfaudioError: if a filter has no room in its frame.
    """
    inputs, x, mask = model_inputs((None, config.num_bins), masked=masked)
    if config.filterbank:
        x = Filterbank(config, name=config.filterbank)(x, mask)
        if config.compression == "log":
            x = ops.log(x + config.log_offset)
    if config.compression == "pcen":
        x = Pcen(config, name="pcen")(x)
    x = batch_norm(apply_mask(x, mask), mask)
    return keras.Model(inputs, apply_mask(x, mask), name=NAME)


class _OfFrontEnd(layers.Layer):
    """A float32 layer that keeps a FrontEndConfig, as object or dictionary."""

    def __init__(self, config: FrontEndConfig | dict[str, Any], **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")  # energies span more than half precision holds
        super().__init__(**kwargs)
        self.config = config if isinstance(config, FrontEndConfig) else FrontEndConfig.from_dict(config)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "config": self.config.to_dict()}

    def _offset(self, name: str, count: int) -> Tensor:
        return self.add_weight(name=name, shape=(count,), initializer="zeros", trainable=self._learns)

    @property
    def _learns(self) -> bool:
        return True


@keras.saving.register_keras_serializable(package="tfaudio")
class Pcen(_OfFrontEnd):
    """`tfaudio.features.pcen.pcen` with gain, bias and power of each bin learnt where config.pcen.trainable says so.

    Input and output: float32 [batch, frames, bins].
    """

    @property
    def _learns(self) -> bool:
        return self.config.pcen.trainable

    def build(self, input_shape: Any) -> None:
        self.gain = self._offset("gain", input_shape[-1])
        self.log_bias = self._offset("log_bias", input_shape[-1])
        self.log_power = self._offset("log_power", input_shape[-1])

    def call(self, energy: Tensor) -> Tensor:
        settings = self.config.pcen
        return pcen(
            energy,
            self.config,
            gain=ops.clip(settings.gain + self.gain, 0.0, 1.0),
            bias=max(settings.bias, 1e-6) * ops.exp(self.log_bias),
            power=ops.clip(settings.power * ops.exp(self.log_power), 1e-2, 1.0),
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="tfaudio")
class Filterbank(_OfFrontEnd):
    """Complex band-pass filters of learnt centre and width over the waveform, and their energy smoothed to frames.

    "leaf" has Gabor filters, a Gaussian of frequencies; "sincnet" has rectangles of frequencies under a Hamming
    window. They start at the centres and half-power widths of the mel bands. The energy is smoothed by a Gaussian of
    learnt width, as in LEAF.

    Input: float32 [batch, frames, config.frame_step], the waveform in steps; and a mask [batch, frames] or None.
    Output: float32 [batch, frames, config.num_mel_bins], energies.

    Source: N. Zeghidour et al., LEAF (2021), https://arxiv.org/abs/2101.08596; M. Ravanelli and Y. Bengio, SincNet
    (2018), https://arxiv.org/abs/1808.00158, here in quadrature, so that the energy has no ripple.
    """

    def __init__(self, config: FrontEndConfig | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self._centre, self._bandwidth = _mel_bands(self.config)
        self.stride = _stride(self.config, float(self._bandwidth.max()))

    def build(self, input_shape: Any) -> None:
        count = self.config.num_mel_bins
        self.centre = self._offset("centre", count)
        self.log_width = self._offset("log_width", count)
        self.log_smoothing = self._offset("log_smoothing", count)

    def filters(self) -> Tensor:
        """Impulse responses, float32 [config.frame_length, 2 * filters]: real parts before imaginary parts."""
        length, rate = self.config.frame_length, self.config.sample_rate
        shift = ops.clip(self.centre, -_LARGEST_SHIFT, _LARGEST_SHIFT) * self._bandwidth
        centre = ops.clip(self._centre + shift, 0.0, rate / 2)  # Hz
        width = self._bandwidth * _factor(self.log_width)  # Hz
        time = ((np.arange(length) - length // 2) / rate).astype(np.float32)[:, None]  # seconds
        envelope = _ENVELOPES[self.config.feature](time, width, rate)
        phase = ops.cast(2.0 * np.pi, "float32") * time * centre
        return ops.concatenate([envelope * ops.cos(phase), envelope * ops.sin(phase)], axis=1)

    def call(self, steps: Tensor, audio: Tensor | None = None) -> Tensor:  # Keras reserves the name "mask"
        length, step = self.config.frame_length, self.config.frame_step
        frames = steps.shape[1]
        shape = (ops.shape(steps)[0], -1, 1) if frames is None else (-1, frames * step, 1)
        waveform = ops.reshape(steps, shape)
        waveform = ops.pad(waveform, [[0, 0], [length // 2, length - 1 - length // 2], [0, 0]])
        kernel = ops.expand_dims(self.filters(), 1)
        output = ops.conv(waveform, kernel, strides=self.stride, padding="valid")
        real, imaginary = ops.split(output, 2, axis=-1)
        energy = ops.square(real) + ops.square(imaginary)  # [batch, samples / stride, filters]
        if audio is not None:  # the filters ring on after the end, where a shorter input has nothing to smooth
            energy = apply_mask(energy, ops.repeat(audio, step // self.stride, axis=1))
        reach = length // 2 // self.stride
        energy = ops.pad(energy, [[0, 0], [reach, reach], [0, 0]])
        smoothing = ops.expand_dims(self._smoothing(reach), -1)
        return ops.depthwise_conv(energy, smoothing, strides=step // self.stride, padding="valid")

    def _smoothing(self, reach: int) -> Tensor:
        """Gaussians that sum to one, [2 * reach + 1, filters]; they start at 0.4 of half a frame, as LEAF's."""
        deviation = 0.4 * max(reach, 1) * _factor(self.log_smoothing)
        distance = np.arange(-reach, reach + 1, dtype=np.float32)[:, None]
        weights = ops.exp(-0.5 * ops.square(distance / deviation))
        return weights / ops.sum(weights, axis=0, keepdims=True)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[1], self.config.num_mel_bins)


def _factor(log_factor: Tensor) -> Tensor:
    limit = math.log(_LARGEST_FACTOR)
    return ops.exp(ops.clip(log_factor, -limit, limit))


def _gabor(time: np.ndarray, width: Tensor, rate: int) -> Tensor:
    """Gaussians whose power in frequency falls to one half at width / 2 from its centre; unit gain there."""
    deviation = math.sqrt(math.log(2.0)) / (math.pi * width)  # seconds
    scale = 1.0 / (math.sqrt(2.0 * math.pi) * deviation * rate)
    return scale * ops.exp(-0.5 * ops.square(time / deviation))


def _sinc(time: np.ndarray, width: Tensor, rate: int) -> Tensor:
    """Ideal low passes of half the width, of unit gain, under a Hamming window."""
    length = len(time)
    hamming = (0.54 - 0.46 * np.cos(2.0 * np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)[:, None]
    angle = math.pi * time * width
    nought = np.abs(time) < 1e-9
    sinc = ops.where(nought, 1.0, ops.sin(angle) / ops.where(nought, 1.0, angle))
    return hamming * width / rate * sinc


_ENVELOPES: dict[str, Callable[[np.ndarray, Tensor, int], Tensor]] = {"leaf": _gabor, "sincnet": _sinc}


def _mel_bands(config: FrontEndConfig) -> tuple[np.ndarray, np.ndarray]:
    """Centres and half-power widths of the mel triangles in Hz, float32 [filters] each.

    Raises:
      TfaudioError: if the frame is too short to tell the narrowest band from its neighbours.
    """
    low, high = hertz_to_mel([config.lower_edge_hertz, config.upper_edge], config.mel_scale)
    edges = mel_to_hertz(np.linspace(low, high, config.num_mel_bins + 2), config.mel_scale)
    width = (edges[2:] - edges[:-2]) / 2.0
    # A filter reaches about two periods of its width; the narrowest are widened to what their frame can hold.
    width = np.maximum(width, 2.0 * config.sample_rate / config.frame_length)
    if width.max() > config.sample_rate / 2:
        raise TfaudioError(
            f"front_end.frame_length ({config.frame_length}) is too short for learnt filters at {config.sample_rate} "
            "Hz; choose 25 ms or more."
        )
    return edges[1:-1].astype(np.float32), width.astype(np.float32)


def _stride(config: FrontEndConfig, widest: float) -> int:
    """Samples from one value of the filters' energy to the next: a divisor of frame_step."""
    most = config.sample_rate / (_RATE_PER_BANDWIDTH * _LARGEST_FACTOR * widest)
    divisors = [d for d in range(1, config.frame_step + 1) if config.frame_step % d == 0]
    return max([d for d in divisors if d <= most], default=1)
