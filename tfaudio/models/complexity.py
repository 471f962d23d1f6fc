"""What a model costs before any of it is trained: parameters, and multiplications for one clip."""

from __future__ import annotations

import inspect
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from tfaudio.config import ModelConfig
from tfaudio.models.backbone import PatchBackbone
from tfaudio.models.layers import AttentionPooling, AutoPooling, ClassAttention
from tfaudio.models.mha_rnn import MiddleAttention
from tfaudio.models.registry import MODELS, build_model

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelFacts:
    """What there is to know of an architecture before it is chosen.

    Args:
      name: that it is registered by.
      parameters: that training learns.
      macs: multiplications with addition for one clip.
      masked: whether recordings of unequal length can be padded under a mask.
      paper: link to its source.
    """

    name: str
    parameters: int
    macs: int
    masked: bool
    paper: str


def model_facts(name: str, *, input_shape: tuple[int, int], num_classes: int) -> ModelFacts:
    """Counts a registered architecture with its default options.

    Args:
      name: one of MODELS.
      input_shape: (frames, bins) of a clip.
      num_classes: size of the output.
    """
    builder = MODELS[name]
    model = outline(ModelConfig(name=name), input_shape=input_shape, num_classes=num_classes)
    paper = re.search(r"https://[^\s;]*[^\s;.]", builder.__doc__ or "")
    return ModelFacts(
        name=name,
        parameters=count_parameters(model),
        macs=count_macs(model),
        masked="masked" in inspect.signature(builder).parameters,
        paper=paper[0] if paper else "",
    )


def outline(config: ModelConfig, *, input_shape: tuple[int, int], num_classes: int) -> keras.Model:
    """Builds a model of shapes alone: no weight is drawn or kept, so that the largest takes a fraction of a second.

    Args:
      config: the architecture's name and options.
      input_shape: (frames, bins).
      num_classes: size of the output.

    Returns:
      The model without a mask; it can be counted, not called.

    Raises:
      TfaudioError: for an unknown name or option.
    """
    found: list[keras.Model | Exception] = []

    def build() -> None:
        try:
            with keras.StatelessScope(initialize_variables=False):
                found.append(build_model(config, input_shape=input_shape, num_classes=num_classes))
        except Exception as error:  # raised again below, where the caller can see it
            found.append(error)

    # Keras remembers, for each thread, the variables that still want values; a thread's end forgets them.
    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def count_parameters(model: keras.Model) -> int:
    """Counts what training learns; the running statistics of batch normalisation are none of it."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def count_macs(model: keras.Model) -> int:
    """Counts multiplications with addition for one clip: of convolutions, dense layers, attention and recurrence.

    What takes or scales each value by itself (normalisation, activations, pooling) is left out: it is folded into the
    products at export, or small beside them.

    Args:
      model: built for a fixed number of frames; each of its layers is called once.
    """
    return sum(_layer_macs(layer) for layer in model.layers)


def _layer_macs(layer: keras.Layer) -> int:
    if isinstance(layer, keras.Model):
        return count_macs(layer)
    if isinstance(layer, PatchBackbone):
        return int(layer.output.shape[1]) * count_macs(layer.body)
    count = next((_MACS[kind] for kind in type(layer).__mro__ if kind in _MACS), None)
    if count is None:
        return 0
    given, made = keras.tree.flatten(layer.input)[0], keras.tree.flatten(layer.output)[0]
    return count(layer, tuple(given.shape[1:]), tuple(made.shape[1:]))


def _convolution(layer: Any, given: Shape, made: Shape) -> int:
    return math.prod(made[:-1]) * math.prod(layer.kernel.shape)


def _depthwise(layer: Any, given: Shape, made: Shape) -> int:
    return math.prod(made) * math.prod(layer.kernel_size)


def _separable(layer: Any, given: Shape, made: Shape) -> int:
    return math.prod(made[:-1]) * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))


def _dense(layer: Any, given: Shape, made: Shape) -> int:
    return math.prod(given[:-1]) * math.prod(layer.kernel.shape)


def _attention(layer: Any, given: Shape, made: Shape) -> int:
    """Queries, keys, values and the result are dense; each query meets each key, and each value, in each head."""
    queries, width = given
    keys = int(keras.tree.flatten(layer.input)[1].shape[1])
    return (2 * (queries + keys) * width + 2 * queries * keys) * layer.num_heads * layer.key_dim


def _recurrent(layer: Any, given: Shape, made: Shape) -> int:
    return given[0] * (math.prod(layer.cell.kernel.shape) + math.prod(layer.cell.recurrent_kernel.shape))


def _bidirectional(layer: Any, given: Shape, made: Shape) -> int:
    return _recurrent(layer.forward_layer, given, made) + _recurrent(layer.backward_layer, given, made)


def _attention_pooling(layer: Any, given: Shape, made: Shape) -> int:
    frames, channels = given
    return frames * (channels * layer.units + layer.units + channels)


def _middle_attention(layer: Any, given: Shape, made: Shape) -> int:
    frames, channels = given
    return layer.heads * (channels**2 + 2 * frames * channels)


def _auto_pooling(layer: Any, given: Shape, made: Shape) -> int:
    return 2 * math.prod(given)


def _class_attention(layer: Any, given: Shape, made: Shape) -> int:
    return math.prod(given)


_MACS: dict[type, Callable[[Any, Shape, Shape], int]] = {
    layers.Conv2D: _convolution,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
    layers.Dense: _dense,
    layers.MultiHeadAttention: _attention,
    layers.GRU: _recurrent,
    layers.Bidirectional: _bidirectional,
    AttentionPooling: _attention_pooling,
    AutoPooling: _auto_pooling,
    MiddleAttention: _middle_attention,
    ClassAttention: _class_attention,
}
