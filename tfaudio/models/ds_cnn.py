"""The depthwise separable network of small keyword spotters."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfaudio.models.layers import (
    check_flag,
    check_options,
    masked_mean,
    model_inputs,
    normalized,
    pad_frames,
    separable_unit,
    stride_mask,
)
from tfaudio.models.registry import MODELS


@MODELS.register("ds_cnn")
def ds_cnn(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    filters: int = 64,
    blocks: int = 4,
    causal: bool = False,
    dropout: float = 0.2,
) -> keras.Model:
    """Builds DS-CNN, in the size that MLPerf Tiny measures keyword spotting with.

    A convolution of 10 frames by 4 bins and stride 2, then blocks of a 3x3 depthwise and a 1x1 convolution, and the
    mean over all. About 24 thousand parameters; 2.7 million multiplications for 49 frames of 10 bins.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      filters: channels of every layer.
      blocks: separable blocks.
      causal: no frame depends on a later one, and none is skipped: what a stream takes (`tfaudio.export.streaming`),
        for twice the multiplications of a clip.
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 23,050 parameters, 53.7 million multiplications for 5 s.

    Source: Y. Zhang et al., Hello Edge (2017), https://arxiv.org/abs/1711.07128; C. Banbury et al., MLPerf Tiny
    Benchmark (2021), https://arxiv.org/abs/2106.07597.
    """
    check_options("ds_cnn", dropout=dropout, filters=filters, blocks=blocks)
    check_flag("ds_cnn", causal=causal)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    # The same on both sides of even lengths too: where padding falls must not depend on the number of frames.
    x = pad_frames(x, 4, 5, bins=(1, 2), causal=causal)
    strides = (1, 2) if causal else (2, 2)
    x = layers.Conv2D(filters, (10, 4), strides=strides, use_bias=False, kernel_initializer="he_normal")(x)
    mask = mask if causal else stride_mask(mask)
    x = normalized(x, mask)
    for _ in range(blocks):
        x, mask = separable_unit(x, mask, filters=filters, causal=causal)
    x = masked_mean(ops.mean(x, axis=2), mask)
    x = layers.Dropout(dropout)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="ds_cnn")
