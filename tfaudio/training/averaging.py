"""The mean of several epochs' weights, made a classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tfaudio.config import RunConfig
from tfaudio.models.backbone import PatchBackbone, set_weights
from tfaudio.models.classifier import build_classifier


def averaged_classifier(
    config: RunConfig, num_classes: int, weights: Sequence[np.ndarray], batches: Iterable[Sequence[Any]]
) -> keras.Model:
    """Builds the classifier of averaged weights, and takes the statistics of batch normalisation anew.

    The mean of the running statistics would be of other activations than those that the mean of the weights makes.

    Args:
      config: front end, clip, model and seed are used.
      num_classes: size of the output.
      weights: the mean, in the order of the classifier's weights.
      batches: of training examples, inputs first; each counts the same.

    Source: P. Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization (2018),
    https://arxiv.org/abs/1803.05407.
    """
    keras.utils.set_random_seed(config.training.seed)  # of dropout below, whether the run was resumed or not
    classifier = build_classifier(config, num_classes, read_weights=False)
    set_weights(classifier, weights)
    normalizations = list(_batch_normalizations(classifier))
    if not normalizations:
        return classifier
    for count, (inputs, *_) in enumerate(batches):
        for layer in normalizations:
            layer.momentum = count / (count + 1)  # so that the running mean is the mean of all batches
        classifier(inputs, training=True)
    return classifier


def _batch_normalizations(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _batch_normalizations(layer)
        elif isinstance(layer, PatchBackbone):
            yield from _batch_normalizations(layer.body)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield layer
