"""int8: integer arithmetic inside the classifier, with ranges taken from training audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError
from tfaudio.export.flatbuffer import constant_biases, operators

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


def check_can_be_int8(classifier: keras.Model) -> None:
    """Raises TfaudioError for layers whose calibration is known to kill the process, before it does."""
    layers = classifier._flatten_layers()
    recurrent = [layer.name for layer in layers if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)]
    if recurrent:
        raise TfaudioError(
            f"int8 does not support recurrent layers ({', '.join(recurrent)}); export dynamic_range instead."
        )


def int8(
    float_model: bytes, calibration: Iterable[npt.NDArray[np.float32]], *, keep_float: Iterable[str] | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """Quantises a float TFLite classifier; its input and output stay float32.

    Starts from the converted float file, not from Keras, since that can be repaired first (`constant_biases`).

    Args:
      float_model: TFLite file from features to logits.
      calibration: features float32 [1, frames, bins] of training clips.
      keep_float: operators to leave in float; by default those of a transformer where the model is one.

    Returns:
      The quantised file, and what a reader of the report should know about it.

    Raises:
      TfaudioError: if the quantiser refuses the model.
    """
    # The same two steps as inside tf.lite.TFLiteConverter, which offers no way to start from a TFLite file.
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

    if keep_float is None:
        keep_float = _FLOAT_IN_TRANSFORMERS if "BATCH_MATMUL" in operators(float_model) else ()
    present = sorted(set(keep_float) & set(operators(float_model)))

    def samples() -> Iterator[list[npt.NDArray[np.float32]]]:
        for features in calibration:
            yield [features]

    try:
        calibrated = Calibrator(add_intermediate_tensors(constant_biases(float_model))).calibrate(samples)
        quantized = mlir_quantize(calibrated, denylisted_ops=present or None)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TfaudioError(
            f"The model cannot be quantised to int8 ({reason}); export dynamic_range instead."
        ) from error
    notes = (f"{', '.join(present)} stay float32",) if present else ()
    return bytes(quantized), notes
