"""Networks made for images, over patches of a spectrogram."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tfaudio.errors import TfaudioError, first_line
from tfaudio.models.layers import (
    HEADS,
    Tensor,
    check_choice,
    check_options,
    model_inputs,
    pool_frames,
    stride_mask,
    to_logits,
)
from tfaudio.models.registry import MODELS
from tfaudio.registry import unknown_name_message

# Networks that begin by rescaling the pixels of an image get features of about their mean and deviation.
_PIXEL_DEVIATION, _PIXEL_MEAN = 58.0, 120.0
SCALES = ("standard", "imagenet")
# EfficientNet's weights were found on pixels less the mean over the variance of ImageNet, of which the network itself,
# made without them, divides by the deviation alone: https://github.com/tensorflow/tensorflow/issues/49930.
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of moving statistics that are trained: the networks' own 0.99 to 0.999, made for millions of images, would leave them
# at their beginnings after the few hundred steps of a small data set.
_MOMENTUM = 0.9


@MODELS.register("backbone")
def backbone(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    application: str = "MobileNetV3Small",
    weights: str | None = None,
    scale: str = "standard",
    trained_stages: int | None = None,
    channels: int = 3,
    patch_frames: int = 64,
    image_size: Sequence[int] | None = None,
    head: str = "mean",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds a classifier on one of the image networks of `keras.applications`.

    The clip is cut into patches, the last filled up with zeros; the network sees each as an image, and the head joins
    what it makes of them. So a clip may have any length, and padding changes nothing.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      application: name in `keras.applications`, such as "EfficientNetB0", "ResNet50" or "ConvNeXtTiny".
      weights: to start from: None for random ones; the path of a file (.weights.h5 or .h5) with those of the network
        without its output layers; "imagenet" to have Keras download its own, unless they lie in its cache. A trained
        run holds its weights itself and reads neither.
      scale: of the images: "standard" leaves features as they are (as pixels where the network itself scales them), for
        random weights; "imagenet" makes pixels of them and does with those what the network's `preprocess_input` does,
        as weights that were found on ImageNet expect.
      trained_stages: how many of the network's stages are trained, from the last; the rest stays as it is. A stage ends
        where the image is halved. None trains all, 0 the output alone; training.backbone_rate is for those trained.
      channels: 1 to 3 copies of the spectrogram; networks for images in colour have weights for 3.
      patch_frames: frames of a patch.
      image_size: [height, width] to resize patches to; None leaves them at [patch_frames, bins].
      head: how patches become one: "mean_max", "mean", "max", "attention", "auto" or "class_attention"
        (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Raises:
      TfaudioError: if there is no such network, it takes no such image, or the weights do not fit it.

    Size (`tfaudio models`): 932,778 parameters, 14.7 million multiplications for 5 s.

    Source: K. Palanisamy et al., Rethinking CNN Models for Audio Classification (2020),
    https://arxiv.org/abs/2007.11154.
    """
    check_options("backbone", dropout=dropout, channels=channels, patch_frames=patch_frames)
    check_choice("backbone", HEADS, head=head)
    check_choice("backbone", SCALES, scale=scale)
    if channels > 3:
        raise TfaudioError(f"model.options.channels of 'backbone' must be 1, 2 or 3, not {channels}.")
    if scale == "imagenet" and channels != 3:
        raise TfaudioError(f"model.options.scale 'imagenet' of 'backbone' is of 3 channels, not {channels}.")
    if weights == "imagenet" and scale != "imagenet":
        raise TfaudioError(
            "model.options.weights 'imagenet' of 'backbone' expect the images of ImageNet; also give "
            "--set=model.options.scale=imagenet."
        )
    if weights != "imagenet":
        check_weights_file("backbone", weights, 'give a path, null or "imagenet"')
    image_shape = (*_image_size(image_size, (patch_frames, input_shape[1])), channels)
    body = _body(application, image_shape, preprocessing=scale == "imagenet")
    if weights is not None:
        _load_weights(body, application, weights)
    train_stages("backbone", body, trained_stages)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    pixels = pixels_of(application) if scale == "imagenet" else None
    x = PatchBackbone(body, patch_frames, pixels, name="patches")(x, mask)  # [batch, patches, channels]
    mask = stride_mask(mask, patch_frames)
    x = pool_frames(x, mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="backbone")


