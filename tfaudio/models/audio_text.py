"""Sound and text: a transformer encoder of each, which attend to one another; either may be missing."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tfaudio.config import TextConfig
from tfaudio.models.attention import convolutional_patches
from tfaudio.models.encoder import check_heads, encoder
from tfaudio.models.layers import (
    AttentionPooling,
    SinusoidalPosition,
    Tensor,
    apply_mask,
    check_options,
    masked_mean,
    model_inputs,
)
from tfaudio.models.registry import MODELS
from tfaudio.text import PADDING


@keras.saving.register_keras_serializable(package="tfaudio")
class WhereMissing(layers.Layer):
    """Puts a learnt vector in place of all that a branch holds of an example whose input is missing.

    Call arguments: x [batch, steps, channels]; present: boolean [batch], whether the input is there.
    Returns: [batch, steps, channels].
    """

    def build(self, input_shape: Any) -> None:
        self.vector = self.add_weight(
            name="vector", shape=(input_shape[-1],), initializer=keras.initializers.RandomNormal(stddev=0.02)
        )

    def call(self, x: Tensor, present: Tensor) -> Tensor:
        return ops.where(ops.reshape(present, (-1, 1, 1)), x, ops.cast(self.vector, x.dtype))

    def compute_output_spec(self, x: Any, present: Any) -> Any:
        return keras.KerasTensor(x.shape, self.compute_dtype)


@MODELS.register("audio_text")
def audio_text(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    text: TextConfig = TextConfig(length=16),  # noqa: B008  (frozen)
    width: int = 96,
    depth: int = 2,
    text_depth: int = 1,
    heads: int = 4,
    stem_filters: int = 32,
    dropout: float = 0.1,
) -> keras.Model:
    """Builds a classifier of sound and of text about it, which attend to one another.

    The sound is encoded as by `attention`, the words by an embedding and a small transformer. Then each word attends to
    the sound and each patch of sound to the words; both are pooled, joined and classified. Tokens that are all 0 are a
    missing text, features that are all exactly 0 missing sound: a learnt vector stands in for either. How long texts
    are and how many words it knows is told by the section `text` of the settings.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      text: length and vocabulary_size are used.
      width: channels of both encoders, a multiple of 2 * heads.
      depth: blocks of the sound's encoder.
      text_depth: blocks of the text's.
      heads: attention heads.
      stem_filters: channels of the first convolution; the second has twice as many.
      dropout: in the encoders and before the output.

    Returns:
      Model from a dict of "features" [batch, frames, bins], "tokens" int32 [batch, text.length] and, if it is masked,
      "mask", to logits [batch, num_classes].

    Size (`tfaudio models`): 568,682 parameters, 20.7 million multiplications for 5 s.

    Source: Y.-H. H. Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences (2019),
    https://arxiv.org/abs/1906.00295; dropped inputs as in N. Neverova et al., ModDrop (2014),
    https://arxiv.org/abs/1501.00102.
    """
    counts = {"width": width, "depth": depth, "text_depth": text_depth, "heads": heads, "stem_filters": stem_filters}
    check_options("audio_text", dropout=dropout, **counts)
    check_heads("audio_text", width, heads)
    settings: dict[str, Any] = {"heads": heads, "hidden": 2 * width, "dropout": dropout}
    inputs, features, mask = model_inputs(input_shape, masked=masked)
    tokens = keras.Input((text.length,), dtype="int32", name="tokens")
    inputs = {**(inputs if masked else {"features": features}), "tokens": tokens}

    heard = ops.any(ops.not_equal(features, 0), axis=(1, 2))
    sound, mask = convolutional_patches(features, mask, width=width, filters=stem_filters)
    sound = encoder(sound, mask, depth=depth, name="sound_attention", **settings)
    sound = WhereMissing(name="missing_sound")(sound, heard)
    mask = None if mask is None else _with_first(mask, heard)  # something to attend to

    known = ops.not_equal(tokens, PADDING)
    told = ops.any(known, axis=1)
    words = layers.Embedding(text.vocabulary_size, width, name="word_embedding")(tokens)
    words = SinusoidalPosition(name="word_position")(words)
    known = _with_first(known, told)
    words = encoder(words, known, depth=text_depth, name="word_attention", **settings)
    words = WhereMissing(name="missing_text")(words, told)

    heard_words = _attend(words, sound, mask, heads=heads, dropout=dropout, name="words_to_sound")
    told_sound = _attend(sound, words, known, heads=heads, dropout=dropout, name="sound_to_words")
    pooled, _ = AttentionPooling(name="sound_pooling")(apply_mask(told_sound, mask), mask)
    x = ops.concatenate([pooled, masked_mean(heard_words, known)], axis=-1)
    x = layers.Dropout(dropout)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="audio_text")


def _with_first(mask: Tensor, present: Tensor) -> Tensor:
    """A mask [batch, steps] with the first step true where nothing is present, so that attention has a key."""
    first = ops.equal(ops.cumsum(ops.ones_like(mask, dtype="int32"), axis=1), 1)
    return ops.logical_or(mask, ops.logical_and(first, ops.expand_dims(ops.logical_not(present), 1)))


def _attend(x: Tensor, others: Tensor, mask: Tensor | None, *, heads: int, dropout: float, name: str) -> Tensor:
    """Adds to [batch, steps, channels] what attention finds among others [batch, others, channels]; normalised."""
    keys = None if mask is None else mask[:, None, :]
    y, _ = layers.MultiHeadAttention(heads, x.shape[-1] // heads, dropout=dropout, name=name)(
        x, others, attention_mask=keys, return_attention_scores=True
    )
    return layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(dropout)(y))
