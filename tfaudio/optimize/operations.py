"""What `keras.ops` and operators such as + leave in a model, as layers of tf-keras."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfaudio.optimize.legacy import tf_keras, tfmot

Tensor = Any

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "mean": tf.reduce_mean,
    "max": tf.reduce_max,
    "add": tf.add,
    "subtract": tf.subtract,
    "multiply": tf.multiply,
    "square": tf.square,
    "sqrt": tf.sqrt,
    "expand_dims": tf.expand_dims,
    "slice": lambda x, parts: x[tuple(slice(*part) for part in parts)],
}
# Of whose outputs training for int8 learns the range. A maximum and a slice keep the range of what they are given.
_WITH_RANGE = ("mean", "multiply")
# What a standard deviation consists of: a small difference of squares, of which eight bits leave little.
_OF_STATISTICS = ("add", "subtract", "square", "sqrt")


@functools.cache
def operation_layer() -> type:
    """Returns the layer class; tf-keras is imported with the first call."""

    class Operation(tf_keras().layers.Layer):  # type: ignore[misc]
        """One function of one or several tensors, without weights.

        Args:
          function: of `_FUNCTIONS`.
          operand: a number that stands for the second tensor.
          options: keyword arguments of the function.
        """

        def __init__(
            self, function: str, operand: float | None = None, options: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            super().__init__(**kwargs)
            self.function, self.operand, self.options = function, operand, dict(options or {})

        def call(self, inputs: Tensor) -> Tensor:
            tensors = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
            if self.operand is not None:
                tensors.append(tf.constant(self.operand, tensors[0].dtype))
            return _FUNCTIONS[self.function](*tensors, **self.options)

        def get_config(self) -> dict[str, Any]:
            mine = {"function": self.function, "operand": self.operand, "options": self.options}
            return {**super().get_config(), **mine}

    return Operation


@functools.cache
def output_range() -> type:
    """Returns the class that says: only the output of this layer is quantised."""
    keras_quantization: Any = tfmot().quantization.keras

    class OutputRange(keras_quantization.QuantizeConfig):
        """Eight bits for the output, its range a moving average."""

        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
            pass

        def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
            pass

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return [
                keras_quantization.quantizers.MovingAverageQuantizer(
                    num_bits=8, per_axis=False, symmetric=False, narrow_range=False
                )
            ]

        def get_config(self) -> dict[str, Any]:
            return {}

    return OutputRange


def learns_range(layer: Any) -> bool:
    """Whether a layer is an operation whose output is quantised by itself."""
    if type(layer).__name__ != "Operation" or layer.function not in _WITH_RANGE:
        return False
    before = layer.inbound_nodes[0].inbound_layers
    return getattr(before, "function", None) not in _OF_STATISTICS


def custom_objects() -> dict[str, Any]:
    """What tf-keras has to know to copy models with these layers."""
    return {"Operation": operation_layer(), "OutputRange": output_range()}


def parts_of(length: int, rank: int, axis: int, sections: int | Sequence[int]) -> list[list[list[int | None]]]:
    """Returns the slices that a split takes: of each part, start, stop and step of each axis.

    >>> parts_of(6, 2, 1, 2)
    [[[None, None, None], [0, 3, None]], [[None, None, None], [3, 6, None]]]
    """
    inner = list(sections) if not isinstance(sections, int) else range(length // sections, length, length // sections)
    edges = [0, *inner, length]
    whole: list[int | None] = [None, None, None]
    return [
        [[start, stop, None] if at == axis % rank else whole for at in range(rank)]
        for start, stop in itertools.pairwise(edges)
    ]
