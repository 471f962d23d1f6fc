"""The Audio Spectrogram Transformer: self-attention over patches of frames by bins."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops

from tfaudio.errors import TfaudioError
from tfaudio.models.encoder import SUMMARIES, check_heads, encode_and_summarize
from tfaudio.models.layers import (
    SinusoidalPosition,
    Tensor,
    check_choice,
    check_options,
    check_share,
    model_inputs,
    stride_mask,
)
from tfaudio.models.registry import MODELS


@keras.saving.register_keras_serializable(package="tfaudio")
class RowPosition(layers.Layer):
    """Adds learnt values for each row of [batch, frames, rows, channels]: where in frequency a patch lies."""

    def build(self, input_shape: Any) -> None:
        self.rows = self.add_weight(
            name="rows", shape=tuple(input_shape[2:]), initializer=keras.initializers.RandomNormal(stddev=0.02)
        )

    def call(self, x: Tensor) -> Tensor:
        return x + ops.cast(self.rows, x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="tfaudio")
class Patchout(layers.Layer):
    """Leaves out a share of the patches in training, which makes a step cheaper too, and none otherwise.

    Of every clip the same share of its own patches: padding is left out first.

    Args:
      rate: the share.
      seed: of the choice; None takes it from `keras.utils.set_random_seed`.

    Call arguments: x [batch, patches, channels]; audio: the mask, boolean [batch, patches], or None.
    Returns: the patches kept, and with a mask theirs beside them.
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, x: Tensor, audio: Tensor | None = None, training: bool = False) -> Any:
        if not training:
            return x if audio is None else (x, audio)
        batch, patches = ops.shape(x)[0], ops.shape(x)[1]
        lots = keras.random.uniform((batch, patches), seed=self.generator)
        if audio is not None:
            lots = ops.where(audio, lots, 2.0)
        kept = ops.argsort(lots, axis=1)[:, : self._kept(patches)]
        x = ops.take_along_axis(x, ops.expand_dims(kept, -1), axis=1)
        if audio is None:
            return x
        own = self._kept(ops.sum(ops.cast(audio, "int32"), axis=1, keepdims=True))
        return x, ops.expand_dims(ops.arange(ops.shape(x)[1]), 0) < own

    def _kept(self, count: Any) -> Any:
        """All but the whole patches of the share, so that one is left of one."""
        if isinstance(count, int):
            return count - math.floor(self.rate * count)
        return count - ops.cast(ops.floor(self.rate * ops.cast(count, "float32")), "int32")

    def compute_output_spec(self, x: Any, audio: Any = None, training: bool = False) -> Any:
        patches = keras.KerasTensor((x.shape[0], None, x.shape[2]), x.dtype)
        return patches if audio is None else (patches, keras.KerasTensor((x.shape[0], None), "bool"))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@MODELS.register("ast")
def ast(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    patch: int = 16,
    stride: int = 10,
    summary: str = "token",
    patchout: float = 0.0,
    seed: int | None = None,
    dropout: float = 0.1,
) -> keras.Model:
    """Builds the Audio Spectrogram Transformer over overlapping square patches.

    The default has the size of DeiT's smallest, 5.4 million parameters; the paper's has 768 channels and 12 heads,
    86 million, and learns little from small data unless it starts from other weights. Positions in time are sines and
    cosines, so that any length fits; those in frequency are learnt.

    Args:
      input_shape: (frames, bins); bins of `patch` or more.
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: channels, a multiple of 2 * heads; a block's hidden layer has four times as many.
      depth: encoder blocks.
      heads: attention heads.
      patch: frames and bins of a patch.
      stride: frames and bins from one patch to the next, up to `patch`.
      summary: "token" for a class token, "mean" for the mean over patches.
      patchout: share of the patches of each clip that a training step leaves out, chosen at random.
      seed: of that choice; None takes it from `keras.utils.set_random_seed`, as dropout does.
      dropout: in the encoder and before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 5,391,178 parameters, 464.1 million multiplications for 5 s.

    Source: Y. Gong et al., AST (2021), https://arxiv.org/abs/2104.01778; patch-out as in K. Koutini et al., Efficient
    Training of Audio Transformers with Patchout (2021), https://arxiv.org/abs/2110.05069.
    """
    check_options("ast", dropout=dropout, width=width, depth=depth, heads=heads, patch=patch, stride=stride)
    check_heads("ast", width, heads)
    check_choice("ast", SUMMARIES, summary=summary)
    check_share("ast", patchout=patchout)
    if seed is not None and (type(seed) is not int or seed < 0):
        raise TfaudioError(f"model.options.seed of 'ast' must be a whole number from 0 or null, not {seed!r}.")
    if not stride <= patch <= input_shape[1]:
        raise TfaudioError(
            f"model.options.patch of 'ast' must be from its stride ({stride}) to the number of feature bins "
            f"({input_shape[1]}), not {patch}."
        )
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    x = layers.ZeroPadding2D(((0, patch - 1), (0, 0)))(x)  # every frame begins a patch, or lies in one
    x = layers.Conv2D(width, patch, strides=stride, name="patch_embedding")(x)
    mask = stride_mask(mask, stride)  # [batch, frames/stride]
    x = SinusoidalPosition(name="position")(x)  # [batch, frames/stride, rows, width]
    x = RowPosition(name="row_position")(x)
    if mask is not None:
        mask = ops.repeat(mask, x.shape[2], axis=1)
    x = layers.Reshape((-1, width))(x)  # [batch, frames/stride * rows, width]
    if patchout:
        leave_out = Patchout(patchout, seed=seed, name="patchout")
        x, mask = (leave_out(x), None) if mask is None else leave_out(x, mask)
    x = encode_and_summarize(x, mask, summary, depth=depth, heads=heads, hidden=4 * width, dropout=dropout)
    x = layers.Dropout(dropout)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="ast")
