"""The Keyword Transformer: self-attention over frames, with no convolution."""

from __future__ import annotations

import keras
from keras import layers

from tfaudio.models.encoder import SUMMARIES, check_heads, encode_and_summarize
from tfaudio.models.layers import SinusoidalPosition, check_choice, check_options, model_inputs
from tfaudio.models.registry import MODELS


@MODELS.register("kwt")
def kwt(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: int = 64,
    depth: int = 12,
    heads: int = 1,
    summary: str = "token",
    dropout: float = 0.1,
) -> keras.Model:
    """Builds the Keyword Transformer: patches of one frame by all bins, and what a class token gathers from them.

    The published sizes have 64, 128 and 192 channels and 1, 2 and 3 heads: 0.6, 2.4 and 5.4 million parameters; the
    default is the smallest. Positions are sines and cosines rather than learnt, so that any length fits, and blocks
    normalise before rather than after, which needs no warm-up of its own.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: channels, a multiple of 2 * heads; a block's hidden layer has four times as many.
      depth: encoder blocks.
      heads: attention heads.
      summary: "token" for a class token, "mean" for the mean over frames.
      dropout: in the encoder and before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 604,810 parameters, 132.2 million multiplications for 5 s.

    Source: A. Berg et al., Keyword Transformer (2021), https://arxiv.org/abs/2104.00769.
    """
    check_options("kwt", dropout=dropout, width=width, depth=depth, heads=heads)
    check_heads("kwt", width, heads)
    check_choice("kwt", SUMMARIES, summary=summary)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Dense(width, name="patch_embedding")(x)  # [batch, frames, width]
    x = SinusoidalPosition(name="position")(x)
    x = encode_and_summarize(x, mask, summary, depth=depth, heads=heads, hidden=4 * width, dropout=dropout)
    x = layers.Dropout(dropout)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="kwt")
