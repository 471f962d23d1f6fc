"""The transformer encoder that several architectures share, and what stands before and behind it."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tfaudio.errors import TfaudioError
from tfaudio.models.layers import Tensor, masked_mean

SUMMARIES = ("token", "mean")  # ways to make one vector of all patches


def encoder(
    x: Tensor,
    mask: Tensor | None,
    *,
    depth: int,
    heads: int,
    hidden: int,
    dropout: float,
    name: str = "self_attention",
) -> Tensor:
    """Mixes patches by blocks of self-attention and two dense layers, each normalised before it.

    Args:
      x: patches [batch, patches, channels]; channels are a multiple of heads.
      mask: of the patches that are audio, boolean [batch, patches], or None.
      depth: blocks.
      heads: attention heads.
      hidden: units of the first dense layer of a block.
      dropout: of attention, and of what each half of a block adds.
      name: of the attention layers, which are numbered.

    Returns:
      [batch, patches, channels], normalised; what padded patches hold means nothing.

    Source: A. Dosovitskiy et al., An Image is Worth 16x16 Words (2020), https://arxiv.org/abs/2010.11929.
    """
    width = x.shape[-1]
    keys = None if mask is None else mask[:, None, :]  # every query sees the same keys: those that are audio
    for index in range(depth):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y, _ = layers.MultiHeadAttention(heads, width // heads, dropout=dropout, name=f"{name}_{index}")(
            y, y, attention_mask=keys, return_attention_scores=True
        )
        x = x + layers.Dropout(dropout)(y)
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(hidden, activation="gelu")(y)
        y = layers.Dense(width)(y)
        x = x + layers.Dropout(dropout)(y)
    return layers.LayerNormalization(epsilon=1e-6)(x)


@keras.saving.register_keras_serializable(package="tfaudio")
class ClassToken(layers.Layer):
    """Puts a learnt patch before those of [batch, patches, channels], for the encoder to gather the answer in."""

    def build(self, input_shape: Any) -> None:
        self.token = self.add_weight(
            name="token", shape=(1, 1, input_shape[-1]), initializer=keras.initializers.RandomNormal(stddev=0.02)
        )

    def call(self, x: Tensor) -> Tensor:
        token = ops.broadcast_to(ops.cast(self.token, x.dtype), (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, patches, channels = input_shape
        return (batch, None if patches is None else patches + 1, channels)


def encode_and_summarize(x: Tensor, mask: Tensor | None, summary: str, **settings: Any) -> Tensor:
    """Runs `encoder` over patches and makes one vector of them.

    Args:
      x: patches [batch, patches, channels].
      mask: of the patches that are audio, or None.
      summary: "token": what a class token became; "mean": the mean of the patches that are audio.
      **settings: of `encoder`.

    Returns:
      [batch, channels].
    """
    if summary == "mean":
        return masked_mean(encoder(x, mask, **settings), mask)
    x = ClassToken(name="class_token")(x)
    if mask is not None:
        mask = ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1)
    return encoder(x, mask, **settings)[:, 0]


def check_heads(name: str, width: int, heads: int) -> None:
    """Raises TfaudioError if heads, and sines beside cosines, do not share the channels evenly."""
    if width % (2 * heads):
        raise TfaudioError(
            f"model.options.width of '{name}' must be a multiple of 2 * heads ({2 * heads}), not {width}."
        )
