"""MobileNet, in the form in which YAMNet hears."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfaudio.models.layers import (
    HEADS,
    check_choice,
    check_share,
    check_width,
    conv_unit,
    model_inputs,
    pool_frames,
    scaled,
    separable_unit,
    to_logits,
)
from tfaudio.models.registry import MODELS

# Of each separable block: stride, channels at width 1.
BLOCKS = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *(((1, 512),) * 5),
    *((2, 1024), (1, 1024)),
)


@MODELS.register("mobilenet_v1")
def mobilenet_v1(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 1.0,
    head: str = "mean",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds MobileNet, the body of YAMNet: a convolution and thirteen separable blocks, of stride 32 in all.

    YAMNet hears patches of 96 frames by 64 bins (10 ms a frame) and scores each; this takes any number of frames.
    3.2 million parameters without the output.

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

    Size (`tfaudio models`): 3,216,650 parameters, 114.3 million multiplications for 5 s.

    Source: A. Howard et al., MobileNets (2017), https://arxiv.org/abs/1704.04861; for sound S. Hershey et al., CNN
    Architectures for Large-Scale Audio Classification (2017), https://arxiv.org/abs/1609.09430.
    """
    check_width("mobilenet_v1", width, lowest=0.05, highest=4)
    check_choice("mobilenet_v1", HEADS, head=head)
    check_share("mobilenet_v1", dropout=dropout)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=scaled(32, width), stride=2)
    for stride, channels in BLOCKS:
        x, mask = separable_unit(x, mask, filters=scaled(channels, width), stride=stride)
    x = pool_frames(ops.mean(x, axis=2), mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="mobilenet_v1")
