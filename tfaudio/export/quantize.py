"""Integer arithmetic inside the classifier, with ranges taken from training audio: int8, 16x8, int8 throughout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.errors import TfaudioError, first_line
from tfaudio.export.flatbuffer import constant_biases, float_operators, operators, with_ranges_of

# A transformer's normalisation and attention lose accuracy in eight bits, and converting to and from float around
# them takes less time than their integer kernels: with these left alone, such a model is better and a third faster.
# They are the operators that a layer normalisation, a softmax over keys and a residual connection consist of.
_FLOAT_IN_TRANSFORMERS = (
    "ADD",
    "BATCH_MATMUL",
    "MEAN",
    "MUL",
    "RSQRT",
    "SOFTMAX",
    "SQUARED_DIFFERENCE",
    "SUB",
)
# A standard deviation over time is a small difference of squares, of which eight bits leave little.
_FLOAT_IN_STATISTICS = ("ADD", "CONCATENATION", "MEAN", "MUL", "SQRT", "SQUARED_DIFFERENCE", "SUB")
# The quantiser knows no 16-bit form of some; those of the others it writes, but no kernel runs them.
_NOT_IN_16_BITS = ("EXP", "GELU", "HARD_SWISH", "LOG", "NEG", "RSQRT", "SQRT", "SQUARED_DIFFERENCE")

# What most time goes into. In a deep network of small steps, eight bits between every two of them add up: with only
# these in integers, the error of BC-ResNet falls by 9 dB, and it is smaller and quicker too.
_PRODUCTS = {"CONV_2D", "FULLY_CONNECTED"}
# Of the outputs' power over the error's, on training clips; below, decisions begin to turn over.
_ENOUGH_DB = 20.0
_CLIPS_COMPARED = 16

# Inputs of a model for one clip: an array, or a list with one for each input.
Example = npt.NDArray[np.float32] | list[npt.NDArray[np.float32]]


def check_can_be_int8(classifier: keras.Model) -> None:
    """Raises TfaudioError for layers whose calibration, for int8 and 16x8, is known to kill the process."""
    layers = classifier._flatten_layers()
    recurrent = [layer.name for layer in layers if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)]
    if recurrent:
        raise TfaudioError(
            f"int8 does not support recurrent layers ({', '.join(recurrent)}); export dynamic_range instead."
        )


class Int8(NamedTuple):
    """A file quantised to int8, and what it was quantised by.

    Args:
      content: the file; its input and output stay float32.
      notes: what a reader of the report should know about it.
      calibrated: the float file with the range of each tensor.
      kept_float: operators that stay float.
    """

    content: bytes
    notes: tuple[str, ...]
    calibrated: bytes
    kept_float: tuple[str, ...]


def int8(
    float_model: bytes,
    calibration: Iterable[Example],
    *,
    keep_float: Iterable[str] | None = None,
    judged_by: Sequence[str] = (),
) -> Int8:
    """Quantises a float TFLite classifier; its input and output stay float32.

    Starts from the converted float file, not from Keras, since that can be repaired first (`constant_biases`).

    Args:
      float_model: TFLite file from features to logits.
      calibration: features float32 [1, frames, bins] of training clips; of a model with several inputs, a list with
        one array each.
      keep_float: operators to leave in float; by default those of a transformer, or of statistics over time, where
        the model has such, and all but convolutions and products where the outputs would suffer otherwise.
      judged_by: names of the outputs that must not suffer; by default all.

    Raises:
      TfaudioError: if the quantiser refuses the model.
    """
    from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

    examples = list(calibration)
    with _refusal_told("int8"):
        calibrated = bytes(
            Calibrator(add_intermediate_tensors(constant_biases(float_model))).calibrate(_feeder(examples))
        )
    found = set(operators(float_model))
    if keep_float is not None:
        return _quantized(calibrated, set(keep_float) & found)
    first = _quantized(calibrated, set(_float_by_default(found)) & found)
    snr = _snr_db(float_model, first.content, examples, judged_by)
    if snr >= _ENOUGH_DB:
        return first
    second = _quantized(calibrated, found - _PRODUCTS)
    return second if _snr_db(float_model, second.content, examples, judged_by) > snr else first


def int8_like(float_model: bytes, other: Int8) -> bytes:
    """Quantises a file of the same operators and weights as another to the same integers, its shapes apart.

    Raises:
      TfaudioError: if their operators are not the same, or the quantiser refuses the model.
    """
    with _refusal_told("int8"):
        ranged = with_ranges_of(constant_biases(float_model), other.calibrated)
    return _quantized(ranged, set(other.kept_float)).content


def _quantized(calibrated: bytes, keep_float: set[str]) -> Int8:
    # With the calibration, the same two steps as inside tf.lite.TFLiteConverter, which offers no way to start from a
    # TFLite file.
    from tensorflow.lite.python.convert import mlir_quantize

    kept = tuple(sorted(keep_float))
    with _refusal_told("int8"):
        content = bytes(mlir_quantize(calibrated, denylisted_ops=list(kept) or None))
    return Int8(content, (f"{', '.join(kept)} stay float32",) if kept else (), calibrated, kept)


def _float_by_default(found: set[str]) -> tuple[str, ...]:
    if "BATCH_MATMUL" in found:
        return _FLOAT_IN_TRANSFORMERS
    return _FLOAT_IN_STATISTICS if "SQRT" in found else ()


def int16x8(float_model: bytes, calibration: Iterable[Example]) -> bytes:
    """Quantises a float TFLite classifier to 16-bit activations and 8-bit weights; input and output stay float32.

    Args:
      float_model: TFLite file from features to logits.
      calibration: as of `int8`.

    Raises:
      TfaudioError: if an operator has no such form, or the quantiser refuses the model.
    """
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    stranger = sorted(set(_NOT_IN_16_BITS) & set(operators(float_model)))
    if stranger:
        raise TfaudioError(
            f"int16x8 has no 16-bit form of {', '.join(stranger)}, which the model needs; export int8 or dynamic_range."
        )
    with _refusal_told("int16x8"):
        quantized = Calibrator(constant_biases(float_model)).calibrate_and_quantize(
            _feeder(calibration), tf.float32, tf.float32, False, tf.int16, tf.int64
        )
    return bytes(quantized)


def int8_throughout(float_model: bytes, calibration: Iterable[Example]) -> bytes:
    """Quantises a float TFLite classifier, its input and output too, for processors without float arithmetic.

    Args:
      float_model: TFLite file from features to logits.
      calibration: as of `int8`.

    Returns:
      The file from features int8 [1, frames, bins] to logits int8 [1, classes].

    Raises:
      TfaudioError: if an operator stays float, or the quantiser refuses the model.
    """
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

    with _refusal_told("int8 throughout"):
        calibrated = Calibrator(add_intermediate_tensors(constant_biases(float_model))).calibrate(_feeder(calibration))
        quantized = bytes(
            mlir_quantize(calibrated, fully_quantize=True, input_data_type=tf.int8, output_data_type=tf.int8)
        )
    left = float_operators(quantized)
    if left:
        raise TfaudioError(
            f"int8 throughout leaves {', '.join(left)} in float; choose another model for a microcontroller (ds_cnn, "
            "bc_resnet, cnn)."
        )
    return quantized


def _snr_db(float_model: bytes, quantized: bytes, examples: Sequence[Example], names: Sequence[str]) -> float:
    """Power of the float file's outputs over that of the quantised one's error, in dB; -inf where it does not run."""
    some = examples[:: max(1, len(examples) // _CLIPS_COMPARED)]
    try:
        expected, found = _outputs(float_model, some, names), _outputs(quantized, some, names)
    except (RuntimeError, ValueError):
        return -np.inf
    noise = float(np.sum(np.square(found - expected)))
    return float(10.0 * np.log10(np.sum(np.square(expected)) / noise)) if noise else np.inf


def _outputs(content: bytes, examples: Sequence[Example], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """The outputs of those names, or all, in one row for each example."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    outputs = interpreter.get_output_details()
    if names:
        by_name = interpreter.get_signature_runner().get_output_details()
        outputs = [by_name[name] for name in names]
    rows = []
    for example in examples:
        inputs = example if isinstance(example, list) else [example]
        for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(details["index"], values)
        interpreter.invoke()
        found = [interpreter.get_tensor(details["index"]).ravel() for details in outputs]
        rows.append(np.concatenate(found).astype(np.float64))
    return np.stack(rows)


def _feeder(calibration: Iterable[Example]) -> Callable[[], Iterator[list[npt.NDArray[np.float32]]]]:
    def samples() -> Iterator[list[npt.NDArray[np.float32]]]:
        for inputs in calibration:
            yield inputs if isinstance(inputs, list) else [inputs]

    return samples


@contextlib.contextmanager
def _refusal_told(what: str) -> Iterator[None]:
    """Turns what the quantiser raises into a sentence."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise TfaudioError(
            f"The model cannot be quantised to {what} ({reason}); export dynamic_range instead."
        ) from error
