"""The methods themselves, on a twin in tf-keras: each trains a copy and gives the weights that it ends with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.errors import TfaudioError
from tfaudio.export.tflite import convert_folder
from tfaudio.golden import FEATURES_TENSOR
from tfaudio.optimize.legacy import tf_keras, tfmot
from tfaudio.optimize.operations import custom_objects, learns_range, output_range
from tfaudio.optimize.settings import CLUSTER, PRUNE, QAT, OptimizeConfig
from tfaudio.optimize.twin import Twin
from tfaudio.terminal import native_messages_hidden

# Pruning grows in some dozens of steps during the first half of the training, and leaves the rest to recover in.
_GROWING_SHARE, _GROWING_STEPS = 0.5, 50

# Layers whose kernels are pruned and clustered. Depthwise kernels are few, and each is all that a channel has.
KERNEL_LAYERS = ("Conv2D", "Dense")
# Activations for which the toolkit knows the integer kernel.
_QUANTIZED_ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax", "swish", "tanh")


@dataclass(frozen=True)
class Lessons:
    """What a copy is trained with.

    Args:
      dataset: all epochs one after the other: (features, one-hot targets) or (features, targets, weights).
      steps_per_epoch: batches in an epoch.
      loss: takes targets, logits and the weights of examples, if any.
      one_class: examples have one class each, and so an accuracy.
      seed: of dropout, and of whatever else is random.
    """

    dataset: tf.data.Dataset
    steps_per_epoch: int
    loss: Callable[..., Any]
    one_class: bool
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a method ended with.

    Args:
      weights: in the order of the Keras 3 classifier's.
      int8: the classifier as a TFLite file, features to logits, where the method makes it itself.
    """

    weights: list[npt.NDArray[np.float32]]
    int8: bytes | None = None


@tf.autograph.experimental.do_not_convert  # which would spend ten seconds on rewriting tf-keras, for nothing
def apply_method(
    name: str, twin: Twin, lessons: Lessons, config: OptimizeConfig, say: Callable[[str], None]
) -> Outcome:
    """Trains a copy of a twin by a method; the twin stays as it is.

    Args:
      name: of METHODS, or CONTROL.
      twin: of the run's classifier.
      lessons: what to train on.
      config: how.
      say: takes a line after each epoch.

    Raises:
      TfaudioError: if the training diverges, or the result cannot be converted.
    """
    tf_keras().utils.set_random_seed(lessons.seed)
    callbacks: list[Any] = []
    with tf_keras().utils.custom_object_scope(custom_objects()):
        copy = tf_keras().models.clone_model(twin.model)
        copy.set_weights(twin.model.get_weights())
        if name == QAT:
            copy = _quantized(copy)
        elif name == PRUNE:
            copy = _pruned(copy, config, lessons.steps_per_epoch * config.epochs)
            callbacks.append(tfmot().sparsity.keras.UpdatePruningStep())
        elif name == CLUSTER:
            copy = _clustered(copy, config.clusters)
        _fit(copy, lessons, config, callbacks, lambda line: say(f"{name}: {line}"))
        if name == PRUNE:
            copy = tfmot().sparsity.keras.strip_pruning(copy)
        elif name == CLUSTER:
            copy = tfmot().clustering.keras.strip_clustering(copy)
        weights = twin.weights_from(copy)
        if not all(np.isfinite(weight).all() for weight in weights):
            raise TfaudioError(f"{name}: the training ended in weights that are no numbers; lower --learning_rate.")
        return Outcome(weights, _converted(copy) if name == QAT else None)


