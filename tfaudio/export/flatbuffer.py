"""TFLite files as objects: reading, repairing, joining and writing them.

The converter cannot be told to quantise one part of a graph and leave another alone. Converting the parts by
themselves and joining the files can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfaudio.errors import TfaudioError

FILE_IDENTIFIER = b"TFL3"
SIGNATURE = "serving_default"

# What kernels demand of constants, by the schema's force_align. The generated writer gives 4 bytes, with which
# vector instructions are slow on some processors and not allowed on others.
_ALIGNMENT = 16

_BUILTIN_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int) and name.isupper()
}


_TYPE = schema.TensorType
_ITEM_BYTES = {
    **dict.fromkeys((_TYPE.INT8, _TYPE.UINT8, _TYPE.BOOL), 1),
    **dict.fromkeys((_TYPE.FLOAT16, _TYPE.INT16, _TYPE.UINT16), 2),
    **dict.fromkeys((_TYPE.INT64, _TYPE.UINT64, _TYPE.FLOAT64, _TYPE.COMPLEX64), 8),
    _TYPE.COMPLEX128: 16,
}  # others have four


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
    return sorted({operator_name(code) for code in parse(content).operatorCodes})


def operator_name(code: Any) -> str:
    """Name of an operator code (`OperatorCodeT`); of a custom one "CUSTOM:name"."""
    name = _BUILTIN_NAMES.get(_builtin_code(code), str(_builtin_code(code)))
    custom = code.customCode.decode() if isinstance(code.customCode, bytes) else code.customCode
    return f"CUSTOM:{custom}" if name == "CUSTOM" else name


def tensor_bytes(tensor: Any) -> int:
    """Size of a tensor's values."""
    shape = [int(n) for n in tensor.shape] if tensor.shape is not None else []
    return int(np.prod(shape, dtype=np.int64)) * _ITEM_BYTES.get(tensor.type, 4)


def float_operators(content: bytes) -> list[str]:
    """Names of the operators that read or write float tensors, sorted, each once."""
    return _operators_on(content, {_TYPE.FLOAT32, _TYPE.FLOAT16})


def integer_operators(content: bytes) -> list[str]:
    """Names of the operators that read or write integer tensors, sizes and axes too, sorted, each once."""
    return _operators_on(content, {_TYPE.INT8, _TYPE.UINT8, _TYPE.INT16, _TYPE.INT32, _TYPE.INT64})


def _operators_on(content: bytes, types: set[int]) -> list[str]:
    model = parse(content)
    graph = only_graph(model)
    names = set()
    for operator in graph.operators:
        touched = [graph.tensors[int(i)].type for i in (*operator.inputs, *operator.outputs) if int(i) >= 0]
        if types & set(touched):
            names.add(operator_name(model.operatorCodes[operator.opcodeIndex]))
    return sorted(names)


def _builtin_code(code: Any) -> int:
    # Codes below 127 may stand in the old field alone.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def only_graph(model: Any) -> Any:
    """Returns the graph of a model that has one.

    Raises:
      TfaudioError: if it has control flow.
    """
    if len(model.subgraphs) != 1:
        raise TfaudioError(
            "The model branches or loops inside (a recurrent layer, for example), which cannot be taken apart, nor "
            "joined to a front end; choose a model without control flow."
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
    graph = only_graph(model)
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


def halve_energy_matrices(content: bytes, *, min_elements: int = 4096) -> bytes:
    """Stores large matrices without negative values in half precision, to be widened when the file is loaded.

    Such matrices add energies up (mel bands, chroma), and a rounding of 0.05 % of each term is 0.05 % of the sum. What
    has both signs (a Fourier matrix, filters) or is a window cancels terms against each other, and would lose all that
    lies 66 dB below the loudest.

    Args:
      content: a float TFLite file.
      min_elements: smaller ones are left alone.
    """
    model = parse(content)
    graph = only_graph(model)
    widened, halved = [], set()
    for tensor in list(graph.tensors):
        data = model.buffers[tensor.buffer].data
        shape = [int(n) for n in tensor.shape] if tensor.shape is not None else []
        is_matrix = len([n for n in shape if n > 1]) > 1
        if tensor.type != schema.TensorType.FLOAT32 or not is_matrix or data is None or len(data) < 4 * min_elements:
            continue
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32)
        if values.min() < 0:
            continue
        half = schema.TensorT()
        half.shape, half.type, half.name = tensor.shape, schema.TensorType.FLOAT16, tensor.name + b"_half"
        half.buffer = _add_buffer(model, values.astype(np.float16))
        halved.add(tensor.buffer)
        tensor.buffer = 0  # by convention the empty one: the tensor is computed now
        operator = schema.OperatorT()
        operator.opcodeIndex = _operator_code(model, schema.BuiltinOperator.DEQUANTIZE, version=3)
        operator.inputs = np.array([len(graph.tensors)], np.int32)
        operator.outputs = np.array([graph.tensors.index(tensor)], np.int32)
        graph.tensors.append(half)
        widened.append(operator)
    for index in halved - {tensor.buffer for tensor in graph.tensors}:
        model.buffers[index].data = None
    graph.operators = widened + graph.operators
    return serialize(model)


