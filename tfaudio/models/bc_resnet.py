"""Residual networks whose blocks look along frequency in two dimensions and along time in one."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfaudio.errors import TfaudioError
from tfaudio.models.layers import (
    Tensor,
    apply_mask,
    batch_norm,
    check_flag,
    check_options,
    check_width,
    depthwise,
    masked_mean,
    model_inputs,
    normalized,
    pad_frames,
    scaled,
)
from tfaudio.models.registry import MODELS

# Of each stage: blocks, channels at width 1, stride in frequency, dilation in time.
_STAGES = ((2, 8, 1, 1), (2, 12, 2, 2), (4, 16, 2, 4), (4, 20, 1, 8))


@MODELS.register("bc_resnet")
def bc_resnet(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 1.0,
    sub_bands: int = 5,
    causal: bool = False,
    dropout: float = 0.0,
) -> keras.Model:
    """Builds BC-ResNet: a spectrogram's bins are averaged before the costly layers, and the result is broadcast back.

    Frames are kept throughout, so that a short input is seen as finely as a long one. From 9 thousand parameters
    at width 1 to 320 thousand at width 8.

    Args:
      input_shape: (frames, bins); at least 8 bins.
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: factor of all channels; the paper has 1, 1.5, 2, 3, 6 and 8.
      sub_bands: that are normalised by themselves; as many as divide a stage's bins are taken.
      causal: no frame depends on a later one: what a stream takes (`tfaudio.export.streaming`).
      dropout: share of channels dropped in each block; the paper has 0.1, by which 8 channels in 12 blocks hardly learn
        in fewer than a hundred epochs.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 8,798 parameters, 7.1 million multiplications for 5 s.

    Source: B. Kim et al., Broadcasted Residual Learning for Efficient Keyword Spotting (2021),
    https://arxiv.org/abs/2106.04140.
    """
    check_options("bc_resnet", dropout=dropout, sub_bands=sub_bands)
    check_flag("bc_resnet", causal=causal)
    check_width("bc_resnet", width, lowest=0.25, highest=32)
    if input_shape[1] < 8:
        raise TfaudioError(f"Model 'bc_resnet' needs 8 feature bins or more, not {input_shape[1]}; choose 'cnn'.")
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x = pad_frames(x, 2, 2, bins=(2, 2), causal=causal)
    x = layers.Conv2D(scaled(16, width), 5, strides=(1, 2), use_bias=False, kernel_initializer="he_normal")(x)
    x = normalized(x, mask)
    for blocks, channels, stride, dilation in _STAGES:
        for index in range(blocks):
            x = _block(
                x,
                mask,
                channels=scaled(channels, width),
                stride=stride if index == 0 else 1,
                dilation=dilation,
                sub_bands=sub_bands,
                causal=causal,
                dropout=dropout,
            )
    x = depthwise(x, (5, 5), causal=causal)
    x = layers.Conv2D(scaled(32, width), 1, use_bias=False, kernel_initializer="he_normal")(apply_mask(x, mask))
    x = layers.Activation("relu")(batch_norm(x, mask))
    x = masked_mean(ops.mean(x, axis=2), mask)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="bc_resnet")


def _block(
    x: Tensor,
    mask: Tensor | None,
    *,
    channels: int,
    stride: int,
    dilation: int,
    sub_bands: int,
    causal: bool,
    dropout: float,
) -> Tensor:
    """One block: [batch, frames, bins, ...] to [batch, frames, bins / stride, channels]."""
    same = x.shape[-1] == channels and stride == 1
    y = x
    if not same:
        y = layers.Conv2D(channels, 1, use_bias=False, kernel_initializer="he_normal")(y)
        y = normalized(y, mask)
    y = depthwise(y, (1, 3))
    if stride > 1:  # Keras strides depthwise convolutions in both directions alike, so bins are dropped after
        y = y[:, :, ::stride]
    along_bins = apply_mask(_sub_band_norm(y, mask, sub_bands), mask)

    z = ops.mean(along_bins, axis=2, keepdims=True)  # [batch, frames, 1, channels]
    z = depthwise(z, (3, 1), dilation=dilation, causal=causal)
    z = normalized(z, mask, "silu")
    z = layers.Conv2D(channels, 1, use_bias=False, kernel_initializer="he_normal")(z)
    z = layers.SpatialDropout2D(dropout)(z)
    total = along_bins + z  # over all bins again
    if same:
        total = total + x
    return apply_mask(layers.Activation("relu")(total), mask)


def _sub_band_norm(x: Tensor, mask: Tensor | None, sub_bands: int) -> Tensor:
    """Batch normalisation with statistics of its own for each group of neighbouring bins.

    Source: S. Chang et al., SubSpectral Normalization (2021), https://arxiv.org/abs/2103.13620.
    """
    bins = x.shape[2]
    bands = max(count for count in range(1, sub_bands + 1) if bins % count == 0)
    return ops.concatenate([batch_norm(band, mask) for band in ops.split(x, bands, axis=2)], axis=2)
