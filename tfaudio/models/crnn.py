"""Convolutions, then memory in both directions of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from tfaudio.models.layers import (
    HEADS,
    Tensor,
    check_choice,
    check_filters,
    check_options,
    conv_unit,
    max_pool,
    model_inputs,
    pool_frames,
    to_logits,
)
from tfaudio.models.registry import MODELS

_MOST_STEPS = 128  # that are written out one by one; a file grows by some 35 operators with each


@keras.saving.register_keras_serializable(package="tfaudio")
class FrameGRU(layers.GRU):
    """A GRU that writes its steps out for one clip of known length, which is how a model is converted.

    A loop cannot be joined to a front end in one graph of TFLite; anywhere else, a loop is what is quick to build.
    """

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Tensor | None = None, training: bool = False
    ) -> Tensor:
        clips, frames = sequences.shape[:2]
        self.unroll = clips == 1 and frames is not None and frames <= _MOST_STEPS
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)


@MODELS.register("crnn")
def crnn(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    filters: Sequence[int] = (32, 64, 64),
    units: int = 64,
    head: str = "attention",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds the convolutional recurrent network: `cnn`'s convolutions, a bidirectional GRU, and a pooling over frames.

    The GRU steps over padding in either direction, so that what it knows at a frame comes from audio alone. A `.tflite`
    file has its steps one by one, up to 128, and no int8 form. About 0.29 million parameters at 64 bins.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      filters: channels of each convolution; the first has stride 2, each other one comes after 2x2 max pooling.
      units: of the GRU, in each direction.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or "class_attention"
        (`layers.pool_frames`).
      dropout: share of channels dropped before the GRU and before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 287,978 parameters, 24.3 million multiplications for 5 s.

    Source: E. Cakir et al., Convolutional Recurrent Neural Networks for Polyphonic Sound Event Detection (2017),
    https://arxiv.org/abs/1702.06286; K. Cho et al., Learning Phrase Representations (2014).
    """
    check_filters("crnn", filters)
    check_options("crnn", dropout=dropout, units=units)
    check_choice("crnn", HEADS, head=head)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=filters[0], kernel=5, stride=2)
    for channels in filters[1:]:
        x, mask = max_pool(x, mask)
        x, mask = conv_unit(x, mask, filters=channels)
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)  # [batch, frames/2^n, bins/2^n * filters]
    x = layers.Dropout(dropout)(x)
    x = layers.Bidirectional(FrameGRU(units, return_sequences=True), name="memory")(x, mask=mask)
    x = pool_frames(x, mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="crnn")
