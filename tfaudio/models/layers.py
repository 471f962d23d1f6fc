"""Pieces that the architectures share. All honour a mask, so that padding never changes the logits.

A mask is boolean [batch, frames], true where there is audio; None means that every frame is audio and leaves
no trace in the graph, which is how models are exported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from tfaudio.errors import TfaudioError

Tensor = Any  # a Keras tensor of whichever backend
# Ways from frames to logits; with all but the last, one vector of all frames comes between them.
HEADS = ("mean_max", "mean", "max", "attention", "auto", "class_attention")
FRAME_LOGITS = "frame_logits"  # the layer whose logits "class_attention" takes the mean of
_LARGEST_OPTION = 4096  # of channels, blocks or heads: beyond it, memory is what fails


def model_inputs(
    input_shape: tuple[int | None, int], *, masked: bool
) -> tuple[dict[str, Tensor] | Tensor, Tensor, Tensor]:
    """Makes the inputs of a classifier.

    Args:
      input_shape: (frames, bins); frames may be None.
      masked: whether the model takes a mask beside its features.

    Returns:
      what to pass to keras.Model as inputs, the features [batch, frames, bins] and the mask or None.
    """
    frames, bins = input_shape
    features = keras.Input((frames, bins), name="features")
    if not masked:
        return features, features, None
    mask = keras.Input((frames,), dtype="bool", name="mask")
    return {"features": features, "mask": mask}, apply_mask(features, mask), mask


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """Sets padded frames of [batch, frames, ...] to zero, as the edge of a shorter input would be."""
    if mask is None:
        return x
    mask = ops.cast(mask, x.dtype)
    for _ in range(len(x.shape) - 2):
        mask = ops.expand_dims(mask, -1)
    return x * mask


def pad_frames(x: Tensor, before: int, after: int, *, bins: tuple[int, int], causal: bool) -> Tensor:
    """Pads [batch, frames, bins, channels] with zeros; a causal model has all zeros of the frames before the first."""
    frames = (before + after, 0) if causal else (before, after)
    return layers.ZeroPadding2D((frames, bins))(x)


def depthwise(
    x: Tensor, kernel: tuple[int, int], *, stride: int = 1, dilation: int = 1, causal: bool = False
) -> Tensor:
    """Depthwise convolution over [batch, frames, bins, channels].

    Args:
      x: what to convolve.
      kernel: frames and bins, both odd.
      stride: of frames and bins; 1 keeps them all. The mask follows by `stride_mask`.
      dilation: frames from one tap to the next.
      causal: no frame depends on a later one.
    """
    whole = (causal and kernel[0] > 1) or stride > 1
    if whole:
        reach, side = dilation * (kernel[0] // 2), kernel[1] // 2
        x = pad_frames(x, reach, reach, bins=(side, side), causal=causal)
    return layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="valid" if whole else "same",
        dilation_rate=(dilation, 1),
        use_bias=False,
        # Keras' he_normal counts all channels, though each output sees one: it starts these kernels far too small.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=math.sqrt(2.0 / (kernel[0] * kernel[1]))),
    )(x)


def stride_mask(mask: Tensor | None, stride: int = 2) -> Tensor | None:
    """Follows a stride in time: an output frame is audio if its first input frame is."""
    return mask if mask is None or stride == 1 else mask[:, ::stride]


def conv_unit(
    x: Tensor,
    mask: Tensor | None,
    *,
    filters: int,
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    activation: str | None = "relu",
) -> tuple[Tensor, Tensor | None]:
    """Convolution, batch normalisation and activation over [batch, frames, bins, channels].

    Kernel and stride are of both axes, or of frames and bins. Padding is explicit and the same on both sides: Keras'
    "same" shifts a strided convolution by a frame when the input's length turns from odd to even, so that padding would
    change the result.
    """
    kernel, stride = ((size, size) if isinstance(size, int) else size for size in (kernel, stride))
    if max(stride) > 1:
        x = layers.ZeroPadding2D((kernel[0] // 2, kernel[1] // 2))(x)
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same" if max(stride) == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    mask = stride_mask(mask, stride[0])
    return normalized(x, mask, activation), mask


def separable_unit(
    x: Tensor, mask: Tensor | None, *, filters: int, stride: int = 1, causal: bool = False
) -> tuple[Tensor, Tensor | None]:
    """A 3x3 depthwise and a 1x1 convolution, each with batch normalisation and ReLU, as MobileNet has them.

    A ninth of the weights and multiplications of a 3x3 `conv_unit`, or little more, where there are many channels.
    """
    mask = stride_mask(mask, stride)
    x = normalized(depthwise(x, (3, 3), stride=stride, causal=causal), mask)
    return conv_unit(x, mask, filters=filters, kernel=1)


def normalized(x: Tensor, mask: Tensor | None, activation: str | None = "relu") -> Tensor:
    """Batch normalisation and activation behind a layer without a bias; padded frames are zero after it."""
    x = batch_norm(x, mask)
    if activation:
        x = layers.Activation(activation)(x)
    return apply_mask(x, mask)


def batch_norm(x: Tensor, mask: Tensor | None) -> Tensor:
    """Batch normalisation whose statistics leave padding out and agree across replicas."""
    if mask is None:
        return layers.BatchNormalization(momentum=0.9, synchronized=True)(x)
    whole = ops.cast(apply_mask(ops.ones_like(x[..., 0]), mask), "bool")  # older Keras does not broadcast over bins
    return layers.BatchNormalization(momentum=0.9, synchronized=True)(x, mask=whole)


def max_pool(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Halves frames and bins by the maximum; inputs must not be negative, so that a zeroed frame is neutral."""
    return layers.MaxPooling2D(2, padding="same")(x), stride_mask(mask)


