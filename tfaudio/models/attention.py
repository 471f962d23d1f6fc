"""A transformer encoder over spectrogram frames, with attention pooling that can be looked at."""

from __future__ import annotations

import keras
from keras import layers

from tfaudio.models.encoder import check_heads, encoder
from tfaudio.models.layers import (
    AttentionPooling,
    SinusoidalPosition,
    Tensor,
    apply_mask,
    check_options,
    conv_unit,
    max_pool,
    model_inputs,
)
from tfaudio.models.registry import MODELS


@MODELS.register("attention")
def attention(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: int = 96,
    depth: int = 2,
    heads: int = 4,
    stem_filters: int = 32,
    dropout: float = 0.1,
) -> keras.Model:
    """Builds the attention classifier.

    Two convolutions turn the spectrogram into patches of 8 frames by all bins; a pre-norm transformer encoder
    mixes them; attention pooling weighs them for the output. Convolutions ahead of the transformer are what lets
    it learn from hundreds rather than hundreds of thousands of clips.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: channels of the encoder, a multiple of 2 * heads.
      depth: encoder blocks.
      heads: attention heads.
      stem_filters: channels of the first convolution; the second has twice as many.
      dropout: in the encoder and before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes]. The layers "attention_0", ... hold
      the encoder's attention, "attention_pooling" the weight of each patch: `tfaudio.explain.attention` reads them.

    Size (`tfaudio models`): 225,674 parameters, 18.0 million multiplications for 5 s.

    Source: Y. Gong et al., AST (2021), https://arxiv.org/abs/2104.01778; T. Xiao et al., Early Convolutions Help
    Transformers See Better (2021), https://arxiv.org/abs/2106.14881.
    """
    check_options("attention", dropout=dropout, width=width, depth=depth, heads=heads, stem_filters=stem_filters)
    check_heads("attention", width, heads)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x, mask = convolutional_patches(x, mask, width=width, filters=stem_filters)
    x = encoder(x, mask, depth=depth, heads=heads, hidden=2 * width, dropout=dropout, name="attention")
    pooled, _ = AttentionPooling(name="attention_pooling")(apply_mask(x, mask), mask)
    pooled = layers.Dropout(dropout)(pooled)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(pooled)
    return keras.Model(inputs, logits, name="attention")


def convolutional_patches(x: Tensor, mask: Tensor | None, *, width: int, filters: int) -> tuple[Tensor, Tensor | None]:
    """Turns a spectrogram into patches of 8 frames by all bins, which know their place, by two convolutions.

    Args:
      x: [batch, frames, bins].
      mask: boolean [batch, frames], or None.
      width: channels of a patch, even.
      filters: channels of the first convolution; the second has twice as many.

    Returns:
      [batch, frames/8, width], and the mask of the patches.
    """
    x = layers.Reshape((-1, x.shape[2], 1))(x)
    x, mask = conv_unit(x, mask, filters=filters, kernel=5, stride=2)
    x, mask = max_pool(x, mask)
    x, mask = conv_unit(x, mask, filters=2 * filters, kernel=3)
    x, mask = max_pool(x, mask)  # [batch, frames/8, bins/8, 2 * filters]
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(width, name="patch_embedding")(x)
    return SinusoidalPosition(name="position")(x), mask