def with_ranges_of(content: bytes, calibrated: bytes) -> bytes:
    """Gives the tensors of a float file the ranges that calibration found for another of the same operators.

    A state that is joined to what is new has the range of both together, whatever it was in the other file: zeros, if
    that was calibrated at the beginning of a stream.

    Args:
      content: a float TFLite file.
      calibrated: a float TFLite file with ranges, whose tensors may have other shapes.

    Raises:
      ValueError: if their operators are not the same.
    """
    model, other = parse(content), parse(calibrated)
    graph, ranged = only_graph(model), only_graph(other)
    kinds, ranged_kinds = (
        [operator_name(m.operatorCodes[operator.opcodeIndex]) for operator in g.operators]
        for m, g in ((model, graph), (other, ranged))
    )
    if kinds != ranged_kinds:
        raise ValueError("The files have other operators, so that ranges of the one say nothing of the other.")
    entries = {int(i) for i in graph.inputs}
    for kind, operator, twin in zip(kinds, graph.operators, ranged.operators, strict=True):
        for tensors, twins in ((operator.inputs, twin.inputs), (operator.outputs, twin.outputs)):
            for tensor, source in zip(map(int, tensors), map(int, twins), strict=True):
                if tensor >= 0:
                    graph.tensors[tensor].quantization = ranged.tensors[source].quantization
        if kind == "CONCATENATION":
            for tensor in entries & {int(i) for i in operator.inputs}:
                graph.tensors[tensor].quantization = graph.tensors[int(operator.outputs[0])].quantization
    return serialize(model)


def _add_buffer(model: Any, values: np.ndarray | None) -> int:
    buffer = schema.BufferT()
    buffer.data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _operator_code(model: Any, builtin: int, *, version: int = 1) -> int:
    for index, code in enumerate(model.operatorCodes):
        if _builtin_code(code) == builtin and code.version >= version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def join(parts: Sequence[bytes], *, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Joins TFLite files of any number of inputs and outputs into one, by the names in their signatures.

    Args:
      parts: files of one subgraph and one signature each. An input takes the output of that name of an earlier part,
        or else becomes one of the whole; what meets must agree in type and shape.
      inputs: of the whole, in their order.
      outputs: likewise.

    Returns:
      The joined file.

    Raises:
      TfaudioError: if a part has control flow.
      ValueError: if two parts do not fit, or a name is missing.
    """
    whole = parse(parts[0])
    only_graph(whole)
    entries, results = _signature(whole)
    made = dict(results)
    for content in parts[1:]:
        part = parse(content)
        part_inputs, part_outputs = _signature(part)
        place = _append(whole, part, {tensor: made[n] for n, tensor in part_inputs.items() if n in made})
        entries |= {name: place[tensor] for name, tensor in part_inputs.items() if name not in made}
        made |= {name: place[tensor] for name, tensor in part_outputs.items()}
    for names, found in ((inputs, entries), (outputs, made)):
        if not set(names) <= set(found):
            raise ValueError(f"The parts have {sorted(found)}, not {sorted(names)}.")
    if set(entries) != set(inputs):
        raise ValueError(f"The parts take {sorted(entries)}, not {sorted(inputs)}.")
    for name, tensor in made.items():
        whole.subgraphs[0].tensors[tensor].name = name.encode()
    return _finished(whole, {name: entries[name] for name in inputs}, {name: made[name] for name in outputs})


def _signature(model: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Inputs and outputs of a model by the names in its one signature."""
    (signature,) = model.signatureDefs

    def by_name(entries: Any) -> dict[str, int]:
        return {entry.name.decode(): int(entry.tensorIndex) for entry in entries}

    return by_name(signature.inputs), by_name(signature.outputs)


def _finished(whole: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
    """Gives a joined model its one signature, and the names in it to its tensors."""
    graph = whole.subgraphs[0]
    graph.name = b"main"
    graph.inputs = np.array(list(inputs.values()), np.int32)
    graph.outputs = np.array(list(outputs.values()), np.int32)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs = [_named(name, tensor) for name, tensor in inputs.items()]
    signature.outputs = [_named(name, tensor) for name, tensor in outputs.items()]
    whole.signatureDefs = [signature]
    whole.metadata, whole.metadataBuffer = None, None  # the converter's notes on the first part
    for name, tensor in (*inputs.items(), *outputs.items()):
        graph.tensors[tensor].name = name.encode()
    return serialize(whole)


def _named(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry


def _append(whole: Any, part: Any, links: Mapping[int, int]) -> dict[int, int]:
    """Appends a part's operators, tensors and constants.

    Args:
      whole: to append to.
      part: with one graph; it is taken apart.
      links: inputs of the part that are tensors of the whole already.

    Returns:
      Where each tensor of the part lies in the whole.
    """
    first, second = whole.subgraphs[0], only_graph(part)
    for entry, link in links.items():
        before, after = first.tensors[link], second.tensors[entry]
        if before.type != after.type or list(before.shape) != list(after.shape):
            raise ValueError(f"The parts do not fit: {list(before.shape)} meets {list(after.shape)}.")
    buffers, codes = len(whole.buffers), len(whole.operatorCodes)
    whole.buffers += part.buffers
    whole.operatorCodes += part.operatorCodes
    place = {-1: -1, **links}  # -1 marks an optional input that is absent
    for index, tensor in enumerate(second.tensors):
        if index not in links:
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
    return place
