"""The layers of a causal classifier, run on the newest frames alone: what reaches back in time keeps a state.

A causal network reaches back where it pads with zeros ahead of the first frame, and where it pools over frames. In a
stream the padding becomes the last frames of the hop before, and everything else stays as it is: the trained layers
themselves are called, on fewer frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tfaudio.errors import TfaudioError

Tensor = Any
Counterpart = Callable[["Step", Any, tuple[Any, ...], dict[str, Any]], Tensor]

_FRAMES = 1  # the axis of time in all that a classifier computes, until it is pooled away


@dataclass
class Step:
    """One hop through a classifier.

    Args:
      classifier: functional, from features [batch, frames, bins] to logits, without a mask.
      valid: float32 [1, hop_frames, 1], 1 for frames of the stream and 0 for those before its first.
      states: by the name of the layer that keeps it, float32 [1, frames kept, ...]; where one is missing, zeros are
        taken, as at the beginning of a stream.
      pooled: what poolings over time give, by name, float32 [1, channels]; where one is missing, zeros.

    After `run`, `kept` holds the new states and `to_pool` what each pooling takes, float32 [1, hop_frames, channels].
    """

    classifier: keras.Model
    valid: Tensor
    states: Mapping[str, Tensor] = field(default_factory=dict)
    pooled: Mapping[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    to_pool: dict[str, Tensor] = field(default_factory=dict)

    def run(self, features: Tensor) -> Tensor:
        """Takes features [1, hop_frames, bins] through the classifier; returns logits [1, classes].

        Raises:
          TfaudioError: if a layer looks at later frames, or mixes frames in a way that has no counterpart here.
        """
        return self.classifier._run_through_graph(features, lambda op: lambda *a, **k: self._call(op, a, k))

    @property
    def hop_frames(self) -> int:
        return int(self.valid.shape[_FRAMES])

    def _call(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        tensors = [x for x in keras.tree.flatten((arguments, options)) if tf.is_tensor(x)]
        if all(x.shape.rank == 2 for x in tensors):  # no frames: behind the pooling
            return operation(*arguments, **options)
        counterpart = _counterpart(operation)
        if counterpart is None:
            raise self.refusal(operation, "mixes frames in a way that no stream can")
        return counterpart(self, operation, arguments, options)

    def refusal(self, operation: Any, reason: str) -> TfaudioError:
        return TfaudioError(
            f"Model '{self.classifier.name}' cannot run on a stream: its layer '{operation.name}' "
            f"({type(operation).__name__}) {reason}; train ds_cnn or bc_resnet with "
            "--set=model.options.causal=true."
        )

    def keep(self, name: str, window: Tensor, frames: int) -> None:
        self.kept[name] = window[:, -frames:]


def _frame_by_frame(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """An operation that treats each frame by itself."""
    output = operation(*arguments, **options)
    frames = {x.shape[_FRAMES] for x in keras.tree.flatten((arguments, output)) if tf.is_tensor(x)}
    if len(frames) != 1:
        raise step.refusal(operation, "mixes frames in a way that no stream can")
    return output


def _zero_padding(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """Zeros ahead of the first frame become the frames of the hops before."""
    (before, after), bins = operation.padding
    if after:
        raise step.refusal(operation, "looks at later frames")
    (x,) = arguments
    if before:
        # Frames before the stream's first are zeros to every layer, whatever the layer below makes of them.
        x = x * tf.expand_dims(step.valid, -1)
        state = step.states.get(operation.name)
        if state is None:
            state = tf.zeros([x.shape[0], before, *x.shape[2:]])
        x = tf.concat([state, x], axis=_FRAMES)
        step.keep(operation.name, x, before)
    return tf.pad(x, [[0, 0], [0, 0], bins, [0, 0]]) if any(bins) else x


def _convolution(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """Takes as many frames more than the hop as padding put there, and no other."""
    if operation.padding != "valid" and operation.kernel_size[0] > 1:
        raise step.refusal(operation, "looks at later frames")
    span = (operation.kernel_size[0] - 1) * operation.dilation_rate[0] + 1
    if arguments[0].shape[_FRAMES] < span:
        raise step.refusal(operation, "takes more frames than were put ahead of it")
    output = operation(*arguments, **options)
    if operation.strides[0] != 1 or output.shape[_FRAMES] != step.hop_frames:
        raise step.refusal(operation, "skips frames")
    return output


def _mean(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    (x,) = arguments
    axes = [axis % x.shape.rank for axis in _axes(operation.axis)]
    if _FRAMES not in axes:
        return _frame_by_frame(step, operation, arguments, options)
    if axes != [_FRAMES] or operation.keepdims or x.shape.rank != 3:
        raise step.refusal(operation, "pools in a way that no stream can")
    step.to_pool[operation.name] = x
    pooled = step.pooled.get(operation.name)
    return tf.zeros([x.shape[0], x.shape[2]]) if pooled is None else pooled


def _axes(axis: Any) -> list[int]:
    if axis is None:
        return [_FRAMES, 0]  # everything: refused
    return [int(a) for a in axis] if isinstance(axis, list | tuple) else [int(axis)]


def _along_last_axes(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """Splitting and joining of bins or channels."""
    first = next(x for x in keras.tree.flatten(arguments) if tf.is_tensor(x))
    if operation.axis % first.shape.rank <= _FRAMES:
        raise step.refusal(operation, "splits or joins frames")
    return operation(*arguments, **options)


def _get_item(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    _, key = arguments
    if not isinstance(key, tuple) or any(part != slice(None) for part in key[: _FRAMES + 1]):
        raise step.refusal(operation, "picks frames")
    return operation(*arguments, **options)


def _reshape(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    if operation.target_shape[0] != -1:
        raise step.refusal(operation, "mixes frames with bins")
    return _frame_by_frame(step, operation, arguments, options)


def _normalization(step: Step, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    if operation.axis not in (-1, arguments[0].shape.rank - 1):
        raise step.refusal(operation, "normalises over another axis than the last")
    return operation(arguments[0], training=False)


_BY_LAYER: tuple[tuple[tuple[type, ...], Counterpart], ...] = (
    ((layers.ZeroPadding2D,), _zero_padding),
    ((layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D), _convolution),
    ((layers.Reshape,), _reshape),
    ((layers.BatchNormalization,), _normalization),
    (
        (layers.Activation, layers.ReLU, layers.Dense, layers.Dropout, layers.SpatialDropout2D, layers.Identity),
        _frame_by_frame,
    ),
)
# What `keras.ops` and operators such as + leave in a model; their classes are not public, their names are those of
# the functions.
_BY_NAME: dict[str, Counterpart] = {
    "Mean": _mean,
    "Split": _along_last_axes,
    "Concatenate": _along_last_axes,
    "GetItem": _get_item,
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Relu", "Sigmoid", "Silu", "Tanh"), _frame_by_frame),
}


def _counterpart(operation: Any) -> Counterpart | None:
    for kinds, counterpart in _BY_LAYER:
        if isinstance(operation, kinds):
            return counterpart
    return None if isinstance(operation, layers.Layer) else _BY_NAME.get(type(operation).__name__)
