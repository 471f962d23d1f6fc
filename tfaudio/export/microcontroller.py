"""A classifier in integers and all that a microcontroller computes around it, as C sources and constants.

TensorFlow Lite Micro runs the classifier from a C array. The front end is computed by the target, in float, since its
logarithm of a power spectrum spans more than eight bits: by `export/microcontroller/tfaudio_front_end.c` where that
knows the feature, from the constants that are written here. Golden vectors tell whether it does so rightly.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tfaudio import golden
from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.export import c_source
from tfaudio.export.arena import arena_bytes
from tfaudio.export.flatbuffer import integer_operators, operators
from tfaudio.features.mel import mel_matrix
from tfaudio.features.stft import hann
from tfaudio.model_settings import ModelMetadata

FOLDER = "microcontroller"
MODEL, GOLDEN = "model.tflite", "golden.npz"
_COMPRESSIONS = {"none": 0, "log": 1, "db": 2}

Array = npt.NDArray[np.float32]
Vectors = dict[str, npt.NDArray[Any]]

# Methods of tflite::MicroMutableOpResolver, where they are not the operator's name in capitals and small letters.
_RESOLVER_METHODS = {
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "L2_POOL_2D": "AddL2Pool2D",
    "MAX_POOL_2D": "AddMaxPool2D",
    "PADV2": "AddPadV2",
    "SPLIT_V": "AddSplitV",
    "TRANSPOSE_CONV": "AddTransposeConv",
}
# fmt: off
_RESOLVER_PLAIN = frozenset(
    (
        "ABS", "ADD", "CONCATENATION", "DEQUANTIZE", "DIV", "EXP", "EXPAND_DIMS",
        "FULLY_CONNECTED", "GATHER", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM", "MEAN",
        "MINIMUM", "MUL", "NEG", "PACK", "PAD", "PRELU", "QUANTIZE", "REDUCE_MAX", "RELU", "RELU6", "RESHAPE",
        "RSQRT", "SLICE", "SOFTMAX", "SPLIT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SQUEEZE",
        "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "UNPACK"
    )
)
# fmt: on
# Kernels of TFLM that compute in float32 alone, and fail on the device where they are given integers: most of
# elementwise.cc, exp.cc, neg.cc and l2_pool_2d.cc.
_FLOAT_ONLY = frozenset(("EXP", "L2_POOL_2D", "LOG", "NEG", "SQRT", "SQUARE"))


class BareClassifier:
    """An int8 classifier run here as a target runs it: features quantised, logits brought back, made scores.

    Args:
      content: TFLite file from int8 features [1, frames, bins] to int8 logits [1, classes].
      front_end: Keras model from waveform [batch, num_samples] to features.
      activation: what makes scores of logits, as `ModelConfig.score_activation`.
    """

    def __init__(self, content: bytes, front_end: keras.Model, activation: str = "softmax") -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._front_end, self._activation = front_end, activation
        self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self.input_scale, self.input_zero = _quantization(self._input)
        self.output_scale, self.output_zero = _quantization(self._output)

    def quantized_features(self, waveforms: Array) -> npt.NDArray[np.int8]:
        """Returns int8 [batch, frames, bins] of float32 [batch, num_samples]."""
        features = np.asarray(self._front_end(waveforms, training=False), np.float32)
        scaled = features / np.float32(self.input_scale)
        rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))  # halves away from zero, as C's lroundf
        return np.clip(rounded + self.input_zero, -128, 127).astype(np.int8)

    def logits(self, features: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Returns int8 [batch, classes] of int8 [batch, frames, bins]."""
        rows = []
        for row in features:
            self._interpreter.set_tensor(self._input["index"], row[np.newaxis])
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._output["index"])[0])
        return np.stack(rows)

    def score(self, waveforms: Array) -> Array:
        """Returns scores float32 [batch, classes] of float32 [batch, num_samples]."""
        logits = self.logits(self.quantized_features(waveforms)).astype(np.float32) - self.output_zero
        if self._activation == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-logits * np.float32(self.output_scale))), np.float32)
        exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)) * np.float32(self.output_scale))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)


def _quantization(details: Any) -> tuple[float, int]:
    if details["dtype"] != np.int8:
        raise TfaudioError(f"The classifier's '{details['name']}' is {np.dtype(details['dtype']).name}, not int8.")
    scale, zero = details["quantization"]
    return float(scale), int(zero)


