"""The architectures by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfaudio.config import ModelConfig, TextConfig
from tfaudio.errors import TfaudioError
from tfaudio.registry import Registry, unknown_name_message

MODELS: Registry[Callable[..., keras.Model]] = Registry("model")


def build_model(
    config: ModelConfig,
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    read_weights: bool = True,
    text: TextConfig | None = None,
) -> keras.Model:
    """Builds a classifier of features.

    Args:
      config: the architecture's name and options.
      input_shape: (frames, bins) of the features; frames may be None for any length.
      num_classes: size of the output.
      masked: also take a boolean mask [batch, frames]. The weights are the same in number, order and shape
        either way, so that a model trained with a mask can be exported without one.
      read_weights: read those to start from, where the model's option `weights` names some; a caller that brings all
        weights itself needs no such file.

    Returns:
      A functional model: features float32 [batch, frames, bins] (or a dict with "features" and "mask") to logits
      float32 [batch, num_classes].

    Raises:
      TfaudioError: for an unknown name or option.

    >>> build_model(ModelConfig(name="cnn"), input_shape=(None, 64), num_classes=10).output_shape
    (None, 10)
    """
    builder = MODELS[config.name]
    given = ("input_shape", "num_classes", "masked", "text", "score_activation")
    parameters = inspect.signature(builder).parameters
    known = [p for p in parameters if p not in given]
    for key in config.options:
        if key not in known:
            raise TfaudioError(unknown_name_message(f"option of model '{config.name}'", key, known))
    options = dict(config.options) if read_weights else without_weights(config.options)
    if text is not None and takes_text(config.name):
        options["text"] = text
    if "score_activation" in parameters:
        options["score_activation"] = config.score_activation
    return builder(input_shape=input_shape, num_classes=num_classes, masked=masked, **options)


def without_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's options without the files that it starts from, those of an ensemble's members too."""
    kept = {key: value for key, value in options.items() if key != "weights"}
    if isinstance(members := kept.get("members"), (list, tuple)):
        kept["members"] = [{**member, "options": without_weights(member.get("options", {}))} for member in members]
    return kept


def takes_text(name: str) -> bool:
    """Whether a registered architecture takes text beside the sound."""
    return "text" in inspect.signature(MODELS[name]).parameters