def average_pool(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Halves frames and bins by the mean of what is audio: a last frame without a neighbour is its own mean."""
    pooled = layers.AveragePooling2D(2, padding="same")(x)
    if mask is None:
        return pooled, None
    share = layers.AveragePooling1D(2, padding="same")(ops.expand_dims(ops.cast(mask, x.dtype), -1))
    return apply_mask(pooled / ops.expand_dims(ops.maximum(share, 0.5), -1), stride_mask(mask)), stride_mask(mask)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the frames of [batch, frames, channels] that are audio."""
    if mask is None:
        return ops.mean(x, axis=1)
    weights = ops.cast(mask, x.dtype)
    count = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
    return ops.sum(x * ops.expand_dims(weights, -1), axis=1) / count


def masked_stddev(x: Tensor, mean: Tensor, mask: Tensor | None) -> Tensor:
    """Standard deviation over the frames of [batch, frames, channels] that are audio, around their mean."""
    variance = masked_mean(ops.square(x - ops.expand_dims(mean, 1)), mask)
    return ops.sqrt(variance + 1e-12)  # a root has no slope at zero


def masked_max(x: Tensor, mask: Tensor | None) -> Tensor:
    """Maximum over the frames of [batch, frames, channels] that are audio."""
    if mask is not None:  # the smallest of all is never more than the largest of some
        x = ops.where(ops.expand_dims(mask, -1), x, ops.min(x, axis=1, keepdims=True))
    return ops.max(x, axis=1)


def pool_frames(x: Tensor, mask: Tensor | None, head: str) -> Tensor:
    """Makes one vector of the frames of [batch, frames, channels], by one of HEADS; `frame_logits` takes it.

    With "class_attention" the frames stay, as each class weighs them for itself.
    """
    if head == "class_attention":
        return apply_mask(x, mask)
    if head == "attention":
        return AttentionPooling(name="attention_pooling")(apply_mask(x, mask), mask)[0]
    if head == "auto":
        return AutoPooling(name="auto_pooling")(apply_mask(x, mask), mask)
    if head == "mean":
        return masked_mean(x, mask)
    if head == "max":
        return masked_max(x, mask)
    return masked_mean(x, mask) + masked_max(x, mask)


def to_logits(x: Tensor, mask: Tensor | None, *, num_classes: int, dropout: float) -> Tensor:
    """Makes logits [batch, num_classes] of what `pool_frames` gives; `dropout` is the share of channels dropped."""
    if len(x.shape) == 2:
        x = layers.Dropout(dropout)(x)
        return layers.Dense(num_classes, dtype="float32", name="logits")(x)
    x = layers.SpatialDropout1D(dropout)(x)
    logits = layers.Dense(num_classes, dtype="float32", name=FRAME_LOGITS)(x)  # [batch, frames, num_classes]
    importance = layers.Dense(num_classes, use_bias=False, dtype="float32", name="importance")(x)  # likewise
    return ClassAttention(dtype="float32", name="logits")(logits, importance, mask)


@keras.saving.register_keras_serializable(package="tfaudio")
class SinusoidalPosition(layers.Layer):
    """Adds sines and cosines of the frame's index to [batch, frames, ..., channels]; takes any length.

    Source: A. Vaswani et al., Attention Is All You Need (2017), section 3.5.
    """

    def call(self, x: Tensor) -> Tensor:
        frames, channels = ops.shape(x)[1], x.shape[-1]
        half = channels // 2
        rates = ops.exp(ops.arange(half, dtype="float32") * (-9.210340371976184 / half))  # ln 10,000
        angles = ops.expand_dims(ops.arange(frames, dtype="float32"), 1) * ops.expand_dims(rates, 0)
        table = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
        for _ in range(len(x.shape) - 3):
            table = ops.expand_dims(table, 1)
        return x + ops.cast(ops.expand_dims(table, 0), x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable(package="tfaudio")
class AttentionPooling(layers.Layer):
    """Weighted mean over frames; the weights come from a small network and sum to one over the audio.

    Call arguments: x [batch, frames, channels]; audio: the mask, boolean [batch, frames], or None.
    Returns: the mean [batch, channels] and the weights [batch, frames].
    Source: D. Bahdanau et al. (2015), in the form of M. Ilse et al., Attention-based Deep MIL (2018).
    """

    def __init__(self, units: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="tanh")
        self.score = layers.Dense(1, use_bias=False)

    def build(self, input_shape: Any) -> None:
        self.hidden.build(input_shape)
        self.score.build((*input_shape[:-1], self.units))

    def call(self, x: Tensor, audio: Tensor | None = None) -> tuple[Tensor, Tensor]:  # Keras reserves the name "mask"
        scores = ops.squeeze(self.score(self.hidden(x)), -1)
        if audio is not None:
            scores = ops.where(audio, scores, ops.full_like(scores, -1e4))  # finite in float16 too
        weights = ops.softmax(scores, axis=-1)
        return ops.sum(x * ops.expand_dims(weights, -1), axis=1), weights

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[2]), (input_shape[0], input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="tfaudio")
class ClassAttention(layers.Layer):
    """Mean over the frames of each class's logits, weighted for each class by itself; the weights sum to one.

    A recording that holds a dog for a second and rain throughout is judged by that second for the one, and by all of it
    for the other.

    Call arguments: logits [batch, frames, classes]; importance likewise, a softmax of which over the frames gives the
      weights; audio: the mask, boolean [batch, frames], or None.
    Returns: [batch, classes].
    Source: Q. Kong et al., Weakly Labelled AudioSet Tagging With Attention Neural Networks (2019),
    https://arxiv.org/abs/1903.00765, decision-level attention; of logits rather than of scores, so that the same head
    serves both kinds of scores.
    """

    def call(self, logits: Tensor, importance: Tensor, audio: Tensor | None = None) -> Tensor:  # "mask" is Keras' own
        if audio is not None:
            importance = ops.where(ops.expand_dims(audio, -1), importance, ops.full_like(importance, -1e4))
        return ops.sum(logits * ops.softmax(importance, axis=1), axis=1)


@keras.saving.register_keras_serializable(package="tfaudio")
class AutoPooling(layers.Layer):
    """Mean over frames, weighted by a softmax of each channel's own values whose sharpness is learnt.

    The sharpness starts at 0, which is the mean; the larger it grows, the closer the result is to the maximum.

    Call arguments: x [batch, frames, channels]; audio: the mask, boolean [batch, frames], or None.
    Returns: [batch, channels].
    Source: B. McFee et al., Adaptive Pooling Operators for Weakly Labeled Sound Event Detection (2018),
    https://arxiv.org/abs/1804.10070.
    """

    def build(self, input_shape: Any) -> None:
        self.sharpness = self.add_weight(name="sharpness", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x: Tensor, audio: Tensor | None = None) -> Tensor:  # Keras reserves the name "mask"
        scores = self.sharpness * x
        if audio is not None:
            scores = ops.where(ops.expand_dims(audio, -1), scores, ops.full_like(scores, -1e4))
        return ops.sum(x * ops.softmax(scores, axis=1), axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[2])


def squeeze_excite(x: Tensor, mask: Tensor | None, units: int, activation: str, gate: str) -> Tensor:
    """Weighs the channels of [batch, frames, bins, channels] by what the whole clip holds of each.

    Args:
      x: zero where padded.
      mask: [batch, frames], or None.
      units: of the layer between.
      activation: of that layer.
      gate: activation of the weights, from 0 to 1.

    Source: J. Hu et al., Squeeze-and-Excitation Networks (2017), https://arxiv.org/abs/1709.01507.
    """
    channels = x.shape[-1]
    weights = masked_mean(ops.mean(x, axis=2), mask)
    weights = layers.Dense(units, activation=activation, kernel_initializer="he_normal")(weights)
    weights = layers.Dense(channels, activation=gate)(weights)
    return x * layers.Reshape((1, 1, channels))(weights)


def scaled(count: int, width: float) -> int:
    """Channels of a layer that has `count` of them at width 1."""
    return max(1, round(count * width))


def in_eights(count: float) -> int:
    """The nearest multiple of eight that is at least nine tenths of a number of channels, as MobileNets have them."""
    nearest = max(8, int(count + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * count else nearest


def check_options(name: str, *, dropout: Any, **counts: Any) -> None:
    """Raises TfaudioError for an option of a builder that is no positive count, or no share to drop."""
    for key, value in counts.items():
        if type(value) is not int or not 1 <= value <= _LARGEST_OPTION:
            raise TfaudioError(
                f"model.options.{key} of '{name}' must be a positive integer up to {_LARGEST_OPTION}, not {value!r}."
            )
    check_share(name, dropout=dropout)


def check_share(name: str, **shares: Any) -> None:
    """Raises TfaudioError for an option that is no share to drop."""
    for key, value in shares.items():
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise TfaudioError(f"model.options.{key} of '{name}' must be a number in [0, 1), not {value!r}.")


def check_width(name: str, width: Any, *, lowest: float, highest: float, option: str = "width") -> None:
    """Raises TfaudioError for an option `width`, the factor of all channels, or another factor, beyond its bounds."""
    if type(width) not in (int, float) or not lowest <= width <= highest:
        raise TfaudioError(
            f"model.options.{option} of '{name}' must be a number from {lowest} to {highest}, not {width!r}."
        )


def check_flag(name: str, **flags: Any) -> None:
    """Raises TfaudioError for an option that is neither true nor false."""
    for key, value in flags.items():
        if type(value) is not bool:
            raise TfaudioError(f"model.options.{key} of '{name}' must be true or false, not {value!r}.")


def check_choice(name: str, known: Sequence[Any], **choices: Any) -> None:
    """Raises TfaudioError for an option that is none of the known words or numbers."""
    for key, value in choices.items():
        if isinstance(value, bool) or value not in known:
            raise TfaudioError(
                f"model.options.{key} of '{name}' must be one of {', '.join(map(str, known))}, not {value!r}."
            )


def check_filters(name: str, filters: Any) -> None:
    """Raises TfaudioError for an option `filters` that is no list of positive counts."""
    if not isinstance(filters, (list, tuple)) or not filters:
        raise TfaudioError(f"model.options.filters of '{name}' must be a list such as [32, 64], not {filters!r}.")
    check_options(name, dropout=0, **{f"filters[{i}]": count for i, count in enumerate(filters)})
