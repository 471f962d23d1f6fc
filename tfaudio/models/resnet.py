"""A residual network of eighteen layers over spectrograms."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfaudio.models.layers import (
    HEADS,
    Tensor,
    apply_mask,
    check_choice,
    check_share,
    check_width,
    conv_unit,
    max_pool,
    model_inputs,
    pool_frames,
    scaled,
    to_logits,
)
from tfaudio.models.registry import MODELS

_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels at width 1, stride of the first of two blocks


@MODELS.register("resnet")
def resnet(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 1.0,
    head: str = "mean",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds ResNet-18 for one channel: a 7x7 convolution, and eight blocks of two 3x3 convolutions.

    11.2 million parameters without the output. The pooling after the first convolution is 2x2.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: factor of all channels.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or "class_attention"
        (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 11,175,370 parameters, 354.0 million multiplications for 5 s.

    Source: K. He et al., Deep Residual Learning for Image Recognition (2015), https://arxiv.org/abs/1512.03385.
    """
    check_width("resnet", width, lowest=0.05, highest=4)
    check_choice("resnet", HEADS, head=head)
    check_share("resnet", dropout=dropout)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=scaled(64, width), kernel=7, stride=2)
    x, mask = max_pool(x, mask)
    for channels, stride in _STAGES:
        x, mask = _block(x, mask, scaled(channels, width), stride)
        x, mask = _block(x, mask, scaled(channels, width), 1)
    x = pool_frames(ops.mean(x, axis=2), mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="resnet")


def _block(x: Tensor, mask: Tensor | None, channels: int, stride: int) -> tuple[Tensor, Tensor | None]:
    """Two convolutions beside a way past them, which has one of its own where the shape changes."""
    past = x
    if stride > 1 or x.shape[-1] != channels:
        past, _ = conv_unit(x, mask, filters=channels, kernel=1, stride=stride, activation=None)
    x, mask = conv_unit(x, mask, filters=channels, stride=stride)
    x, mask = conv_unit(x, mask, filters=channels, activation=None)
    return apply_mask(layers.Activation("relu")(x + past), mask), mask
