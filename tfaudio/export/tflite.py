"""A trained run to TFLite: a float front end, a classifier in one of five precisions and its scores, in one file.

The front end stays float in every variant: a waveform, a power spectrum and its logarithm span too many orders of
magnitude for eight bits, and a fully quantised file loses a third of its accuracy without any error being raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError, first_line
from tfaudio.export import quantize
from tfaudio.export.flatbuffer import halve_energy_matrices, join, operators
from tfaudio.golden import FEATURES_TENSOR
from tfaudio.models.classifier import scores_of
from tfaudio.terminal import native_messages_hidden
from tfaudio.text import Tokenizer

INPUT, TOKENS, OUTPUT = "waveform", "tokens", "scores"
_LARGEST_CONSTANT = 2**16  # values of a weight
INTEGER_VARIANTS = ("int8", "int16x8")  # whose ranges are calibrated

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
      classifiers: TFLite files from features to logits to take for a variant, in place of the run's classifier.
      to_int8: makes the one of int8; where it gives None, that is made as the others are.
    """

    def __init__(
        self,
        bundle: Bundle,
        num_samples: int,
        calibration: npt.NDArray[np.float32],
        folder: Path,
        classifiers: Mapping[str, bytes] | None = None,
        to_int8: Callable[[], Conversion | None] = lambda: None,
    ) -> None:
        self._bundle, self._num_samples, self._calibration, self._folder = bundle, num_samples, calibration, folder
        self._num_classes, self._classifiers, self._to_int8 = len(bundle.labels), classifiers or {}, to_int8
        self._parts: dict[str, bytes] = {}
        self._features: list[npt.NDArray[np.float32]] = []

    def convert(self, variant: str) -> Conversion:
        """Converts to one of TFLITE_VARIANTS, and runs the result once.

        Returns:
          waveform float32 [1, num_samples], of a run with text beside tokens int32 [1, length], to scores float32
          [1, classes]; builtin operators only.

        Raises:
          TfaudioError: if this model cannot be converted to this variant; the message says why.
        """
        classifier = self._classifier(variant)
        front_end = self._part("front_end" if variant == "float32" else "small_front_end")
        parts = [front_end, classifier.content, self._part("scores")]
        inputs = (INPUT,) if self._bundle.tokenizer is None else (INPUT, TOKENS)
        content = join(parts, inputs=inputs, outputs=(OUTPUT,))
        activation = self._bundle.config.model.score_activation
        check_runs(content, num_samples=self._num_samples, num_classes=self._num_classes, activation=activation)
        return Conversion(content, classifier.notes)

    def convert_bare(self) -> bytes:
        """Converts the classifier alone to integers throughout: int8 features [1, frames, bins] to int8 logits.

        Raises:
          TfaudioError: if a part of this model cannot be computed in integers.
        """
        float_model, calibration = self._part("float32"), self._calibration_features("int8 throughout")
        with native_messages_hidden():
            classifier = quantize.int8_throughout(float_model, calibration)
        return join([classifier], inputs=(FEATURES_TENSOR,), outputs=("logits",))

    def classifier(self, variant: str) -> bytes:
        """Converts the classifier alone, from features to logits, both float32."""
        return self._classifier(variant).content

    def _classifier(self, variant: str) -> Conversion:
        if variant in self._classifiers:
            return Conversion(self._classifiers[variant])
        if variant not in INTEGER_VARIANTS:
            return Conversion(self._part(variant))
        if variant == "int8" and (special := self._to_int8()) is not None:
            return special
        float_model, calibration = self._part("float32"), self._calibration_features(variant)
        with native_messages_hidden():
            if variant == "int16x8":
                return Conversion(quantize.int16x8(float_model, calibration))
            made = quantize.int8(float_model, calibration)
            return Conversion(made.content, made.notes)

    def _calibration_features(self, variant: str) -> list[npt.NDArray[np.float32]]:
        quantize.check_can_be_int8(self._bundle.body())
        if len(self._calibration) == 0:
            raise TfaudioError(f"{variant} needs training clips to find the ranges of values; pass some.")
        if not self._features:
            front_end = self._bundle.front_end(self._num_samples)
            self._features = [np.asarray(front_end(clip[np.newaxis], training=False)) for clip in self._calibration]
        return self._features

    def _part(self, name: str) -> bytes:
        if name not in self._parts:
            self._parts[name] = self._convert_part(name)
        return self._parts[name]

    def _convert_part(self, name: str) -> bytes:
        bundle, folder = self._bundle, self._folder / name
        if name == "small_front_end":
            return halve_energy_matrices(self._part("front_end"))
        if name == "scores":
            logits = tf.TensorSpec((1, self._num_classes), tf.float32, name="logits")
            activation = bundle.config.model.score_activation
            return convert_function(lambda logits: {OUTPUT: scores_of(logits, activation)}, [logits], folder)
        if name == "front_end":
            front_end = bundle.front_end(self._num_samples)
            spec = tf.TensorSpec((1, self._num_samples), tf.float32, name=INPUT)

            def features(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
                return {FEATURES_TENSOR: front_end(waveform, training=False)}

            return convert_function(features, [spec], folder, front_end)
        folder = self._folder / "classifier"  # one for all variants
        if not folder.exists():
            config, body = bundle.config.front_end, bundle.body()
            frames, bins = int(config.num_frames(self._num_samples)), config.num_learnt_bins
            inputs = [tf.TensorSpec((1, frames, bins), tf.float32, name=FEATURES_TENSOR)]
            if bundle.tokenizer is not None:
                inputs.append(tf.TensorSpec((1, bundle.tokenizer.length), tf.int32, name=TOKENS))

            def classify(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
                return {"logits": body(tensors if TOKENS in tensors else tensors[FEATURES_TENSOR], training=False)}

            save_function(classify, inputs, folder, body)
        return convert_folder(folder, name)


def convert_function(
    function: Callable[..., dict[str, tf.Tensor]],
    inputs: Sequence[tf.TensorSpec],
    folder: Path,
    model: keras.Model | None = None,
) -> bytes:
    """Converts a function of tensors to TFLite float32: `save_function` and `convert_folder`."""
    return convert_folder(save_function(function, inputs, folder, model), "float32")


def save_function(
    function: Callable[..., dict[str, tf.Tensor]],
    inputs: Sequence[tf.TensorSpec],
    folder: Path,
    model: keras.Model | None = None,
) -> Path:
    """Writes a function as a SavedModel to convert from, with the names of its inputs and outputs in the signature.

    Its small weights become constants: each variable is traced anew for saving and for restoring, which takes longer
    than the conversion where there are many. The large ones, of which there are few, stay variables, since a graph's
    constants are copied often. `TFLiteConverter.from_keras_model` kills the process on TensorFlow 2.16 with Keras 3,
    and conversion from concrete functions gives NaN with a model, on 2.21, and no signature without: the way over a
    SavedModel works on all.

    Args:
      function: takes tensors by name, and gives a dictionary of them.
      inputs: shape, type and name of each.
      folder: to write.
      model: whose weights the function uses, if it does.

    Returns:
      The folder.
    """
    weights = model.weights if model is not None else []
    constants = [(weight, weight.numpy()) for weight in weights if math.prod(weight.shape) <= _LARGEST_CONSTANT]

    def of_constants(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        with keras.StatelessScope([(weight, tf.constant(value)) for weight, value in constants]):
            return function(**tensors)

    module = tf.Module()
    module.weights = [weight.value for weight in weights if math.prod(weight.shape) > _LARGEST_CONSTANT]
    concrete = tf.function(of_constants, autograph=False).get_concrete_function(**{spec.name: spec for spec in inputs})
    with native_messages_hidden():
        tf.saved_model.save(module, str(folder), signatures=concrete)
    return folder


def convert_folder(folder: Path, variant: str) -> bytes:
    """Converts a SavedModel to TFLite with builtin operators only.

    Args:
      folder: that `save_function` wrote.
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
      num_threads: that the interpreter may use.
      tokenizer: of a file that takes text; None leaves texts out.

    Raises:
      TfaudioError: if the interpreter refuses the file.
    """

    def __init__(self, content: bytes, *, num_threads: int = 1, tokenizer: Tokenizer | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_content=content, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TfaudioError(f"The converted file does not run: {first_line(error)}") from error
        self._input, *texts = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self._tokenizer = tokenizer
        self._tokens = texts[0] if texts else None

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self._input["shape_signature"])

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self._output["shape_signature"])

    def score(self, waveforms: npt.NDArray[np.float32], texts: Sequence[str] | None = None) -> Scores:
        """Scores float32 [batch, num_samples], one by one, with their texts if any; gives float32 [batch, classes]."""
        rows = np.empty((len(waveforms), self.output_shape[-1]), np.float32)
        for row, waveform in enumerate(waveforms):
            if self._tokens is not None:
                tokens = np.zeros(self._tokens["shape"], np.int32)
                if self._tokenizer is not None and texts is not None:
                    tokens = self._tokenizer.tokens([texts[row]])
                self._interpreter.set_tensor(self._tokens["index"], tokens)
            self._interpreter.set_tensor(self._input["index"], waveform[np.newaxis].astype(np.float32, copy=False))
            try:
                self._interpreter.invoke()
            except RuntimeError as error:
                raise TfaudioError(f"The converted file does not run: {first_line(error)}") from error
            rows[row] = self._interpreter.get_tensor(self._output["index"])[0]
        return rows


def refuse_foreign_operators(content: bytes) -> None:
    """Raises TfaudioError if a file holds operators that are not builtin."""
    foreign = [name for name in operators(content) if name.startswith("CUSTOM")]
    if foreign:
        raise TfaudioError(f"The converted file needs operators that devices do not have: {', '.join(foreign)}.")


def check_runs(content: bytes, *, num_samples: int, num_classes: int, activation: str = "softmax") -> None:
    """Proves that a file has the promised form and runs: some conversions succeed and only fail then.

    Raises:
      TfaudioError: if it holds operators that are not builtin, has other shapes, does not run, or gives what its
        activation cannot give.
    """
    refuse_foreign_operators(content)
    model = TfliteModel(content)
    if model.input_shape != (1, num_samples) or model.output_shape != (1, num_classes):
        raise TfaudioError(
            f"The converted file takes {model.input_shape} and gives {model.output_shape}, not "
            f"{(1, num_samples)} and {(1, num_classes)}."
        )
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, num_samples)
    check_are_scores(model.score(np.stack([np.zeros(num_samples), noise]).astype(np.float32)), activation, "file")


def check_are_scores(scores: Scores, activation: str, what: str) -> None:
    """Raises TfaudioError unless values [batch, classes] can come from an activation; `what` was converted."""
    if activation == "softmax":
        fit, rule = bool((np.abs(scores.sum(axis=1) - 1.0) <= 0.02).all()), "do not sum to one"
    else:
        fit, rule = bool(((scores >= 0.0) & (scores <= 1.0)).all()), "do not lie between 0 and 1"
    if not fit:
        raise TfaudioError(f"The converted {what} gives scores that are not finite or {rule}.")
