"""MobileNetV3: MobileNetV2's blocks, some of which weigh their channels by the whole clip."""

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
    in_eights,
    model_inputs,
    normalized,
    pool_frames,
    squeeze_excite,
    stride_mask,
    to_logits,
)
from tfaudio.models.registry import MODELS

# Of each block: channels within and after it at width 1, kernel, stride, whether it weighs channels, activation.
_Block = tuple[int, int, int, int, bool, str]
_SMALL: tuple[_Block, ...] = (
    *((16, 16, 3, 2, True, "relu"), (72, 24, 3, 2, False, "relu"), (88, 24, 3, 1, False, "relu")),
    *((96, 40, 5, 2, True, "hard_silu"), *(((240, 40, 5, 1, True, "hard_silu"),) * 2)),
    *((120, 48, 5, 1, True, "hard_silu"), (144, 48, 5, 1, True, "hard_silu")),
    *((288, 96, 5, 2, True, "hard_silu"), *(((576, 96, 5, 1, True, "hard_silu"),) * 2)),
)
_LARGE: tuple[_Block, ...] = (
    *((16, 16, 3, 1, False, "relu"), (64, 24, 3, 2, False, "relu"), (72, 24, 3, 1, False, "relu")),
    *((72, 40, 5, 2, True, "relu"), *(((120, 40, 5, 1, True, "relu"),) * 2)),
    *((240, 80, 3, 2, False, "hard_silu"), (200, 80, 3, 1, False, "hard_silu")),
    *(((184, 80, 3, 1, False, "hard_silu"),) * 2),
    *((480, 112, 3, 1, True, "hard_silu"), (672, 112, 3, 1, True, "hard_silu")),
    *((672, 160, 5, 2, True, "hard_silu"), *(((960, 160, 5, 1, True, "hard_silu"),) * 2)),
)
# Blocks, and channels of the dense layer before the output.
_SIZES: dict[str, tuple[tuple[_Block, ...], int]] = {"small": (_SMALL, 1024), "large": (_LARGE, 1280)}


@MODELS.register("mobilenet_v3")
def mobilenet_v3(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    size: str = "small",
    width: float = 1.0,
    stem_stride: int = 1,
    head: str = "mean",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds MobileNetV3, small or large.

    Without the output 1.5 million parameters small and 4.2 million large. The first convolution keeps all frames and
    bins by default, as a spectrogram has fewer of them than an image has pixels: that takes four times the
    multiplications of the published stride of 2.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      size: "small" or "large".
      width: factor of all channels; those of the last layer stay below 1, as published.
      stem_stride: of the first convolution: 1, or 2 as published. The blocks have one of 16.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or
        "class_attention" (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 1,527,818 parameters, 42.5 million multiplications for 5 s.

    Source: A. Howard et al., Searching for MobileNetV3 (2019), https://arxiv.org/abs/1905.02244.
    """
    check_choice("mobilenet_v3", tuple(_SIZES), size=size)
    check_width("mobilenet_v3", width, lowest=0.05, highest=4)
    check_choice("mobilenet_v3", HEADS, head=head)
    check_choice("mobilenet_v3", (1, 2), stem_stride=stem_stride)
    check_share("mobilenet_v3", dropout=dropout)
    blocks, last = _SIZES[size]
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=16, stride=stem_stride, activation="hard_silu")
    for index, block in enumerate(blocks):
        x, mask = _block(x, mask, *block, width=width, expands=index > 0)
    x, mask = conv_unit(x, mask, filters=6 * x.shape[-1], kernel=1, activation="hard_silu")
    x = pool_frames(ops.mean(x, axis=2), mask, head)
    x = layers.Dense(in_eights(last * max(width, 1.0)), activation="hard_silu", name="embedding")(x)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="mobilenet_v3")


def _block(
    x: Tensor,
    mask: Tensor | None,
    within: int,
    after: int,
    kernel: int,
    stride: int,
    weighs: bool,
    activation: str,
    *,
    width: float,
    expands: bool,
) -> tuple[Tensor, Tensor | None]:
    entry = x
    if expands:
        x, mask = conv_unit(x, mask, filters=in_eights(within * width), kernel=1, activation=activation)
    x = depthwise(x, (kernel, kernel), stride=stride)
    mask = stride_mask(mask, stride)
    x = normalized(x, mask, activation)
    if weighs:
        x = squeeze_excite(x, mask, in_eights(x.shape[-1] / 4), "relu", "hard_sigmoid")
    x, mask = conv_unit(x, mask, filters=in_eights(after * width), kernel=1, activation=None)
    return (x + entry if stride == 1 and entry.shape[-1] == x.shape[-1] else x), mask