def why_not_ported(config: FrontEndConfig) -> str | None:
    """Returns what of a front end `tfaudio_front_end.c` does not compute; None if it computes it whole."""
    if config.feature != "mel" or config.learnt:
        return f"features '{config.feature}'" if not config.learnt else "a learnt front end"
    if config.compression not in _COMPRESSIONS or config.top_db is not None:
        return "front_end.top_db" if config.top_db is not None else f"compression '{config.compression}'"
    if config.deltas:
        return "front_end.deltas"
    if config.fft_length & (config.fft_length - 1) or config.fft_length < 4:
        return f"a Fourier transform of {config.fft_length} points"
    return None


@dataclass(frozen=True)
class Package:
    """The files for a microcontroller, by name, and what to know about them."""

    files: dict[str, bytes]
    arena_bytes: int
    notes: tuple[str, ...]


def package(content: bytes, classifier: BareClassifier, metadata: ModelMetadata) -> Package:
    """Makes the files.

    Args:
      content: TFLite file from int8 features to int8 logits.
      classifier: of that file.
      metadata: of the model.

    Raises:
      TfaudioError: if TFLM has no kernel for an operator, or none for its types.
    """
    arena = arena_bytes(content)
    waveforms = golden.waveforms(metadata.num_samples, metadata.sample_rate)
    features = classifier.quantized_features(golden.to_float(waveforms))
    vectors: Vectors = {"waveforms": waveforms, "features": features, "logits": classifier.logits(features)}
    missing = why_not_ported(metadata.front_end)
    settings = _settings(metadata, classifier, arena, features.shape[1:], ported=missing is None)
    texts = {
        "tfaudio_model.h": c_source.header("TFAUDIO_MODEL_H", _MODEL_HEADER),
        "tfaudio_model.cc": c_source.aligned_bytes("tfaudio_model.h", "tfaudio_model", content),
        "tfaudio_operators.h": operator_header(content),
        "tfaudio_settings.h": c_source.header("TFAUDIO_SETTINGS_H", settings[0]),
        "tfaudio_settings.c": '#include "tfaudio_settings.h"\n\n' + settings[1],
        "tfaudio_golden.h": c_source.header("TFAUDIO_GOLDEN_H", _golden_header(vectors)),
        "tfaudio_golden.c": '#include "tfaudio_golden.h"\n\n' + "".join(_golden_arrays(vectors)),
        **metadata.to_files(),
    }
    archive = io.BytesIO()
    np.savez_compressed(archive, **vectors)
    files = {MODEL: content, GOLDEN: archive.getvalue(), **{name: text.encode() for name, text in texts.items()}}
    notes = [f"the classifier alone, {len(content) / 1000:.1f} kB; its arena needs about {arena / 1000:.1f} kB"]
    if missing is not None:
        notes.append(
            f"tfaudio_front_end.c does not compute {missing}: the target has to, and tfaudio_golden.c tells if it does"
        )
    return Package(files, arena, tuple(notes))


_MODEL_HEADER = """
extern const unsigned char tfaudio_model[];
extern const unsigned int tfaudio_model_size;
"""


def operator_header(content: bytes) -> str:
    """Returns a C++ header with a function that adds a model's operators to a resolver.

    Raises:
      TfaudioError: if TFLM has no kernel for one of them, or none for the integers that it is given.
    """
    names = operators(content)
    methods = {name: _RESOLVER_METHODS.get(name) or _plain_method(name) for name in names}
    unknown = [name for name, method in methods.items() if method is None]
    if unknown:
        raise TfaudioError(f"TensorFlow Lite Micro has no kernel for {', '.join(unknown)}; choose another model.")
    in_integers = sorted(_FLOAT_ONLY & set(integer_operators(content)))
    if in_integers:
        raise TfaudioError(
            f"TensorFlow Lite Micro computes {', '.join(in_integers)} in float32 alone, and the model has integers "
            "there; choose another model for a microcontroller (ds_cnn, bc_resnet, cnn)."
        )
    calls = " &&\n         ".join(f"resolver.{method}() == kTfLiteOk" for method in methods.values())
    return (
        "// Include after tensorflow/lite/micro/micro_mutable_op_resolver.h.\n"
        "#ifndef TFAUDIO_OPERATORS_H\n#define TFAUDIO_OPERATORS_H\n\n"
        f"#define TFAUDIO_NUM_OPERATORS {len(names)}\n\n"
        "// resolver: a tflite::MicroMutableOpResolver<TFAUDIO_NUM_OPERATORS>, or one with room for more.\n"
        "template <typename Resolver>\nbool tfaudio_add_operators(Resolver& resolver) {\n"
        f"  return {calls};\n}}\n\n#endif\n"
    )


