"""A transformer encoder that says of each frame which word it is a part of, trained by the CTC loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tfaudio.models.encoder import check_heads, encoder
from tfaudio.models.layers import (
    Tensor,
    apply_mask,
    check_options,
    conv_unit,
    max_pool,
    model_inputs,
)

FRAMES_A_STEP = 4  # frames of features to one of the output


def ctc_recognizer(
    *,
    input_shape: tuple[int | None, int],
    num_symbols: int,
    width: int = 96,
    depth: int = 2,
    heads: int = 4,
    stem_filters: int = 32,
    dropout: float = 0.1,
) -> keras.Model:
    """Builds the recogniser: the encoder of `attention` with an output for each step in place of its pooling.

    No step is told where it stands: words sound the same wherever they are, and strings may be longer than in training.

    Args:
      input_shape: (frames, bins).
      num_symbols: words that it knows.
      width: channels of the encoder, a multiple of 2 * heads.
      depth: encoder blocks.
      heads: attention heads.
      stem_filters: channels of the first convolution; the second has twice as many.
      dropout: in the encoder.

    Returns:
      Model from features [batch, frames, bins] and a mask to logits [batch, ceil(frames / 4), num_symbols + 1], the
      blank first. `fit` takes int32 [batch, longest] as targets, the words' classes from 0, filled up with -1.

    Source: A. Graves et al., Connectionist Temporal Classification (2006), https://doi.org/10.1145/1143844.1143891.
    """
    check_options("ctc", dropout=dropout, width=width, depth=depth, heads=heads, stem_filters=stem_filters)
    check_heads("ctc", width, heads)
    inputs, x, mask = model_inputs(input_shape, masked=True)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=stem_filters, kernel=5, stride=2)
    x, mask = max_pool(x, mask)
    x, mask = conv_unit(x, mask, filters=2 * stem_filters, kernel=3)
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(width, name="patch_embedding")(x)  # [batch, frames/4, width]
    x = encoder(x, mask, depth=depth, heads=heads, hidden=2 * width, dropout=dropout)
    logits = layers.Dense(num_symbols + 1, dtype="float32", name="logits")(apply_mask(x, mask))
    return CtcModel(inputs, logits, name="ctc")


def steps_of(frames: Tensor) -> Tensor:
    """Steps of the output that a number of frames gives."""
    return -(-frames // FRAMES_A_STEP)


@keras.saving.register_keras_serializable(package="tfaudio")
class CtcModel(keras.Model):
    """A functional model whose loss is that of all ways to say the target, a word at a time."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        del sample_weight, training
        words = ops.sum(ops.cast(y >= 0, "int32"), axis=1)
        steps = steps_of(ops.sum(ops.cast(x["mask"], "int32"), axis=1))
        loss = ops.ctc_loss(y + 1, y_pred, words, steps, mask_index=0)  # the filling turns into the blank
        return ops.mean(loss / ops.cast(ops.maximum(words, 1), loss.dtype))
