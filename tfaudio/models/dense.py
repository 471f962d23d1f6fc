"""Dense layers over the mean and deviation of features over time: small, quick, and strong on librosa's features."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from tfaudio.errors import TfaudioError
from tfaudio.models.layers import check_options, masked_mean, masked_stddev, model_inputs
from tfaudio.models.registry import MODELS


@MODELS.register("dense")
def dense(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    units: Sequence[int] = (128, 64),
    dropout: float = 0.3,
) -> keras.Model:
    """Builds the classifier of summary statistics.

    Made for a stack of features such as "mfcc+chroma+spectral_contrast": the order of frames does not matter to it.
    Some 20 thousand parameters.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      units: of each hidden layer.
      dropout: share of units dropped before the output.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 20,490 parameters, 20,096 multiplications for 5 s.

    Source: the summary of G. Tzanetakis and P. Cook, Musical Genre Classification of Audio Signals (2002),
    https://doi.org/10.1109/TSA.2002.800560.
    """
    if not isinstance(units, (list, tuple)) or not units:
        raise TfaudioError(f"model.options.units of 'dense' must be a list such as [128, 64], not {units!r}.")
    check_options("dense", dropout=dropout, **{f"units[{i}]": count for i, count in enumerate(units)})
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    mean = masked_mean(x, mask)
    x = ops.concatenate([mean, masked_stddev(x, mean, mask)], axis=-1)  # [batch, 2 * bins]
    for count in units:
        x = layers.Dense(count, use_bias=False, kernel_initializer="he_normal")(x)
        x = layers.BatchNormalization(momentum=0.9, synchronized=True)(x)
        x = layers.Activation("relu")(x)
    x = layers.Dropout(dropout)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="dense")
