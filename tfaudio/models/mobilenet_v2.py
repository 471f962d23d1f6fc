"""MobileNetV2: narrow layers hand on, wide ones in between compute."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfaudio.models.layers import (
    HEADS,
    Tensor,
    check_choice,
    check_share,
    check_width,
    conv_unit,
    depthwise,
    model_inputs,
    normalized,
    pool_frames,
    scaled,
    stride_mask,
    to_logits,
)
from tfaudio.models.registry import MODELS

# Of each stage: expansion, channels at width 1, blocks, stride of the first.
_STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


@MODELS.register("mobilenet_v2")
def mobilenet_v2(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 1.0,
    head: str = "mean",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds MobileNetV2: seventeen inverted residual blocks, of stride 32 in all with the first convolution.

    2.3 million parameters without the output.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: factor of all channels; the last convolution keeps its 1280 below 1, as published.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or "class_attention"
        (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 2,236,106 parameters, 59.6 million multiplications for 5 s.

    Source: M. Sandler et al., MobileNetV2 (2018), https://arxiv.org/abs/1801.04381.
    """
    check_width("mobilenet_v2", width, lowest=0.05, highest=4)
    check_choice("mobilenet_v2", HEADS, head=head)
    check_share("mobilenet_v2", dropout=dropout)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=scaled(32, width), stride=2, activation="relu6")
    for expansion, channels, blocks, stride in _STAGES:
        for index in range(blocks):
            x, mask = _block(x, mask, expansion, scaled(channels, width), stride if index == 0 else 1)
    x, mask = conv_unit(x, mask, filters=scaled(1280, max(width, 1.0)), kernel=1, activation="relu6")
    x = pool_frames(ops.mean(x, axis=2), mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="mobilenet_v2")


def _block(x: Tensor, mask: Tensor | None, expansion: int, channels: int, stride: int) -> tuple[Tensor, Tensor | None]:
    """An inverted residual: expand, convolve each channel by itself, and contract without an activation."""
    entry = x
    if expansion > 1:
        x, mask = conv_unit(x, mask, filters=expansion * x.shape[-1], kernel=1, activation="relu6")
    x = depthwise(x, (3, 3), stride=stride)
    mask = stride_mask(mask, stride)
    x, mask = conv_unit(normalized(x, mask, "relu6"), mask, filters=channels, kernel=1, activation=None)
    return (x + entry if stride == 1 and entry.shape[-1] == channels else x), mask
