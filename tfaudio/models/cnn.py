"""A compact convolutional network: strides early, so that a step is cheap on two cores."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from tfaudio.models.layers import (
    HEADS,
    check_choice,
    check_filters,
    check_options,
    conv_unit,
    max_pool,
    model_inputs,
    pool_frames,
    separable_unit,
    to_logits,
)
from tfaudio.models.registry import MODELS


@MODELS.register("cnn")
def cnn(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    filters: Sequence[int] = (32, 64, 128, 192),
    frame_stride: int = 2,
    separable: int = 0,
    head: str = "mean_max",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds the compact CNN.

    A 5x5 convolution of stride 2 (by default), then 3x3 convolutions, each after 2x2 max pooling; the mean
    over bins, then, unless `head` says otherwise, mean plus maximum over frames, as in PANNs. About 0.32 M parameters.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      filters: channels of each convolution.
      frame_stride: frames from one step of the first convolution to the next; its kernel spans twice as many and one.
        With 4 and half the frame step, sounds are resolved twice as finely in time, by 5 % more multiplications.
      separable: how many of the last convolutions are a depthwise and a 1x1 one (`layers.separable_unit`). Most weights
        are in the last: with 1 and filters of 32, 64, 128 and 256 there are 0.13 M.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or "class_attention"
        (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 316,906 parameters, 34.5 million multiplications for 5 s.

    Source: the pooling head of Q. Kong et al., PANNs (2020), https://arxiv.org/abs/1912.10211.
    """
    check_filters("cnn", filters)
    check_options("cnn", dropout=dropout, frame_stride=frame_stride)
    check_choice("cnn", HEADS, head=head)
    check_choice("cnn", range(len(filters)), separable=separable)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)  # [batch, frames, bins, 1]
    kernel, stride = (2 * frame_stride + 1, 5), (frame_stride, 2)
    x, mask = conv_unit(x, mask, filters=filters[0], kernel=kernel, stride=stride)  # [batch, frames/s, bins/2, filters]
    for index, channels in enumerate(filters[1:], start=1):
        unit = conv_unit if index < len(filters) - separable else separable_unit
        x, mask = unit(*max_pool(x, mask), filters=channels)
    x = ops.mean(x, axis=2)  # [batch, frames/(s 2^(n-1)), filters]
    x = pool_frames(x, mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="cnn")
