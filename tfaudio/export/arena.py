"""How much working memory TensorFlow Lite Micro needs for a model: an estimate on the safe side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfaudio.export.flatbuffer import only_graph, operator_name, parse, tensor_bytes

_ALIGNMENT = 16  # of every tensor in the arena

# Bytes on a 64-bit machine, the larger of the two: per tensor the interpreter's record of it; per operator its node,
# registration and prepared parameters; what it keeps for itself; and what the planner notes of a tensor that it
# places. Fitted to what tflite-micro's interpreter took.
_PER_TENSOR, _PER_OPERATOR, _FIXED, _PER_PLANNED = 16, 128, 1536, 160
_PER_CHANNEL = 8  # a multiplier and a shift for each output channel of a convolution
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_MARGIN = 1.1


@dataclass(frozen=True)
class Interval:
    """A tensor that has to be in memory.

    Args:
      size: bytes.
      first: index of the operator that writes it; -1 for an input.
      last: index of the last operator that reads it.
    """

    size: int
    first: int
    last: int


def arena_bytes(content: bytes) -> int:
    """Returns an estimate of the arena that TFLM's interpreter needs, in bytes, a multiple of 16."""
    model = parse(content)
    graph = only_graph(model)
    channels = 0
    for operator in graph.operators:
        if operator_name(model.operatorCodes[operator.opcodeIndex]) in _CONVOLUTIONS:
            channels += int(graph.tensors[int(operator.outputs[0])].shape[-1])
    tensors = lifetimes(model)
    records = _FIXED + _PER_TENSOR * len(graph.tensors) + _PER_OPERATOR * len(graph.operators) + _PER_CHANNEL * channels
    # The planner works where the tensors will be.
    return _aligned(int(_MARGIN * (max(plan(tensors), _PER_PLANNED * len(tensors)) + records)))


def lifetimes(model: Any) -> list[Interval]:
    """Returns when each tensor that is no constant has to be in memory.

    Args:
      model: a `ModelT` of one graph.
    """
    graph = only_graph(model)
    first = {int(i): -1 for i in graph.inputs}
    last = dict(first)
    for index, operator in enumerate(graph.operators):
        for tensor in map(int, operator.inputs):
            if tensor in first:
                last[tensor] = index
        for tensor in map(int, operator.outputs):
            first.setdefault(tensor, index)
            last[tensor] = index
    for tensor in map(int, graph.outputs):
        last[tensor] = len(graph.operators)
    return [Interval(tensor_bytes(graph.tensors[i]), first[i], last[i]) for i in sorted(first)]


def plan(tensors: list[Interval]) -> int:
    """Returns the bytes that tensors take when those that live at different times share memory.

    Source: the greedy planner of TensorFlow Lite Micro: the largest first, each in the lowest gap that fits.
    """
    placed: list[tuple[int, int, Interval]] = []  # start, end
    for tensor in sorted(tensors, key=lambda t: -t.size):
        start = 0
        size = _aligned(tensor.size)
        for other_start, other_end, other in sorted(placed, key=lambda p: p[0]):
            if other.last < tensor.first or tensor.last < other.first:
                continue
            if other_start - start >= size:
                break
            start = max(start, other_end)
        placed.append((start, start + size, tensor))
    return max((end for _, end, _ in placed), default=0)


def _aligned(size: int) -> int:
    return int(np.ceil(size / _ALIGNMENT)) * _ALIGNMENT
