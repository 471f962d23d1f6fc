"""A network that hears the waveform itself: its first layers become the filter bank."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfaudio.errors import TfaudioError
from tfaudio.models.layers import (
    HEADS,
    check_choice,
    check_options,
    check_width,
    conv_unit,
    max_pool,
    model_inputs,
    pool_frames,
    scaled,
    to_logits,
)
from tfaudio.models.registry import MODELS

# Of each stage before its pooling: channels at width 1, convolutions.
_STAGES = ((32, 1), (64, 2), (128, 2), (256, 2), (512, 2))
_STRIDE = 4  # of the two convolutions over samples


@MODELS.register("waveform_cnn")
def waveform_cnn(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    bands: int = 64,
    width: float = 0.25,
    head: str = "mean_max",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds a waveform CNN in the form of ACDNet.

    Two convolutions over samples and the maximum of each step make an image of steps by bands, which 3x3 convolutions
    and pooling then see as they would a spectrogram. It takes the waveform in steps, which front_end.feature "waveform"
    gives; a step is front_end.frame_step samples, 10 ms as published. ACDNet is width 1: 4.7 million parameters with
    50 classes; the default has 0.3 million.

    Args:
      input_shape: (steps, samples of a step), the latter a multiple of 4.
      num_classes: size of the output.
      masked: also take a mask [batch, steps].
      bands: channels of the filter bank.
      width: factor of the channels behind it.
      head: how steps become one: "mean_max", "mean", "max", "attention", "auto" or
        "class_attention" (`layers.pool_frames`).
      dropout: share of channels dropped before the output.

    Returns:
      Model from the waveform in steps [batch, steps, samples] to logits [batch, num_classes].

    Raises:
      TfaudioError: if the samples of a step are no multiple of 4.

    Size (`tfaudio models`): 298,874 parameters, 90.3 million multiplications for 5 s.

    Source: M. Mohaimenuzzaman et al., Environmental Sound Classification on the Edge (2021),
    https://arxiv.org/abs/2103.03483.
    """
    check_width("waveform_cnn", width, lowest=0.05, highest=4)
    check_options("waveform_cnn", dropout=dropout, bands=bands)
    check_choice("waveform_cnn", HEADS, head=head)
    step = input_shape[1]
    if step % _STRIDE:
        raise TfaudioError(
            f"Model 'waveform_cnn' needs front_end.frame_step to be a multiple of {_STRIDE} samples, not {step}."
        )
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = layers.Reshape((-1, 1, 1))(x)  # [batch, samples, 1, 1]
    samples = None if mask is None else ops.repeat(mask, step, axis=1)
    x, samples = conv_unit(x, samples, filters=8, kernel=(9, 1), stride=(2, 1))
    x, samples = conv_unit(x, samples, filters=bands, kernel=(5, 1), stride=(2, 1))  # [batch, samples / 4, 1, bands]
    x = layers.MaxPooling2D((step // _STRIDE, 1))(x)
    x = layers.Reshape((-1, bands, 1))(x)  # [batch, steps, bands, 1]
    for channels, convolutions in _STAGES:
        for _ in range(convolutions):
            x, mask = conv_unit(x, mask, filters=scaled(channels, width))
        x, mask = max_pool(x, mask)
    x = pool_frames(ops.mean(x, axis=2), mask, head)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=dropout)
    return keras.Model(inputs, logits, name="waveform_cnn")