def _plain_method(name: str) -> str | None:
    return "Add" + name.replace("_", " ").title().replace(" ", "") if name in _RESOLVER_PLAIN else None


def _settings(
    metadata: ModelMetadata, classifier: BareClassifier, arena: int, shape: Sequence[int], *, ported: bool
) -> tuple[str, str]:
    """Header and source of the settings."""
    config, labels = metadata.front_end, metadata.labels
    numbers: dict[str, Any] = {
        "SAMPLE_RATE": config.sample_rate,
        "NUM_SAMPLES": metadata.num_samples,
        "NUM_FRAMES": shape[0],
        "NUM_BINS": shape[1],
        "NUM_CLASSES": len(labels),
        "INPUT_SCALE": c_source.real(classifier.input_scale),
        "INPUT_ZERO_POINT": classifier.input_zero,
        "OUTPUT_SCALE": c_source.real(classifier.output_scale),
        "OUTPUT_ZERO_POINT": classifier.output_zero,
        "ARENA_BYTES": arena,
        "SCORES_SIGMOID": int(metadata.score_activation == "sigmoid"),
        "FRONT_END_PORTED": int(ported),
    }
    declarations = ["extern const char* const tfaudio_labels[TFAUDIO_NUM_CLASSES];"]
    definitions = [c_source.strings("tfaudio_labels", "TFAUDIO_NUM_CLASSES", list(labels))]
    if ported:
        arrays = _front_end_arrays(metadata)
        numbers |= _front_end_numbers(config)
        for name, values in arrays.items():
            declarations.append(c_source.declaration(f"tfaudio_{name}", values))
            definitions.append(c_source.array(f"tfaudio_{name}", values))
    defines = "".join(f"#define TFAUDIO_{name} {value}\n" for name, value in numbers.items())
    return f"#include <stdint.h>\n\n{defines}\n" + "\n".join(declarations) + "\n", "\n".join(definitions)


def _front_end_numbers(config: FrontEndConfig) -> dict[str, Any]:
    return {
        "FRAME_LENGTH": config.frame_length,
        "FRAME_STEP": config.frame_step,
        "FFT_LENGTH": config.fft_length,
        # Samples of a frame ahead of the one that it is centred on, as `tfaudio.features.stft` has it.
        "FRAME_BEFORE": config.fft_length // 2 - (config.fft_length - config.frame_length) // 2,
        "MAGNITUDE": int(config.spectrum == "magnitude"),
        "COMPRESSION": _COMPRESSIONS[config.compression],
        "LOG_OFFSET": c_source.real(config.log_offset),
    }


def _front_end_arrays(metadata: ModelMetadata) -> dict[str, npt.NDArray[Any]]:
    """Window, roots of unity, mel bands without their zeros, and the standardisation as a factor and an offset."""
    config = metadata.front_end
    angle = 2.0 * np.pi * np.arange(config.fft_length // 2) / config.fft_length
    bands = mel_matrix(config).T
    filled = [np.flatnonzero(band) for band in bands]
    sizes = [int(where[-1] - where[0]) + 1 for where in filled]
    weights = [band[where[0] : where[0] + size] for band, where, size in zip(bands, filled, sizes, strict=True)]
    mean = np.asarray(metadata.feature_mean or np.zeros(config.num_bins), np.float64)
    stddev = np.asarray(metadata.feature_stddev or np.ones(config.num_bins), np.float64)
    return {
        "window": hann(config.frame_length).astype(np.float32),
        "roots": np.stack([np.cos(angle), -np.sin(angle)], axis=1).astype(np.float32).ravel(),
        "band_start": np.array([where[0] for where in filled], np.uint16),
        "band_size": np.array(sizes, np.uint16),
        "band_weights": np.concatenate(weights).astype(np.float32),
        "feature_scale": (1.0 / stddev).astype(np.float32),
        "feature_offset": (-mean / stddev).astype(np.float32),
    }


def _golden_header(vectors: Vectors) -> str:
    count = len(vectors["waveforms"])
    lines = [c_source.declaration(f"tfaudio_golden_{name}", values.ravel()) for name, values in vectors.items()]
    return f"#include <stdint.h>\n\n#define TFAUDIO_NUM_GOLDEN {count}\n\n" + "\n".join(lines) + "\n"


def _golden_arrays(vectors: Vectors) -> list[str]:
    return [c_source.array(f"tfaudio_golden_{name}", values.ravel()) + "\n" for name, values in vectors.items()]
