"""TFLite files as objects: reading, repairing, joining and writing them.

The converter cannot be told to quantise one part of a graph and leave another alone. Converting the parts by
themselves and joining the files can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfaudio.errors import TfaudioError

FILE_IDENTIFIER = b"TFL3"
SIGNATURE = "serving_default"

# What kernels demand of constants, by the schema's force_align. The generated writer gives 4 bytes, with which
# vector instructions are slow on some processors and not allowed on others.
_ALIGNMENT = 16

_BUILTIN_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int) and name.isupper()
}


class _AlignedBuffer(schema.BufferT):
    """A constant that is written on a 16-byte boundary."""

    def Pack(self, builder: Any) -> int:
        data = None if self.data is None or len(self.data) == 0 else np.asarray(self.data, np.uint8).tobytes()
        if data is not None:
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def parse(content: bytes) -> Any:
    """Reads a TFLite file into the objects of its schema (`ModelT`)."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def serialize(model: Any) -> bytes:
    """Writes a `ModelT` as a TFLite file, constants aligned as kernels want them."""
    for index, buffer in enumerate(model.buffers):
        aligned = _AlignedBuffer()
        aligned.data = buffer.data
        model.buffers[index] = aligned
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def operators(content: bytes) -> list[str]:
    """Names of the operators in a file, sorted, each once; custom ones as "CUSTOM:name"."""
    names = set()
    for code in parse(content).operatorCodes:
        name = _BUILTIN_NAMES.get(_builtin_code(code), str(_builtin_code(code)))
        custom = code.customCode.decode() if isinstance(code.customCode, bytes) else code.customCode
        names.add(f"CUSTOM:{custom}" if name == "CUSTOM" else name)
    return sorted(names)


def _builtin_code(code: Any) -> int:
    # Codes below 127 may stand in the old field alone.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _only_graph(model: Any) -> Any:
    if len(model.subgraphs) != 1:
        raise TfaudioError(
            "The model branches or loops inside (a recurrent layer, for example), which cannot be joined to a front "
            "end; choose a model without control flow."
        )
    return model.subgraphs[0]


def constant_biases(content: bytes) -> bytes:
    """Rewrites fully connected operators whose bias is computed as one with a constant bias and an addition.

    TensorFlow 2.16 turns dense(a + b) into dense(a) with the bias dense(b) where the batch is 1. The float kernel
    takes that; the int8 kernel refuses it. The values stay the same.

    Args:
      content: a float TFLite file.

    Returns:
      The file, as it was where it has no such operator.
    """
    model = parse(content)
    graph = _only_graph(model)
    computed = {int(i) for operator in graph.operators for i in operator.outputs}
    rewritten: list[Any] = []
    for operator in graph.operators:
        rewritten.append(operator)
        code = _builtin_code(model.operatorCodes[operator.opcodeIndex])
        if code != schema.BuiltinOperator.FULLY_CONNECTED or len(operator.inputs) < 3:
            continue
        bias = int(operator.inputs[2])
        if bias not in computed:
            continue
        product = schema.TensorT()
        output = graph.tensors[int(operator.outputs[0])]
        product.shape, product.type, product.name = output.shape, output.type, b"product"
        product.buffer = _add_buffer(model, None)
        zeros = schema.TensorT()
        units = int(output.shape[-1])
        zeros.shape, zeros.type, zeros.name = np.array([units], np.int32), schema.TensorType.FLOAT32, b"no_bias"
        zeros.buffer = _add_buffer(model, np.zeros(units, np.float32))
        graph.tensors += [product, zeros]
        add = schema.OperatorT()
        add.opcodeIndex = _operator_code(model, schema.BuiltinOperator.ADD)
        add.inputs = np.array([len(graph.tensors) - 2, bias], np.int32)
        add.outputs = operator.outputs
        add.builtinOptionsType = schema.BuiltinOptions.AddOptions
        add.builtinOptions = schema.AddOptionsT()
        add.builtinOptions.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        operator.inputs = np.array([operator.inputs[0], operator.inputs[1], len(graph.tensors) - 1], np.int32)
        operator.outputs = np.array([len(graph.tensors) - 2], np.int32)
        rewritten.append(add)
    if len(rewritten) == len(graph.operators):
        return content
    graph.operators = rewritten
    return serialize(model)


def _add_buffer(model: Any, values: np.ndarray | None) -> int:
    buffer = schema.BufferT()
    buffer.data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _operator_code(model: Any, builtin: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if _builtin_code(code) == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def join(parts: Sequence[bytes], *, input_name: str, output_name: str) -> bytes:
    """Joins TFLite files into one: the output of each is the input of the next.

    Args:
      parts: files of one subgraph, one input and one output each; what meets must agree in type and shape.
      input_name: of the input in the signature "serving_default".
      output_name: of the output there.

    Returns:
      The joined file.

    Raises:
      TfaudioError: if a part has control flow.
      ValueError: if two parts do not fit.
    """
    whole = parse(parts[0])
    _only_graph(whole)
    for part in parts[1:]:
        _append(whole, parse(part))
    graph = whole.subgraphs[0]
    graph.name = b"main"
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs = [_named(input_name, int(graph.inputs[0]))]
    signature.outputs = [_named(output_name, int(graph.outputs[0]))]
    whole.signatureDefs = [signature]
    whole.metadata, whole.metadataBuffer = None, None  # the converter's notes on the first part
    graph.tensors[int(graph.inputs[0])].name = input_name.encode()
    graph.tensors[int(graph.outputs[0])].name = output_name.encode()
    return serialize(whole)


def _named(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry


def _append(whole: Any, part: Any) -> None:
    """Appends a part's operators, tensors and constants, its input replaced by the output so far."""
    first, second = whole.subgraphs[0], _only_graph(part)
    if not len(first.outputs) == len(second.inputs) == 1:
        raise ValueError("Only parts with one input and one output can be joined.")
    link, entry = int(first.outputs[0]), int(second.inputs[0])
    before, after = first.tensors[link], second.tensors[entry]
    if before.type != after.type or list(before.shape) != list(after.shape):
        raise ValueError(f"The parts do not fit: {list(before.shape)} meets {list(after.shape)}.")
    buffers, codes = len(whole.buffers), len(whole.operatorCodes)
    whole.buffers += part.buffers
    whole.operatorCodes += part.operatorCodes
    place = {-1: -1, entry: link}  # -1 marks an optional input that is absent
    for index, tensor in enumerate(second.tensors):
        if index != entry:
            place[index] = len(first.tensors)
            tensor.buffer += buffers
            first.tensors.append(tensor)

    def moved(indices: Any) -> Any:
        return None if indices is None else np.array([place[int(i)] for i in indices], np.int32)

    for operator in second.operators:
        operator.opcodeIndex += codes
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
        operator.intermediates = moved(operator.intermediates)
        first.operators.append(operator)
    first.outputs = moved(second.outputs)
