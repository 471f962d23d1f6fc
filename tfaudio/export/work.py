"""What a TFLite file multiplies: a proxy for the energy that it takes, from the shapes in the file alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfaudio.export.flatbuffer import only_graph, operator_name, schema

# Picojoules of a multiplication and the addition that follows it, in 45 nm at 0.9 V, without fetching the operands:
# a proxy to compare files by, not what a device draws. 16 by 8 bits count as two multiplications of 8 bits.
# Source: M. Horowitz, Computing's Energy Problem (2014), https://doi.org/10.1109/ISSCC.2014.6757323, figure 1.1.9.
PICOJOULES = {"float32": 3.7 + 0.9, "int8": 0.2 + 0.1, "int16x8": 2 * 0.2 + 0.1}


@dataclass(frozen=True)
class Work:
    """Multiplications with addition of one operator.

    Args:
      index: of the operator, in the order of execution.
      operator: its kind.
      macs: multiplications; 0 of operators that only move, compare or add, or take one function of each value.
      arithmetic: "float32", "int8" or "int16x8".
    """

    index: int
    operator: str
    macs: int
    arithmetic: str

    @property
    def energy_microjoules(self) -> float:
        return self.macs * PICOJOULES[self.arithmetic] * 1e-6


def work_of(model: Any) -> list[Work]:
    """Counts the multiplications of each operator.

    Args:
      model: a `ModelT` of one graph, its shapes fixed.
    """
    graph = only_graph(model)
    found = []
    for index, operator in enumerate(graph.operators):
        kind = operator_name(model.operatorCodes[operator.opcodeIndex])
        inputs = [None if i < 0 else graph.tensors[int(i)] for i in operator.inputs]
        output = graph.tensors[int(operator.outputs[0])]
        found.append(Work(index, kind, _macs(kind, inputs, output, model), _arithmetic(inputs, output)))
    return found


def _macs(kind: str, inputs: Sequence[Any], output: Any, model: Any) -> int:
    size = math.prod(_shape(output))
    if kind == "CONV_2D":  # weights [out, height, width, in]
        return size * math.prod(_shape(inputs[1])[1:])
    if kind == "DEPTHWISE_CONV_2D":  # weights [1, height, width, out]
        return size * math.prod(_shape(inputs[1])[1:3])
    if kind == "FULLY_CONNECTED":  # weights [out, in]
        return size * _shape(inputs[1])[-1]
    if kind == "BATCH_MATMUL":
        return size * _shape(inputs[0])[-1]  # its options may swap axes, but the exported ones have the sum last here
    if kind == "TRANSPOSE_CONV":  # output shape, weights [out, height, width, in], input
        return math.prod(_shape(inputs[2])) * math.prod(_shape(inputs[1])[:3])
    if kind == "RFFT2D":
        return math.prod(_shape(output)[:-1]) * _fourier_macs(_constant(model, inputs[1])[-1])
    if kind in ("MUL", "SQUARED_DIFFERENCE", "SQUARE", "DIV"):
        return size
    return 0


def _fourier_macs(length: int) -> int:
    """Of a real transform: a complex one of half the length, radix 2, and the separation of its two halves."""
    return round(length * math.log2(max(length // 2, 1)) + 2 * length)


def _arithmetic(inputs: Sequence[Any], output: Any) -> str:
    types = {tensor.type for tensor in inputs if tensor is not None}
    if output.type == schema.TensorType.INT16 or schema.TensorType.INT16 in types:
        return "int16x8"
    # Weights of eight bits and a float input: the kernel quantises the input on the way.
    return "int8" if schema.TensorType.INT8 in types else "float32"


def _shape(tensor: Any) -> list[int]:
    return [] if tensor.shape is None else [int(n) for n in tensor.shape]


def _constant(model: Any, tensor: Any) -> list[int]:
    data = model.buffers[tensor.buffer].data
    return [int(v) for v in np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32)]
