"""YAMNet: MobileNet on patches of 0.96 s, with room for the weights that were published."""

from __future__ import annotations

import math

import keras
from keras import layers

from tfaudio.models.backbone import PatchBackbone, check_weights_file, load_weights_file, train_stages
from tfaudio.models.layers import (
    HEADS,
    Tensor,
    apply_mask,
    check_choice,
    check_share,
    model_inputs,
    pool_frames,
    stride_mask,
    to_logits,
)
from tfaudio.models.mobilenet_v1 import BLOCKS
from tfaudio.models.registry import MODELS

_PATCH_FRAMES = 96
_PUBLISHED_CLASSES = 521
_SILENCE = math.log(0.001)  # a bin of its features without sound


@MODELS.register("yamnet")
def yamnet(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    weights: str | None = None,
    trained_stages: int | None = None,
    head: str = "mean",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds a classifier on YAMNet's embeddings: 1024 values of each patch of 96 frames.

    Patches lie end to end, the last filled up with silence. The published weights want the features that they were
    learnt with: 64 mel bands of 10 ms frames at 16 kHz, not standardised, as the recipe of this model has them. 3.2
    million parameters without the output.

    Args:
      input_shape: (frames, bins); published with 64 bins.
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      weights: path of `yamnet.h5` as published, or None for random ones. A trained run holds its weights itself and
        does not read it.
      trained_stages: how many of the network's stages are trained, from the last, as of 'backbone'; None trains all, 0
        the output alone.
      head: how patches become one: "mean_max", "mean", "max", "attention", "auto" or
        "class_attention" (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Raises:
      TfaudioError: if there is no such file, or its weights are not YAMNet's.

    Size (`tfaudio models`): 3,205,706 parameters, 411.8 million multiplications for 5 s.

    Source: S. Hershey et al., CNN Architectures for Large-Scale Audio Classification (2017),
    https://arxiv.org/abs/1609.09430; layers and their settings as in research/audioset/yamnet of
    github.com/tensorflow/models.
    """
    check_choice("yamnet", HEADS, head=head)
    check_share("yamnet", dropout=dropout)
    check_weights_file("yamnet", weights, "give the path of yamnet.h5, or null")
    body = _body(input_shape[1])
    if weights is not None:
        published = keras.Model(body.input, layers.Dense(_PUBLISHED_CLASSES)(body.output))
        load_weights_file(published, weights, "yamnet", "YAMNet", "give its yamnet.h5 as published")
    train_stages("yamnet", body, trained_stages)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = apply_mask(x - _SILENCE, mask)  # so that the zeros which fill a patch up are silence
    x = PatchBackbone(body, _PATCH_FRAMES, name="patches")(x, mask)  # [batch, patches, 1024]
    mask = stride_mask(mask, _PATCH_FRAMES)
    x = pool_frames(x, mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="yamnet")


def _body(bins: int) -> keras.Model:
    """The network from patches [batch, 96, bins, 1], less what silence has, to embeddings [batch, 1024].

    Its layers have the published names, with "_" where those have "/".
    """
    patch = keras.Input((_PATCH_FRAMES, bins, 1))
    # "same" pads strided layers on one side only, as the published weights expect; patches have one size.
    convolution = layers.Conv2D(
        32, 3, strides=2, padding="same", use_bias=False, kernel_initializer="he_normal", name="layer1_conv"
    )
    x = _activated(convolution(patch + _SILENCE), "layer1_conv", "layer1_relu")
    for number, (stride, channels) in enumerate(BLOCKS, 2):
        name = f"layer{number}_depthwise_conv"
        depthwise = layers.DepthwiseConv2D(
            3,
            strides=stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=keras.initializers.RandomNormal(stddev=math.sqrt(2.0 / 9.0)),
            name=name,
        )
        x = _activated(depthwise(x), name, f"{name}_relu")
        name = f"layer{number}_pointwise_conv"
        pointwise = layers.Conv2D(channels, 1, use_bias=False, kernel_initializer="he_normal", name=name)
        x = _activated(pointwise(x), name, f"{name}_relu")
    return keras.Model(patch, layers.GlobalAveragePooling2D(name="embedding")(x), name="yamnet_body")


def _activated(x: Tensor, normalized: str, activation: str) -> Tensor:
    x = layers.BatchNormalization(scale=False, epsilon=1e-4, synchronized=True, name=f"{normalized}_bn")(x)
    return layers.ReLU(name=activation)(x)
