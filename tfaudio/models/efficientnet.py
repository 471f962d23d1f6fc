"""EfficientNet: MobileNet's blocks, more and wider ones at once."""

from __future__ import annotations

import math

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
    in_eights,
    model_inputs,
    normalized,
    pool_frames,
    squeeze_excite,
    stride_mask,
    to_logits,
)
from tfaudio.models.registry import MODELS

# Of each stage of B0: expansion, channels, blocks, kernel, stride of the first.
_STAGES = (
    *((1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2)),
    *((6, 112, 3, 5, 1), (6, 192, 4, 5, 2), (6, 320, 1, 3, 1)),
)


@MODELS.register("efficientnet")
def efficientnet(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 0.5,
    depth: float = 1.0,
    stem_stride: int = 1,
    head: str = "mean",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds EfficientNet by its factors of width and depth.

    B0 is width and depth 1, B1 1 and 1.1, B2 1.1 and 1.2, B3 1.2 and 1.4: 4.0, 6.5, 7.7 and 10.7 million parameters
    without the output; the default has 1.1. The first convolution keeps all frames and bins by default, as a
    spectrogram has fewer of them than an image has pixels: that takes four times the multiplications of the published
    stride of 2. No block is left out at random in training.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: factor of all channels, which are multiples of eight.
      depth: factor of the blocks of each stage.
      stem_stride: of the first convolution: 1, or 2 as published. The blocks have one of 16.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or
        "class_attention" (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 1,077,644 parameters, 94.2 million multiplications for 5 s.

    Source: M. Tan and Q. Le, EfficientNet (2019), https://arxiv.org/abs/1905.11946.
    """
    check_width("efficientnet", width, lowest=0.05, highest=4)
    check_width("efficientnet", depth, lowest=0.05, highest=4, option="depth")
    check_choice("efficientnet", HEADS, head=head)
    check_choice("efficientnet", (1, 2), stem_stride=stem_stride)
    check_share("efficientnet", dropout=dropout)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=in_eights(32 * width), stride=stem_stride, activation="silu")
    for expansion, channels, blocks, kernel, stride in _STAGES:
        for index in range(math.ceil(blocks * depth)):
            first = index == 0
            x, mask = _block(x, mask, expansion, in_eights(channels * width), kernel, stride if first else 1)
    x, mask = conv_unit(x, mask, filters=in_eights(1280 * width), kernel=1, activation="silu")
    x = pool_frames(ops.mean(x, axis=2), mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="efficientnet")


def _block(
    x: Tensor, mask: Tensor | None, expansion: int, channels: int, kernel: int, stride: int
) -> tuple[Tensor, Tensor | None]:
    entry = x
    if expansion > 1:
        x, mask = conv_unit(x, mask, filters=expansion * entry.shape[-1], kernel=1, activation="silu")
    x = depthwise(x, (kernel, kernel), stride=stride)
    mask = stride_mask(mask, stride)
    x = normalized(x, mask, "silu")
    x = squeeze_excite(x, mask, max(1, entry.shape[-1] // 4), "silu", "sigmoid")
    x, mask = conv_unit(x, mask, filters=channels, kernel=1, activation=None)
    return (x + entry if stride == 1 and entry.shape[-1] == channels else x), mask
