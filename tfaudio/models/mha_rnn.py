"""A recurrent network of which several heads ask, from its middle, what to attend to."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tfaudio.models.crnn import FrameGRU
from tfaudio.models.layers import Tensor, apply_mask, check_options, conv_unit, model_inputs
from tfaudio.models.registry import MODELS


@MODELS.register("mha_rnn")
def mha_rnn(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    filters: int = 10,
    stride: int = 2,
    units: int = 64,
    depth: int = 2,
    heads: int = 4,
    dropout: float = 0.2,
) -> keras.Model:
    """Builds the multi-head attention RNN of keyword spotting.

    Two convolutions over frames, bidirectional GRUs, and heads that weigh the frames by their likeness to what each
    makes of the middle one; under a mask, the middle of the audio. Published with a stride of 1, 128 units and 20 bins:
    743 thousand parameters; the default has 0.23 million at 64 bins. A `.tflite` file has the steps of the GRUs one by
    one, up to 128, and no int8 form.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      filters: channels of the first convolution; the second makes one of them.
      stride: in frames, of the first convolution.
      units: of each GRU, in each direction.
      depth: GRUs.
      heads: attention heads.
      dropout: share of channels dropped behind the heads.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 225,828 parameters, 10.4 million multiplications for 5 s.

    Source: O. Rybakov et al., Streaming keyword spotting on mobile devices (2020), https://arxiv.org/abs/2005.06720.
    """
    check_options("mha_rnn", dropout=dropout, filters=filters, stride=stride, units=units, depth=depth, heads=heads)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x, mask = conv_unit(x, mask, filters=filters, kernel=(5, 1), stride=(stride, 1))
    x, mask = conv_unit(x, mask, filters=1, kernel=(5, 1))
    x = layers.Reshape((-1, input_shape[1]))(x)  # [batch, frames / stride, bins]
    for index in range(depth):
        x = layers.Bidirectional(FrameGRU(units, return_sequences=True), name=f"memory_{index}")(x, mask=mask)
    x, _ = MiddleAttention(heads, name="attention")(apply_mask(x, mask), mask)  # [batch, heads * 2 * units]
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(64, activation="relu")(x)
    x = layers.Dense(32)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="mha_rnn")


@keras.saving.register_keras_serializable(package="tfaudio")
class MiddleAttention(layers.Layer):
    """Weighted means over frames: each head weighs them by their product with a query that it makes of the middle one.

    Args:
      heads: queries.

    Call arguments: x [batch, frames, channels]; audio: the mask, boolean [batch, frames], or None.
    Returns: the means [batch, heads * channels] and the weights [batch, heads, frames].
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: Any) -> None:
        self.query = layers.Dense(self.heads * input_shape[-1], name="query")
        self.query.build((input_shape[0], input_shape[-1]))

    def call(self, x: Tensor, audio: Tensor | None = None) -> tuple[Tensor, Tensor]:  # Keras reserves the name "mask"
        frames, channels = ops.shape(x)[1], x.shape[-1]
        if audio is None:
            middle = x[:, frames // 2]
        else:
            index = ops.sum(ops.cast(audio, "int32"), axis=1, keepdims=True) // 2
            is_middle = ops.equal(ops.expand_dims(ops.arange(frames), 0), index)
            middle = ops.sum(x * ops.cast(ops.expand_dims(is_middle, -1), x.dtype), axis=1)
        queries = ops.reshape(self.query(middle), (-1, self.heads, channels))
        scores = ops.matmul(queries, ops.transpose(x, (0, 2, 1)))  # [batch, heads, frames]
        if audio is not None:
            scores = ops.where(ops.expand_dims(audio, 1), scores, ops.full_like(scores, -1e4))  # finite in float16 too
        weights = ops.softmax(scores, axis=-1)
        return ops.reshape(ops.matmul(weights, x), (-1, self.heads * channels)), weights

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, frames, channels = input_shape
        return (batch, self.heads * channels), (batch, self.heads, frames)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}
