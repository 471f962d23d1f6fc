"""What training makes small: the cross-entropy of the targets, over all classes together or of each by itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfaudio.config import RunConfig


def make_loss(config: RunConfig) -> keras.losses.Loss:
    """Returns the loss of a run, from targets and logits [batch, classes].

    With softmax scores it is the cross-entropy of a distribution over the classes; with sigmoid scores the mean over
    the classes of the binary cross-entropy of each. Label smoothing spreads a share of each target's sum evenly over
    the classes in both, so that a class stays improbable where it is rare among many.

    Args:
      config: model.score_activation and training.label_smoothing are used.
    """
    share = config.training.label_smoothing
    if config.multi_label:
        return _CrossEntropyOfEach(share)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=share)


class _CrossEntropyOfEach(keras.losses.Loss):
    def __init__(self, label_smoothing: float) -> None:
        super().__init__(name="binary_cross_entropy")
        self._share = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        targets = ops.cast(y_true, y_pred.dtype)
        smooth = (1.0 - self._share) * targets + self._share * ops.mean(targets, axis=-1, keepdims=True)
        return keras.losses.binary_crossentropy(smooth, y_pred, from_logits=True)
