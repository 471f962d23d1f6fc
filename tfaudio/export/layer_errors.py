"""Where a converted file goes wrong: its intermediate values beside those of the float file, operator by operator."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.export.flatbuffer import constant_biases, operator_name, parse

Array = npt.NDArray[np.float32]

# Decibels. Eight bits give about 40 at a layer; at 10 the error is a third of the signal and decisions turn over.
BROKEN_BELOW_DB = 10.0
_HIGHEST_DB = 150.0  # of values that are equal: JSON knows no infinity


@dataclass(frozen=True)
class LayerError:
    """The error that has gathered at the output of one operator.

    Args:
      index: of the operator in the file, in the order of execution.
      operator: its kind.
      tensor: name of its output.
      snr_db: power of the float values over the power of the difference; 150 where there is none.
    """

    index: int
    operator: str
    tensor: str
    snr_db: float

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        return {**asdict(self), "snr_db": round(self.snr_db, 1)}


def layer_errors(reference: bytes, content: bytes, examples: Iterable[Sequence[Array]]) -> list[LayerError]:
    """Compares a file with the float file of the same model, at every operator that both have.

    Operators correspond where their outputs have the same name and shape, as most have after a quantisation. What is
    left of both files is compared in the order of execution, where kinds and shapes agree.

    Args:
      reference: the float file.
      content: the file in question; it takes the same inputs, or those in integers.
      examples: to compare on, float32 arrays each, of the inputs in their order; what is left out is zeros. A few are
        enough.

    Returns:
      One entry an operator, in the order of execution.
    """
    expected = _Outputs(constant_biases(reference))  # which is what was quantised
    found = _Outputs(content)
    pairs = _pairs(expected, found)
    signal, noise = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 0.0)
    for example in examples:
        ours, theirs = found.run(example, pairs), expected.run(example, pairs.values())
        for name, reference_name in pairs.items():
            wanted = theirs[reference_name]
            signal[name] += float(np.sum(np.square(wanted)))
            noise[name] += float(np.sum(np.square(ours[name] - wanted)))
    return [
        LayerError(index, operator, name, _decibel(signal[name], noise[name]))
        for index, operator, name in found.operators
        if name in pairs
    ]


def _pairs(expected: _Outputs, found: _Outputs) -> dict[str, str]:
    """Outputs of the one file by those of the other that correspond to them."""
    pairs = {name: name for name, shape in found.shapes.items() if expected.shapes.get(name) == shape}

    def others(outputs: _Outputs) -> tuple[list[str], list[tuple[str, tuple[int, ...]]]]:
        left = [(kind, name) for _, kind, name in outputs.operators if name not in pairs]
        return [name for _, name in left], [(kind, outputs.shapes[name]) for kind, name in left]

    (ours, our_kinds), (theirs, their_kinds) = others(found), others(expected)
    for block in difflib.SequenceMatcher(None, our_kinds, their_kinds, autojunk=False).get_matching_blocks():
        for i in range(block.size):
            pairs[ours[block.a + i]] = theirs[block.b + i]
    return pairs


def where_it_breaks(errors: Sequence[LayerError]) -> str | None:
    """Returns a sentence on the first operator whose output is no longer that of the float file; None if none is."""
    for position, error in enumerate(errors):
        if not error.snr_db >= BROKEN_BELOW_DB:
            before = f", from {errors[position - 1].snr_db:.0f} dB before it" if position else ""
            return (
                f"it breaks at operator {error.index} ({error.operator}, '{error.tensor}'), where the signal is "
                f"{error.snr_db:.0f} dB above the error{before}."
            )
    return None


def _decibel(signal: float, noise: float) -> float:
    if not np.isfinite(noise):
        return -_HIGHEST_DB
    if noise == 0.0:
        return _HIGHEST_DB
    return float(np.clip(10.0 * np.log10(max(signal, 1e-30) / noise), -_HIGHEST_DB, _HIGHEST_DB))


class _Outputs:
    """Runs a file and gives the values between its operators.

    Attributes:
      operators: index, kind and name of the output of each, in the order of execution, those that only bring the next
        one's input into another type left out.
      shapes: of the outputs by name.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter: Any = Interpreter(
            model_content=content,
            # Delegates merge operators, and tensors between operators share memory, unless told otherwise.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        self._details = {int(t["index"]): t for t in self._interpreter.get_tensor_details()}
        self._tensors: dict[str, int] = {}
        self.operators = list(self._operators(parse(content)))
        self.shapes = {name: tuple(map(int, self._details[tensor]["shape"])) for name, tensor in self._tensors.items()}

    def _operators(self, model: Any) -> Iterator[tuple[int, str, str]]:
        graph = model.subgraphs[0]
        for index, operator in enumerate(graph.operators):
            kind = operator_name(model.operatorCodes[operator.opcodeIndex])
            for tensor in map(int, operator.outputs):
                name = graph.tensors[tensor].name.decode(errors="replace")
                if name not in self._tensors and kind not in ("QUANTIZE", "DEQUANTIZE"):
                    self._tensors[name] = tensor
                    yield index, kind, name

    def run(self, example: Sequence[Array], names: Iterable[str]) -> dict[str, npt.NDArray[np.float64]]:
        for details, values in itertools.zip_longest(self._interpreter.get_input_details(), example):
            given = np.zeros(details["shape"]) if values is None else values
            self._interpreter.set_tensor(details["index"], _as_type(given, details))
        self._interpreter.invoke()
        return {name: self._value(self._tensors[name]) for name in names}

    def _value(self, tensor: int) -> npt.NDArray[np.float64]:
        values = self._interpreter.get_tensor(tensor)
        scales = self._details[tensor]["quantization_parameters"]["scales"]
        if not np.issubdtype(values.dtype, np.integer) or not len(scales):
            if np.iscomplexobj(values):
                values = np.stack([values.real, values.imag], axis=-1)
            return values.astype(np.float64)
        zero = self._details[tensor]["quantization_parameters"]["zero_points"]
        return (values.astype(np.float64) - zero[0]) * scales[0]


def _as_type(values: npt.NDArray[Any], details: Mapping[str, Any]) -> npt.NDArray[Any]:
    """What an input takes in place of floats."""
    scale, zero = details["quantization"]
    if scale:
        limits = np.iinfo(details["dtype"])
        values = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
    return values.astype(details["dtype"])