def _fit(
    model: Any, lessons: Lessons, config: OptimizeConfig, callbacks: Sequence[Any], tell: Callable[[str], None]
) -> None:
    """Trains a tf-keras model, step by step: its own `fit` knows no way around AutoGraph."""
    keras = tf_keras()
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(config.learning_rate, lessons.steps_per_epoch * config.epochs)
    )
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def step(features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(features, training=True)
            loss = lessons.loss(targets, logits, sample_weight=weights)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        hits = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        return tf.reduce_mean(tf.cast(hits, tf.float32)), loss

    for callback in callbacks:
        callback.set_model(model)
        callback.on_train_begin()
    batches = iter(lessons.dataset)
    for epoch in range(config.epochs):
        figures = [step(*next(batches)) for _ in range(lessons.steps_per_epoch)]
        for callback in callbacks:
            callback.on_epoch_end(epoch)
        accuracy, loss = np.mean(figures, axis=0)
        shown = f"accuracy {accuracy:.3f}, " if lessons.one_class else ""
        tell(f"epoch {epoch + 1} of {config.epochs}: {shown}loss {loss:.3f}")


def _quantized(model: Any) -> Any:
    """Lets weights and activations be rounded to eight bits in training, where the toolkit can."""
    keras = tf_keras()
    annotated = keras.models.clone_model(model, clone_function=_annotated)
    annotated.set_weights(model.get_weights())
    return tfmot().quantization.keras.quantize_apply(annotated)


def _annotated(layer: Any) -> Any:
    annotate = tfmot().quantization.keras.quantize_annotate_layer
    kind = type(layer).__name__
    if learns_range(layer):
        return annotate(_copy_of(layer), output_range()())
    by_default = (
        # A normalisation becomes part of the convolution before it. Made part of a dense layer, it would leave the
        # converter with weights that it knows no range of, and so with float ones; by itself it has no integer form.
        type(layer.inbound_nodes[0].inbound_layers).__name__ in ("Conv2D", "DepthwiseConv2D")
        if kind == "BatchNormalization"
        else layer.activation.__name__ in _QUANTIZED_ACTIVATIONS
        if kind == "Activation"
        else kind not in ("InputLayer", "Operation")
    )
    return annotate(_copy_of(layer)) if by_default else _copy_of(layer)


def _copy_of(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())


def _pruned(model: Any, config: OptimizeConfig, steps: int) -> Any:
    """Wraps kernels, the smallest weights of which are set to zero more and more."""
    growing = max(1, round(_GROWING_SHARE * steps))
    frequency = max(1, growing // _GROWING_STEPS)
    schedule = tfmot().sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=config.sparsity,
        begin_step=0,
        end_step=max(1, growing // frequency) * frequency,  # a multiple, so that the last step counts
        frequency=frequency,
    )
    return _wrapped(model, lambda layer: tfmot().sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule))


def _clustered(model: Any, clusters: int) -> Any:
    """Wraps kernels, whose weights share a few values; these are trained."""
    toolkit = tfmot().clustering.keras
    start = toolkit.CentroidInitialization.KMEANS_PLUS_PLUS

    def wrap(layer: Any) -> Any:
        if np.prod(layer.kernel.shape) <= clusters:  # no more weights than values
            return layer
        return toolkit.cluster_weights(layer, number_of_clusters=clusters, cluster_centroids_init=start)

    return _wrapped(model, wrap)


def _wrapped(model: Any, wrap: Callable[[Any], Any]) -> Any:
    # The layers themselves, trained as they are: the wrappers take their weights over.
    return tf_keras().models.clone_model(
        model, clone_function=lambda layer: wrap(layer) if type(layer).__name__ in KERNEL_LAYERS else layer
    )


def _converted(model: Any) -> bytes:
    """Converts a model trained for int8: where it learnt ranges, the converter finds them."""
    frames_and_bins = model.inputs[0].shape[1:]
    signature = tf.TensorSpec((1, *frames_and_bins), "float32", name=FEATURES_TENSOR)
    function = tf.function(lambda features: {"logits": model(features, training=False)}, autograph=False)
    module = tf.Module()
    module.weights = model.variables  # not the model, every layer of which would be traced and saved
    function = function.get_concrete_function(signature)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classifier"
        with native_messages_hidden():
            tf.saved_model.save(module, str(path), signatures=function)
        return convert_folder(path, "dynamic_range")
