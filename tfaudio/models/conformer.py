"""The Conformer's encoder: attention for what lies far apart, convolution for what is near."""

from __future__ import annotations

import keras
from keras import layers

from tfaudio.errors import TfaudioError
from tfaudio.models.encoder import check_heads
from tfaudio.models.layers import (
    HEADS,
    SinusoidalPosition,
    Tensor,
    apply_mask,
    check_choice,
    check_options,
    conv_unit,
    depthwise,
    model_inputs,
    normalized,
    pool_frames,
    to_logits,
)
from tfaudio.models.registry import MODELS


@MODELS.register("conformer")
def conformer(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    kernel: int = 15,
    stem_filters: int = 32,
    head: str = "mean",
    dropout: float = 0.1,
) -> keras.Model:
    """Builds a small Conformer: two convolutions of stride 2, and blocks of half a feed-forward layer, self-attention,
    a convolution over frames and the other half.

    The published sizes have 144, 256 and 512 channels, 16, 17 and 17 blocks, 4, 4 and 8 heads and a kernel of 32.
    Positions are sines and cosines added once rather than relative ones in each block. 0.4 million parameters at 64
    bins.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: channels, a multiple of 2 * heads; a feed-forward layer has four times as many within.
      depth: blocks.
      heads: attention heads.
      kernel: of the convolution over frames, of which one is 4 of the input's; odd.
      stem_filters: channels of the two first convolutions.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or
        "class_attention" (`layers.pool_frames`).
      dropout: of attention, of what each part of a block adds, and before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 431,210 parameters, 24.0 million multiplications for 5 s.

    Source: A. Gulati et al., Conformer (2020), https://arxiv.org/abs/2005.08100.
    """
    check_options(
        "conformer", dropout=dropout, width=width, depth=depth, heads=heads, kernel=kernel, stem_filters=stem_filters
    )
    check_heads("conformer", width, heads)
    if kernel % 2 == 0:
        raise TfaudioError(f"model.options.kernel of 'conformer' must be odd, not {kernel}.")
    check_choice("conformer", HEADS, head=head)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    for _ in range(2):
        x, mask = conv_unit(x, mask, filters=stem_filters, stride=2)  # [batch, frames/4, bins/4, stem_filters]
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(width, name="patch_embedding")(x)  # [batch, frames/4, width]
    x = SinusoidalPosition(name="position")(x)
    for index in range(depth):
        x = x + 0.5 * _feed_forward(x, dropout)
        x = x + _self_attention(x, mask, heads, dropout, f"self_attention_{index}")
        x = x + _convolution(x, mask, kernel, dropout)
        x = x + 0.5 * _feed_forward(x, dropout)
        x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = pool_frames(x, mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="conformer")


def _feed_forward(x: Tensor, dropout: float) -> Tensor:
    width = x.shape[-1]
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Dense(4 * width, activation="silu")(x)
    x = layers.Dropout(dropout)(x)
    return layers.Dropout(dropout)(layers.Dense(width)(x))


def _self_attention(x: Tensor, mask: Tensor | None, heads: int, dropout: float, name: str) -> Tensor:
    width = x.shape[-1]
    keys = None if mask is None else mask[:, None, :]  # every query sees the same keys: those that are audio
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x, _ = layers.MultiHeadAttention(heads, width // heads, dropout=dropout, name=name)(
        x, x, attention_mask=keys, return_attention_scores=True
    )
    return layers.Dropout(dropout)(x)


def _convolution(x: Tensor, mask: Tensor | None, kernel: int, dropout: float) -> Tensor:
    width = x.shape[-1]
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Dense(width)(x) * layers.Dense(width, activation="sigmoid")(x)  # a gated linear unit
    x = layers.Reshape((-1, 1, width))(apply_mask(x, mask))
    x = normalized(depthwise(x, (kernel, 1)), mask, "silu")
    x = layers.Reshape((-1, width))(x)
    return layers.Dropout(dropout)(layers.Dense(width)(x))