@keras.saving.register_keras_serializable(package="tfaudio")
class PatchBackbone(layers.Layer):
    """Cuts spectrograms into patches and shows each to a network for images.

    In training, batch normalisation must not learn from padding: where a clip has fewer patches than the longest of
    its batch, its own are shown again instead.

    Args:
      body: network from [batch, height, width, channels] to [batch, values].
      patch_frames: frames of a patch.
      pixels: factor and summand of each channel, which make of features what the network takes; None leaves features as
        they are, but for a network that begins by scaling pixels.

    Call arguments: x [batch, frames, bins], zero where padded; audio: the mask, boolean [batch, frames], or None.
    Returns: [batch, patches, values]; patches of padding alone are repetitions.
    """

    def __init__(
        self, body: keras.Model, patch_frames: int, pixels: Sequence[Sequence[float]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.body, self.patch_frames = body, patch_frames
        self.pixels = None if pixels is None else tuple(tuple(map(float, values)) for values in pixels)

    def build(self, input_shape: Any) -> None:
        pass  # the body is built

    def call(self, x: Tensor, audio: Tensor | None = None) -> Tensor:  # Keras reserves the name "mask"
        batch, frames, bins = ops.shape(x)[0], ops.shape(x)[1], x.shape[2]
        patches = (frames + self.patch_frames - 1) // self.patch_frames
        x = ops.pad(x, [[0, 0], [0, patches * self.patch_frames - frames], [0, 0]])
        if audio is not None:
            own = ops.maximum(ops.sum(ops.cast(stride_mask(audio, self.patch_frames), "int32"), axis=1), 1)
            shown = ops.expand_dims(ops.arange(patches), 0) % ops.expand_dims(own, 1)  # [batch, patches]
            x = ops.reshape(x, (batch, patches, self.patch_frames * bins))
            x = ops.take_along_axis(x, ops.expand_dims(shown, -1), axis=1)
        x = ops.reshape(x, (-1, self.patch_frames, bins, 1))
        height, width, channels = self.body.input_shape[1:]
        if (height, width) != (self.patch_frames, bins):
            x = ops.image.resize(x, (height, width))
        if self.pixels is None and any(isinstance(layer, layers.Rescaling) for layer in self.body.layers):
            x = x * _PIXEL_DEVIATION + _PIXEL_MEAN
        if channels > 1:
            x = ops.concatenate([x] * channels, axis=-1)
        if self.pixels is not None:
            factor, summand = (ops.convert_to_tensor(values, dtype=x.dtype) for values in self.pixels)
            x = x * factor + summand
        x = self.body(x)
        return ops.reshape(x, (batch, patches, x.shape[-1]))

    def compute_output_spec(self, x: Any, audio: Any = None) -> Any:
        frames = x.shape[1]
        patches = None if frames is None else -(-frames // self.patch_frames)
        return keras.KerasTensor((x.shape[0], patches, self.body.output_shape[-1]), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        body = keras.saving.serialize_keras_object(self.body)
        return {**super().get_config(), "body": body, "patch_frames": self.patch_frames, "pixels": self.pixels}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PatchBackbone:
        return cls(**{**config, "body": keras.saving.deserialize_keras_object(config["body"])})


def stages_of(body: keras.Model) -> list[list[keras.Layer]]:
    """The layers of a network for images that have weights, in stages: each ends where the image is halved."""
    stages: list[list[keras.Layer]] = [[]]
    height = body.input_shape[1]
    for layer in body.layers:
        shape = layer.output.shape
        # A height of 1 is of a summary, such as weighs channels, beside the image.
        if len(shape) == 4 and 1 < shape[1] <= 0.75 * height:
            height = shape[1]
            stages.append([])
        if layer.weights:
            stages[-1].append(layer)
    return [stage for stage in stages if stage]


def train_stages(name: str, body: keras.Model, trained: Any) -> None:
    """Lets the last stages of a network learn and leaves the others, with their moving statistics, as they are.

    Args:
      name: of the architecture.
      body: the network.
      trained: how many; None for all.

    Raises:
      TfaudioError: if there are not as many.
    """
    stages = stages_of(body)
    if trained is None:
        trained = len(stages)
    if type(trained) is not int or not 0 <= trained <= len(stages):
        raise TfaudioError(
            f"model.options.trained_stages of '{name}' must be null or 0 to {len(stages)}, the stages of its network, "
            f"not {trained!r}."
        )
    body.trainable = trained > 0
    for place, stage in enumerate(stages):
        for layer in stage:
            layer.trainable = place >= len(stages) - trained
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = _MOMENTUM


def backbone_variables(classifier: keras.Model) -> list[keras.Variable]:
    """The trained weights of the network inside 'backbone' or 'yamnet'; none of another architecture."""
    return [v for layer in classifier.layers if isinstance(layer, PatchBackbone) for v in layer.trainable_variables]


def set_weights(network: keras.Model, weights: Sequence[Any]) -> None:
    """Sets all weights of a classifier, or of a network for images, as arrays in the order of `get_weights`.

    Keras' own leaves layers of normalisation to compute with what they made of their weights before.
    """
    network.set_weights(weights)
    for layer in _all_layers(network):
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()


def _all_layers(network: keras.Model) -> Iterator[keras.Layer]:
    for layer in network.layers:
        yield layer
        inner = layer.body if isinstance(layer, PatchBackbone) else layer
        if isinstance(inner, keras.Model):
            yield from _all_layers(inner)


def _image_size(image_size: Any, otherwise: tuple[int, int]) -> tuple[int, int]:
    if image_size is None:
        return otherwise
    if not isinstance(image_size, (list, tuple)) or len(image_size) != 2:
        raise TfaudioError(
            f"model.options.image_size of 'backbone' must be a list of height and width such as [224, 224], not "
            f"{image_size!r}."
        )
    height, width = image_size
    check_options("backbone", dropout=0, **{"image_size[0]": height, "image_size[1]": width})
    return height, width


def _applications() -> dict[str, Callable[..., keras.Model]]:
    """The networks by name: functions of `keras.applications` that can leave their output layers out."""
    return {
        name: function
        for name, function in vars(keras.applications).items()
        if inspect.isfunction(function) and "include_top" in inspect.signature(function).parameters
    }


def pixels_of(application: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factor and summand of each channel, from features of deviation 1 to what a network was shown on ImageNet."""
    preprocess = vars(inspect.getmodule(_applications()[application]))["preprocess_input"]
    # Every network's is a line through each channel, perhaps of other order, which grey images do not have.
    black = np.asarray(preprocess(np.zeros((1, 1, 1, 3), np.float32)), np.float64).reshape(3)
    factor = np.asarray(preprocess(np.ones((1, 1, 1, 3), np.float32)), np.float64).reshape(3) - black
    if application.startswith("EfficientNetB"):
        over = 1 / np.sqrt(np.array(_IMAGENET_DEVIATION))
        factor = factor * over
        black = black * over + 255 * np.array(_IMAGENET_MEAN) * (1 - over)
    return tuple(factor * _PIXEL_DEVIATION), tuple(factor * _PIXEL_MEAN + black)


def _body(
    application: str, image_shape: tuple[int, int, int], weights: str | None = None, *, preprocessing: bool = False
) -> keras.Model:
    """Makes a network; one that can scale pixels itself does so with `preprocessing` alone."""
    known = _applications()
    if not isinstance(application, str) or application not in known:
        kind = "model.options.application of 'backbone'"
        raise TfaudioError(unknown_name_message(kind, str(application), list(known)))
    settings: dict[str, Any] = {"include_top": False, "weights": weights, "input_shape": image_shape, "pooling": "avg"}
    if "include_preprocessing" in inspect.signature(known[application]).parameters:
        settings["include_preprocessing"] = preprocessing
    try:
        return known[application](**settings)
    except Exception as error:  # each network checks its input in its own way, and a download fails in many
        reason = first_line(error).rstrip(".")
        wish = "" if weights is None else f" with the weights '{weights}'"
        raise TfaudioError(
            f"keras.applications.{application} cannot be made for images of {image_shape}{wish} ({reason}); change "
            "model.options.image_size, channels or weights of 'backbone'."
        ) from error


def _load_weights(body: keras.Model, application: str, weights: str) -> None:
    if weights == "imagenet":
        set_weights(body, _body(application, body.input_shape[1:], weights, preprocessing=True).get_weights())
        return
    what = f"keras.applications.{application} without its output layers"
    load_weights_file(body, weights, "backbone", what, "save one by `body.save_weights(...)`")


def check_weights_file(name: str, weights: Any, mend: str) -> None:
    """Raises TfaudioError if an option `weights` is neither None nor the path of a file; `mend` says what to do."""
    if weights is not None and not (isinstance(weights, str) and Path(weights).is_file()):
        raise TfaudioError(f"model.options.weights of '{name}' names no file: {weights}; {mend}.")


def load_weights_file(network: keras.Model, weights: str, name: str, what: str, mend: str) -> None:
    """Reads what the option `weights` of an architecture names into a network.

    Args:
      network: to fill.
      weights: path of the file.
      name: of the architecture.
      what: the weights must be of, as the message calls it.
      mend: what to do, as the message says.

    Raises:
      TfaudioError: if the file is damaged or of another network.
    """
    try:
        network.load_weights(weights)
    except (ValueError, OSError, LookupError, RuntimeError, TypeError) as error:  # as h5py meets the damage
        reason = first_line(error).rstrip(".")
        raise TfaudioError(
            f"{weights} (model.options.weights of '{name}') does not fit {what} ({reason}); {mend}."
        ) from error
