"""A Keras 3 classifier built anew in tf-keras, layer by layer, with its weights.

tensorflow-model-optimization trains tf-keras models only. What it finds goes back by the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError
from tfaudio.optimize.legacy import tf_keras
from tfaudio.optimize.operations import operation_layer, parts_of

Tensor = Any
Array = npt.NDArray[np.float32]

# Between the two, of the logits' size: float32 rounds sums in another order.
_TOLERANCE = 1e-5

# Layers that are the same in both, and the settings that make them so. What is not named has no part in what a trained
# layer computes, or has its default.
_CONVOLUTION = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")
_POOLING = ("pool_size", "strides", "padding", "data_format")
_LAYERS: dict[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "AveragePooling2D": _POOLING,
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Conv2D": ("filters", "groups", *_CONVOLUTION),
    "Dense": ("units", "activation", "use_bias"),
    "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
    "Dropout": ("rate",),
    "MaxPooling2D": _POOLING,
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Reshape": ("target_shape",),
    "SpatialDropout2D": ("rate",),
    "ZeroPadding2D": ("padding",),
}
_RENAMED_ACTIVATIONS = {"silu": "swish"}
_RENAMED_WEIGHTS = {"depthwise_kernel": "kernel"}  # of tf-keras, to Keras 3


@dataclass(frozen=True)
class Twin:
    """A model in both.

    Args:
      source: the Keras 3 classifier, from features [batch, frames, bins] to logits.
      model: the same in tf-keras, for one number of frames.
    """

    source: keras.Model
    model: Any

    def weights_from(self, trained: Any) -> list[Array]:
        """Returns the weights of a trained form of `model`, in the order of `source.weights`.

        Args:
          trained: `model` itself, or one whose layers have its names, or those with a prefix: as what
            tensorflow-model-optimization wraps.
        """
        found = {_plain_name(layer.name): layer for layer in trained.layers}
        values: dict[int, Array] = {}
        for layer in self.source.layers:
            if not layer.weights:
                continue
            ours = _weights_of(found[layer.name])
            for weight in layer.weights:
                value = np.asarray(ours[weight.name])
                if value.shape != tuple(weight.shape):
                    raise ValueError(f"{layer.name}: {weight.name} has shape {value.shape}, not {weight.shape}.")
                values[id(weight)] = value
        return [values[id(weight)] for weight in self.source.weights]


def build_twin(classifier: keras.Model, features: Array) -> Twin:
    """Builds the twin of a classifier and proves that it computes the same.

    Args:
      classifier: functional, without a mask, from features [batch, frames, bins] to logits; it is left as it is.
      features: float32 [batch, frames, bins] to compare the two on; they give the number of frames, too.

    Raises:
      TfaudioError: if a layer has no equal in tf-keras, or the two differ.
    """
    inputs = tf_keras().Input(features.shape[1:], name=classifier.inputs[0].name)
    outputs = classifier._run_through_graph(
        inputs, lambda operation: lambda *args, **options: _counterpart(classifier, operation, args)
    )
    model = tf_keras().Model(inputs, outputs, name=classifier.name)
    by_name = {layer.name: layer for layer in model.layers}
    for layer in classifier.layers:
        if layer.weights:
            _copy(layer, by_name[layer.name])
    wanted = np.asarray(classifier(features, training=False))
    found = np.asarray(model(features, training=False))
    difference = float(np.abs(found - wanted).max()) / max(1.0, float(np.abs(wanted).max()))
    if not difference <= _TOLERANCE:
        raise TfaudioError(
            f"Model '{classifier.name}' gives other logits in tf-keras, by {difference:.1e} of their size, and cannot "
            "be optimised; export it as it is with `tfaudio export`."
        )
    return Twin(classifier, model)


def _counterpart(classifier: keras.Model, operation: Any, arguments: tuple[Any, ...]) -> Tensor:
    """Calls what does in tf-keras what an operation of the classifier does."""
    kind = type(operation).__name__
    if isinstance(operation, keras.layers.InputLayer):
        return arguments[0]
    if type(operation) is getattr(keras.layers, kind, None) and kind in _LAYERS:
        (x,) = arguments
        return _layer(classifier, operation)(x)
    if not isinstance(operation, keras.layers.Layer) and kind in _OPERATIONS:
        made = _OPERATIONS[kind](operation, *arguments)
        if made is not None:
            return made
    raise _refusal(classifier, operation)


def _refusal(classifier: keras.Model, operation: Any) -> TfaudioError:
    return TfaudioError(
        f"Model '{classifier.name}' cannot be optimised: its layer '{operation.name}' ({type(operation).__name__}) has "
        "no equal in tf-keras that tensorflow-model-optimization could train; take cnn, ds_cnn, bc_resnet or dense, "
        "behind a front end that is not learnt."
    )


def _layer(classifier: keras.Model, layer: Any) -> Any:
    kind = type(layer).__name__
    config = layer.get_config()
    settings = {key: config[key] for key in _LAYERS[kind]}
    if "activation" in settings:
        if not isinstance(settings["activation"], str):  # a function of somebody's own
            raise _refusal(classifier, layer)
        settings["activation"] = _RENAMED_ACTIVATIONS.get(settings["activation"], settings["activation"])
    return getattr(tf_keras().layers, kind)(**settings, name=layer.name)


def _apply(name: str, function: str, tensors: list[Tensor], operand: float | None = None, **options: Any) -> Tensor:
    layer = operation_layer()(function, operand, options, name=name)
    return layer(tensors if len(tensors) > 1 else tensors[0])


def _reduction(function: str) -> Callable[..., Tensor | None]:
    def reduce(operation: Any, x: Tensor) -> Tensor | None:
        if operation.axis is None or getattr(operation, "initial", None) is not None:
            return None
        return _apply(operation.name, function, [x], axis=operation.axis, keepdims=operation.keepdims)

    return reduce


def _of_two(function: str) -> Callable[..., Tensor | None]:
    def combine(operation: Any, x: Tensor, y: Any) -> Tensor | None:
        if isinstance(y, int | float):
            return _apply(operation.name, function, [x], float(y))
        if not _is_tensor(x) or not _is_tensor(y):
            return None
        if function == "add":
            return tf_keras().layers.Add(name=operation.name)([x, y])
        return _apply(operation.name, function, [x, y])

    return combine


def _of_one(function: str) -> Callable[..., Tensor]:
    return lambda operation, x: _apply(operation.name, function, [x])


def _expand_dims(operation: Any, x: Tensor) -> Tensor:
    return _apply(operation.name, "expand_dims", [x], axis=operation.axis)


def _concatenate(operation: Any, tensors: list[Tensor]) -> Tensor:
    return tf_keras().layers.Concatenate(axis=operation.axis, name=operation.name)(list(tensors))


def _split(operation: Any, x: Tensor) -> list[Tensor]:
    axis = operation.axis
    parts = parts_of(x.shape[axis], len(x.shape), axis, operation.indices_or_sections)
    return [_apply(f"{operation.name}_part_{i}", "slice", [x], parts=part) for i, part in enumerate(parts)]


def _get_item(operation: Any, x: Tensor, key: Any) -> Tensor | None:
    if not isinstance(key, tuple) or not all(isinstance(part, slice) for part in key):
        return None
    return _apply(operation.name, "slice", [x], parts=[[part.start, part.stop, part.step] for part in key])


# By the names of the functions; their classes are not public. None says that this use of it has no counterpart.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Mean": _reduction("mean"),
    "Max": _reduction("max"),
    "Add": _of_two("add"),
    "Subtract": _of_two("subtract"),
    "Multiply": _of_two("multiply"),
    "Square": _of_one("square"),
    "Sqrt": _of_one("sqrt"),
    "ExpandDims": _expand_dims,
    "Concatenate": _concatenate,
    "Split": _split,
    "GetItem": _get_item,
}


def _is_tensor(x: Any) -> bool:
    return bool(tf_keras().backend.is_keras_tensor(x))


def _weights_of(layer: Any) -> dict[str, Any]:
    """The variables of a tf-keras layer, or of a wrapper around one, by the names that Keras 3 has for them."""
    short = {variable.name.split("/")[-1].split(":")[0]: variable for variable in layer.weights}
    return {_RENAMED_WEIGHTS.get(name, name): variable for name, variable in short.items()}


def _copy(source: Any, target: Any) -> None:
    ours = _weights_of(target)
    if type(source).__name__ != type(target).__name__ or len(ours) != len(source.weights):
        raise ValueError(f"{source.name}: a {type(target).__name__} stands for a {type(source).__name__}.")
    for weight in source.weights:
        if tuple(ours[weight.name].shape) != tuple(weight.shape):
            raise ValueError(f"{source.name}: {weight.name} has another shape in tf-keras.")
        ours[weight.name].assign(np.asarray(weight))


def _plain_name(name: str) -> str:
    return name.removeprefix("quant_")
