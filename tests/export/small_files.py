"""TFLite files that are put together by hand, of any inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfaudio.export.flatbuffer import schema, serialize

Tensor = tuple[str, list[int]]  # type and shape


def bare_file(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bytes:
    """A file of no operator, which an interpreter loads; its outputs are never computed."""
    return serialize(_model(inputs, outputs))


def file_of_operators(*kinds: str, type_name: str = "FLOAT32") -> bytes:
    """A file whose operators all read its input and write its output, of one type; no interpreter need know them."""
    model = _model([(type_name, [1, 4])], [(type_name, [1, 4])])
    graph = model.subgraphs[0]
    for index, kind in enumerate(kinds):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, kind), 1
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        operator.opcodeIndex, operator.inputs, operator.outputs = index, graph.inputs, graph.outputs
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    return serialize(model)


def _model(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Any:
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [graph]
    graph.tensors, graph.operators = [], []
    for index, (type_name, shape) in enumerate([*inputs, *outputs]):
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = f"t{index}".encode(), getattr(schema.TensorType, type_name), 0
        tensor.shape = np.array(shape, np.int32)
        graph.tensors.append(tensor)
    graph.inputs = np.arange(len(inputs), dtype=np.int32)
    graph.outputs = np.arange(len(inputs), len(graph.tensors), dtype=np.int32)
    return model
