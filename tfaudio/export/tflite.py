"""A trained run to TFLite: a float front end, a classifier in one of four precisions and the softmax, in one file.

The front end stays float in every variant: a waveform, a power spectrum and its logarithm span too many orders of
magnitude for eight bits, and a fully quantised file loses a third of its accuracy without any error being raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError
from tfaudio.export import quantize
from tfaudio.export.flatbuffer import join, operators
from tfaudio.features.front_end import FrontEnd, compute_features
from tfaudio.terminal import native_messages_hidden

INPUT, OUTPUT = "waveform", "scores"

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Conversion:
    """A converted file and what there is to say about it."""

    content: bytes
    notes: tuple[str, ...] = ()


class TfliteConverter:
    """Converts a run to any of the variants; the parts that they share are converted once.

    Args:
      bundle: the run.
      num_samples: of the waveform that the file takes.
      calibration: float32 [clips, num_samples], training audio that tells the ranges for int8.
      folder: for what conversion leaves lying about; the caller removes it.
    """

    def __init__(self, bundle: Bundle, num_samples: int, calibration: npt.NDArray[np.float32], folder: Path) -> None:
        self._bundle, self._num_samples, self._calibration, self._folder = bundle, num_samples, calibration, folder
        self._num_classes = len(bundle.labels)
        self._parts: dict[str, bytes] = {}

    def convert(self, variant: str) -> Conversion:
        """Converts to "float32", "float16", "dynamic_range" or "int8", and runs the result once.

        Returns:
          waveform float32 [1, num_samples] to scores float32 [1, classes], builtin operators only.

        Raises:
          TfaudioError: if this model cannot be converted to this variant; the message says why.
        """
        classifier, notes = self._classifier(variant)
        front_end = self._part("front_end" if variant == "float32" else "small_front_end")
        content = join([front_end, classifier, self._part("softmax")], input_name=INPUT, output_name=OUTPUT)
        check_runs(content, num_samples=self._num_samples, num_classes=self._num_classes)
        return Conversion(content, notes)

    def _classifier(self, variant: str) -> tuple[bytes, tuple[str, ...]]:
        if variant != "int8":
            return self._part(variant), ()
        quantize.check_can_be_int8(self._bundle.classifier)
        if len(self._calibration) == 0:
            raise TfaudioError("int8 needs training clips to find the ranges of values; pass some.")
        float_model = self._part("float32")
        with native_messages_hidden():
            return quantize.int8(float_model, self._calibration_features())

    def _calibration_features(self) -> Iterator[npt.NDArray[np.float32]]:
        for clip in self._calibration:
            features = compute_features(clip[np.newaxis], self._bundle.config.front_end, self._bundle.normalization)
            yield features.numpy()

    def _part(self, name: str) -> bytes:
        if name not in self._parts:
            self._parts[name] = self._convert_part(name)
        return self._parts[name]

    def _convert_part(self, name: str) -> bytes:
        front_end = self._bundle.config.front_end
        if name in ("front_end", "small_front_end"):
            waveform = keras.Input((self._num_samples,), name=INPUT)
            model = keras.Model(waveform, FrontEnd(front_end, self._bundle.normalization)(waveform))
            # Half precision costs the mel bands 0.05 % of their power, but a Fourier matrix its dynamic range.
            half = name == "small_front_end" and front_end.implementation == "rfft"
            return convert_folder(export_static(model, self._folder / name), "float16" if half else "float32")
        if name == "softmax":
            logits = keras.Input((self._num_classes,), name="logits")
            model = keras.Model(logits, keras.layers.Softmax()(logits))
            return convert_folder(export_static(model, self._folder / name), "float32")
        folder = self._folder / "classifier"
        if not folder.exists():
            frames = int(front_end.num_frames(self._num_samples))
            export_static(self._bundle.unmasked_classifier(), folder, shape=(1, frames, front_end.num_bins))
        return convert_folder(folder, name)


def export_static(model: keras.Model, folder: Path, *, shape: tuple[int, ...] | None = None) -> Path:
    """Writes a Keras model of one input as a SavedModel with a batch of 1, to convert from; returns the folder.

    `TFLiteConverter.from_keras_model` kills the process on TensorFlow 2.16 with Keras 3, and conversion from
    concrete functions with a model gives NaN on 2.21: the way over a SavedModel works on all.

    Args:
      model: with one input and one output.
      folder: to write.
      shape: of the input, where the model leaves more open than the batch.
    """
    signature = tf.TensorSpec(shape or (1, *model.inputs[0].shape[1:]), "float32", name=model.inputs[0].name)
    with native_messages_hidden():
        model.export(str(folder), input_signature=[signature], verbose=False)
    return folder


def convert_folder(folder: Path, variant: str) -> bytes:
    """Converts a SavedModel to TFLite with builtin operators only.

    Args:
      folder: that `export_static` wrote.
      variant: "float32", "float16" or "dynamic_range".

    Raises:
      TfaudioError: if the converter refuses the model.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with native_messages_hidden():
            return bytes(converter.convert())
    except Exception as error:  # the converter's own exception type is not public
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise TfaudioError(
            f"TensorFlow {tf.__version__} cannot convert the {folder.name} to TFLite {variant} ({reason.strip()}); "
            "use layers that TFLite has."
        ) from error


class TfliteModel:
    """A TFLite file of the form that this package writes, ready to score batches.

    Args:
      content: the file.

    Raises:
      TfaudioError: if the interpreter refuses the file.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TfaudioError(f"The converted file does not run: {str(error).splitlines()[0]}") from error
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self._input["shape_signature"])

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self._output["shape_signature"])

    def score(self, waveforms: npt.NDArray[np.float32]) -> Scores:
        """Scores float32 [batch, num_samples], one by one; gives float32 [batch, classes]."""
        rows = np.empty((len(waveforms), self.output_shape[-1]), np.float32)
        for row, waveform in enumerate(waveforms):
            self._interpreter.set_tensor(self._input["index"], waveform[np.newaxis].astype(np.float32, copy=False))
            self._interpreter.invoke()
            rows[row] = self._interpreter.get_tensor(self._output["index"])[0]
        return rows


def check_runs(content: bytes, *, num_samples: int, num_classes: int) -> None:
    """Proves that a file has the promised form and runs: some conversions succeed and only fail then.

    Raises:
      TfaudioError: if it holds operators that are not builtin, has other shapes, does not run, or gives scores that
        do not sum to one.
    """
    foreign = [name for name in operators(content) if name.startswith("CUSTOM")]
    if foreign:
        raise TfaudioError(f"The converted file needs operators that devices do not have: {', '.join(foreign)}.")
    model = TfliteModel(content)
    if model.input_shape != (1, num_samples) or model.output_shape != (1, num_classes):
        raise TfaudioError(
            f"The converted file takes {model.input_shape} and gives {model.output_shape}, not "
            f"{(1, num_samples)} and {(1, num_classes)}."
        )
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, num_samples)
    scores = model.score(np.stack([np.zeros(num_samples), noise]).astype(np.float32))
    if not np.isfinite(scores).all() or np.abs(scores.sum(axis=1) - 1.0).max() > 0.02:
        raise TfaudioError("The converted file gives scores that are not finite or do not sum to one.")
