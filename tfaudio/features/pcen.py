"""Per-channel energy normalisation, in operations of any Keras backend, since it may be trained with a classifier."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from tfaudio.config import FrontEndConfig

Tensor = Any  # a tensor of whichever backend

# Frames that one matrix product smooths; a second one carries on from block to block. Two small constants stand for a
# loop over frames, which devices run slowly or not at all.
_BLOCK = 64


def smoothing_coefficient(config: FrontEndConfig) -> float:
    """Share of the newest frame in the running mean, for the time constant and the rate of frames.

    Source: the bilinear form of librosa.pcen.
    """
    frames = config.pcen.time_constant_seconds * config.sample_rate / config.frame_step
    return (math.sqrt(1.0 + 4.0 * frames**2) - 1.0) / (2.0 * frames**2)


def running_mean(energy: Tensor, coefficient: float) -> Tensor:
    """Smooths over frames: m[t] = (1 - c) m[t - 1] + c e[t], starting from m[0] = e[0].

    Args:
      energy: float32 [..., frames, bins], of one frame at least.
      coefficient: c, in (0, 1].

    Returns:
      float32 of the same shape.
    """
    decay = 1.0 - coefficient
    frames, bins = energy.shape[-2], energy.shape[-1]
    count = ops.shape(energy)[-2] if frames is None else frames
    num_blocks = -(-count // _BLOCK)
    leading = ops.shape(energy)[:-2]
    padding = [[0, 0]] * len(leading) + [[0, num_blocks * _BLOCK - count], [0, 0]]
    blocks = ops.reshape(ops.pad(energy, padding), (*leading, num_blocks, _BLOCK, bins))

    steps = np.arange(_BLOCK)
    within = np.tril(coefficient * decay ** np.maximum(steps[:, None] - steps, 0)).astype(np.float32)
    own = ops.matmul(within, blocks)  # each block's mean as if silence came before it
    first = energy[..., :1, :]
    # What a block takes over is the mean at the end of the block before it.
    ends = ops.concatenate([first, own[..., :-1, -1, :]], axis=-2)
    taken_over = ops.matmul(_powers(decay**_BLOCK, num_blocks), ends)
    fading = (decay ** (steps + 1.0)).astype(np.float32)[:, None]
    mean = own + fading * ops.expand_dims(taken_over, -2)
    return ops.reshape(mean, (*leading, num_blocks * _BLOCK, bins))[..., :count, :]


def _powers(base: float, size: Any) -> Tensor:
    """Lower triangular matrix [size, size] of base^(row - column)."""
    if isinstance(size, int):
        distance = np.arange(size)[:, None] - np.arange(size)
        return np.tril(base ** np.maximum(distance, 0)).astype(np.float32)
    index = ops.cast(ops.arange(size), "float32")
    distance = ops.expand_dims(index, 1) - index
    powers = ops.exp(ops.maximum(distance, 0.0) * math.log(max(base, 1e-37)))
    return ops.where(distance >= 0.0, powers, 0.0)


def pcen(
    energy: Tensor,
    config: FrontEndConfig,
    *,
    gain: Tensor | None = None,
    bias: Tensor | None = None,
    power: Tensor | None = None,
) -> Tensor:
    """Divides each bin by its own recent loudness, and compresses the quotient by a root.

    Args:
      energy: float32 [..., frames, bins], not negative.
      config: pcen, sample_rate and frame_step are used.
      gain: float32 [bins], learnt; None takes config.pcen.gain.
      bias: likewise.
      power: likewise.

    Returns:
      float32 of the same shape.

    Source: see `PcenConfig`. librosa.pcen starts its running mean at 1 unless told otherwise (`zi`), which suits
    samples of 16 bits; starting at the first frame, as here, suits any level.
    """
    settings = config.pcen
    gain = settings.gain if gain is None else gain
    bias = settings.bias if bias is None else bias
    power = settings.power if power is None else power
    mean = running_mean(energy, smoothing_coefficient(config))
    quotient = energy * ops.exp(-gain * ops.log(mean + settings.offset))
    return ops.power(quotient + bias, power) - ops.power(bias, power)
