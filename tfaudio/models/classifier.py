"""Front end, classifier and scores joined: raw audio in, one score a class out.

A classifier takes what the front end computes from the waveform alone. Where a part of the front end is learnt, that
part is the classifier's first layer, a model of its own, and `body` is the architecture behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfaudio.config import ModelConfig, RunConfig
from tfaudio.config.front_end import WAVEFORM
from tfaudio.errors import TfaudioError
from tfaudio.features.front_end import FrontEnd, without_silence
from tfaudio.features.normalization import Normalization
from tfaudio.models import learnt
from tfaudio.models.layers import FRAME_LOGITS, Tensor, model_inputs
from tfaudio.models.registry import build_model, takes_text


def takes_mask(config: RunConfig) -> bool:
    """Whether a run's classifier is trained on recordings of unequal length, padded under a mask."""
    return config.clip.seconds is None


def build_classifier(
    config: RunConfig, num_classes: int, *, masked: bool | None = None, read_weights: bool = True
) -> keras.Model:
    """Builds the classifier of features for a run.

    Args:
      config: front end, clip, model and text are used.
      num_classes: size of the output.
      masked: take a mask too; by default as `takes_mask` says.
      read_weights: as of `build_model`.

    Returns:
      Model from features [batch, frames, config.front_end.num_bins] (frames open), with config.text.length in a dict
      beside "tokens", to logits [batch, num_classes].

    Raises:
      TfaudioError: if the model takes text and the run has none, or the other way round; if a model of waveforms is
        given other features; or as `build_model`.
    """
    _check_text(config)
    masked = takes_mask(config) if masked is None else masked
    front_end = config.front_end
    if "waveform_cnn" in _names(config.model) and front_end.feature != WAVEFORM:
        raise TfaudioError(
            f"Model 'waveform_cnn' hears the waveform, not '{front_end.feature}'; set front_end.feature to 'waveform'."
        )
    shape = (None, front_end.num_learnt_bins)
    architecture = build_model(
        config.model,
        input_shape=shape,
        num_classes=num_classes,
        masked=masked,
        read_weights=read_weights,
        text=config.text,
    )
    if not front_end.learnt:
        return architecture
    learnt_part = learnt.build_learnt_front_end(front_end, masked=masked)
    inputs, _, mask = model_inputs((None, front_end.num_bins), masked=masked)
    features = learnt_part(inputs)
    logits = architecture({"features": features, "mask": mask} if masked else features)
    return keras.Model(inputs, logits, name=f"{front_end.feature}_{architecture.name}")


def _names(model: ModelConfig) -> set[str]:
    """The architecture, and those of an ensemble's members, whatever has been written for them."""
    members = model.options.get("members")
    listed = members if isinstance(members, (list, tuple)) else ()
    return {model.name, *(str(member.get("name")) for member in listed if isinstance(member, Mapping))}


def _check_text(config: RunConfig) -> None:
    name, length = config.model.name, config.text.length
    if takes_text(name) and not length:
        raise TfaudioError(
            f"Model '{name}' takes text beside the sound, but text.length is 0; set it (--set=text.length=16), or "
            "choose a model of sound alone."
        )
    if length and not takes_text(name):
        raise TfaudioError(
            f"text.length is {length}, but model '{name}' takes no text; choose --model=audio_text, or set text.length "
            "to 0."
        )


def learnt_front_end(classifier: keras.Model) -> keras.Model | None:
    """Returns the learnt part of the front end inside a classifier, if it has one."""
    return next((layer for layer in classifier.layers if layer.name == learnt.NAME), None)


def body(classifier: keras.Model) -> keras.Model:
    """Returns the classifier behind the whole front end: from features [batch, frames, bins] to logits."""
    if learnt_front_end(classifier) is None:
        return classifier
    return next(m for m in classifier.layers if isinstance(m, keras.Model) and m.name != learnt.NAME)


def divide_logits(classifier: keras.Model, temperature: float) -> None:
    """Divides what a classifier gives by a temperature, in the weights of the layer that it is linear in."""
    inner = body(classifier)
    names = {layer.name for layer in inner.layers}
    layer = inner.get_layer(FRAME_LOGITS if FRAME_LOGITS in names else "logits")
    layer.set_weights([weight / temperature for weight in layer.get_weights()])


def front_end_model(
    config: RunConfig, normalization: Normalization, classifier: keras.Model, *, num_samples: int | None = None
) -> keras.Model:
    """Joins what is computed and what is learnt of a front end.

    Args:
      config: its front end is used.
      normalization: of the features.
      classifier: without a mask; the learnt part is taken from it.
      num_samples: of every waveform; None takes any.

    Returns:
      Model from waveform float32 [batch, num_samples] to what the classifier's body takes, [batch, frames, bins].
    """
    waveform = keras.Input((num_samples,), name="waveform")
    features = _features(waveform, config, normalization)
    learnt_part = learnt_front_end(classifier)
    return keras.Model(waveform, features if learnt_part is None else learnt_part(features), name="features")


def scores_of(logits: Any, activation: str) -> Any:
    """Makes scores of logits [batch, classes].

    Args:
      logits: of a Keras model that is being built, or an array.
      activation: as `ModelConfig.score_activation`.
    """
    if activation == "softmax":
        return keras.layers.Softmax(dtype="float32", name="scores")(logits)
    return keras.layers.Activation(activation, dtype="float32", name="scores")(logits)


def with_scores(classifier: keras.Model, activation: str) -> keras.Model:
    """Returns the model with scores (by the given activation of its logits) in place of logits, sharing its weights."""
    scores = scores_of(classifier.output, activation)
    return keras.Model(classifier.input, scores, name=f"{classifier.name}_scores")


def end_to_end(
    config: RunConfig, normalization: Normalization, classifier: keras.Model, *, num_samples: int | None = None
) -> keras.Model:
    """Joins the front end to a classifier without a mask.

    Args:
      config: its front end and score activation are used.
      normalization: of the features.
      classifier: from features to logits, as `build_classifier(..., masked=False)` gives.
      num_samples: of every waveform; None takes any.

    Returns:
      Model from waveform float32 [batch, num_samples], of a run with text in a dict beside "tokens" int32
      [batch, config.text.length], to scores float32 [batch, num_classes].
    """
    waveform = keras.Input((num_samples,), name="waveform")
    features = _features(waveform, config, normalization)
    scored = with_scores(classifier, config.model.score_activation)
    if not config.text.length:
        return keras.Model(waveform, scored(features), name="tfaudio")
    tokens = keras.Input((config.text.length,), dtype="int32", name="tokens")
    scores = scored({"features": features, "tokens": tokens})
    return keras.Model({"waveform": waveform, "tokens": tokens}, scores, name="tfaudio")


def _features(waveform: Tensor, config: RunConfig, normalization: Normalization) -> Tensor:
    features = FrontEnd(config.front_end, normalization, name="front_end")(waveform)
    return without_silence(features, waveform) if config.text.length else features
