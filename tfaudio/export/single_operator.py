"""One operator of a TFLite file as a file of its own, to be timed alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfaudio.export.flatbuffer import only_graph, schema, serialize


@dataclass(frozen=True)
class Part:
    """A piece of a file that runs by itself.

    Args:
      content: the file.
      inputs: which tensors of the whole its inputs are, in their order.
    """

    content: bytes
    inputs: tuple[int, ...]


def one_operator(model: Any, index: int) -> Part | None:
    """Makes a file of one operator, and of those that prepare its constants (a widening of stored weights, say).

    Args:
      model: a `ModelT` of one graph; it is left as it is.
      index: of the operator.

    Returns:
      The file; None for an operator that only prepares constants itself.
    """
    graph = only_graph(model)
    prepared = _preparing(model)
    if index in prepared.values():
        return None
    operator = graph.operators[index]
    chosen: list[int] = []
    _add_preparation(graph, prepared, operator, chosen)
    operators_of = [*chosen, index]
    made = {int(t) for i in operators_of for t in graph.operators[i].outputs}
    read = [int(t) for i in operators_of for t in graph.operators[i].inputs if int(t) >= 0]
    inputs = list(dict.fromkeys(t for t in read if t not in made and not _has_data(model, t)))
    part, part_graph = schema.ModelT(), schema.SubGraphT()
    part.version, part.buffers, part.operatorCodes = model.version, [schema.BufferT()], model.operatorCodes
    place = {-1: -1}
    part_graph.tensors = []
    for old in dict.fromkeys([*read, *(t for i in operators_of for t in map(int, graph.operators[i].outputs))]):
        tensor = copy.copy(graph.tensors[old])
        tensor.buffer = 0
        if _has_data(model, old):
            part.buffers.append(copy.copy(model.buffers[graph.tensors[old].buffer]))
            tensor.buffer = len(part.buffers) - 1
        place[old] = len(part_graph.tensors)
        part_graph.tensors.append(tensor)
    part_graph.operators = []
    for i in operators_of:
        moved = copy.copy(graph.operators[i])
        moved.inputs = np.array([place[int(t)] for t in moved.inputs], np.int32)
        moved.outputs = np.array([place[int(t)] for t in moved.outputs], np.int32)
        moved.intermediates = None
        part_graph.operators.append(moved)
    part_graph.inputs = np.array([place[t] for t in inputs], np.int32)
    part_graph.outputs = np.array([place[int(t)] for t in operator.outputs], np.int32)
    part.subgraphs = [part_graph]
    return Part(serialize(part), tuple(inputs))


def _has_data(model: Any, tensor: int) -> bool:
    data = model.buffers[only_graph(model).tensors[tensor].buffer].data
    return data is not None and len(data) > 0


def _preparing(model: Any) -> dict[int, int]:
    """Tensors that follow from constants alone, and the operator that computes each."""
    graph = only_graph(model)
    found: dict[int, int] = {}
    for index, operator in enumerate(graph.operators):
        read = [int(t) for t in operator.inputs if int(t) >= 0]
        if all(t in found or _has_data(model, t) for t in read):
            found |= {int(t): index for t in operator.outputs}
    return found


def _add_preparation(graph: Any, prepared: dict[int, int], operator: Any, chosen: list[int]) -> None:
    for tensor in map(int, operator.inputs):
        if tensor in prepared and prepared[tensor] not in chosen:
            _add_preparation(graph, prepared, graph.operators[prepared[tensor]], chosen)
            chosen.append(prepared[tensor])
