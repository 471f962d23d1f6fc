"""Front end, classifier and scores joined: raw audio in, one score a class out."""

from __future__ import annotations

import keras

from tfaudio.config import RunConfig
from tfaudio.features.front_end import FrontEnd
from tfaudio.features.normalization import Normalization
from tfaudio.models.registry import build_model


def takes_mask(config: RunConfig) -> bool:
    """Whether a run's classifier is trained on recordings of unequal length, padded under a mask."""
    return config.clip.seconds is None


def build_classifier(config: RunConfig, num_classes: int, *, masked: bool | None = None) -> keras.Model:
    """Builds the classifier of features for a run.

    Args:
      config: front end, clip and model are used.
      num_classes: size of the output.
      masked: take a mask too; by default as `takes_mask` says.

    Returns:
      Model from features [batch, frames, bins] (frames open) to logits [batch, num_classes].
    """
    masked = takes_mask(config) if masked is None else masked
    shape = (None, config.front_end.num_bins)
    return build_model(config.model, input_shape=shape, num_classes=num_classes, masked=masked)


def with_scores(classifier: keras.Model) -> keras.Model:
    """Returns the model with scores (softmax of its logits) in place of logits, sharing its weights."""
    scores = keras.layers.Softmax(dtype="float32", name="scores")(classifier.output)
    return keras.Model(classifier.input, scores, name=f"{classifier.name}_scores")


def end_to_end(
    config: RunConfig, normalization: Normalization, classifier: keras.Model, *, num_samples: int | None = None
) -> keras.Model:
    """Joins the front end to a classifier without a mask.

    Args:
      config: its front end is used.
      normalization: of the features.
      classifier: from features to logits, as `build_classifier(..., masked=False)` gives.
      num_samples: of every waveform; None takes any.

    Returns:
      Model from waveform float32 [batch, num_samples] to scores float32 [batch, num_classes].
    """
    waveform = keras.Input((num_samples,), name="waveform")
    features = FrontEnd(config.front_end, normalization, name="front_end")(waveform)
    return keras.Model(waveform, with_scores(classifier)(features), name="tfaudio")
