"""Several architectures on the same features, whose scores are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from tfaudio.config import ModelConfig
from tfaudio.errors import TfaudioError
from tfaudio.models.layers import Tensor, check_flag, model_inputs
from tfaudio.models.registry import MODELS, build_model, takes_text

_PAIR = ({"name": "cnn"}, {"name": "attention"})
_LEAST_SCORE = 1e-30  # what a softmax rounds to zero has no logarithm


@MODELS.register("ensemble")
def ensemble(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    members: Sequence[Mapping[str, Any]] = _PAIR,
    own_scales: bool = False,
    dropout: float | None = None,
    score_activation: str = "softmax",
) -> keras.Model:
    """Builds the mean of several classifiers: `tfaudio ensemble` joins trained runs to one so.

    Scores are averaged, not logits: a member that is very sure of itself weighs no more than the others, and the mean
    over members and that over the windows of a recording are one.

    Args:
      input_shape: (frames, bins).
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      members: name and options of each, as of `model`.
      own_scales: each standardises the features anew, by the layers "scale_0", ...: what was trained on other
        recordings had other means and deviations.
      dropout: in every member; None leaves each its own.
      score_activation: what makes scores of logits, "softmax" or "sigmoid": that of `model`.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes], whose scores are the mean of the
      members' scores. The layers "member_0", ... are the members.

    Raises:
      TfaudioError: if members are no such list, or one cannot be built.

    Size (`tfaudio models`): 542,580 parameters, 52.5 million multiplications for 5 s.

    Source: L. K. Hansen, P. Salamon, Neural Network Ensembles (1990), https://doi.org/10.1109/34.58871.
    """
    fit = isinstance(members, Sequence) and not isinstance(members, str)
    if not fit or not members or not all(isinstance(member, Mapping) for member in members):
        raise TfaudioError(
            'model.options.members of \'ensemble\' must be a list such as [{"name": "cnn"}, {"name": "dense"}], not '
            f"{members!r}."
        )
    check_flag("ensemble", own_scales=own_scales)
    configs = [ModelConfig.from_dict(settings) for settings in members]
    for config in configs:
        if takes_text(config.name):
            raise TfaudioError(
                f"model.options.members of 'ensemble' names '{config.name}', which takes text beside the sound; choose "
                "models of sound alone."
            )
    inputs, features, mask = model_inputs(input_shape, masked=masked)
    logits = []
    for index, config in enumerate(configs):
        if dropout is not None:
            config = config.replace(options={**config.options, "dropout": dropout})
        config = config.replace(score_activation=score_activation)
        member = build_model(config, input_shape=input_shape, num_classes=num_classes, masked=masked)
        member = keras.Model(member.input, member.output, name=f"member_{index}")
        scaled = features
        if own_scales:
            scaled = layers.BatchNormalization(
                center=False, scale=False, epsilon=_LEAST_SCORE, trainable=False, name=f"scale_{index}"
            )(features)
        given = scaled if mask is None else {"features": scaled, "mask": mask}
        logits.append(member(given))
    if score_activation == "softmax":
        mean = _log_mean([layers.Softmax(dtype="float32")(x) for x in logits])
    else:  # sigmoid(x) = p where x = log(p) - log(1 - p), and 1 - sigmoid(x) = sigmoid(-x)
        mean = _log_mean([layers.Activation("sigmoid", dtype="float32")(x) for x in logits]) - _log_mean(
            [layers.Activation("sigmoid", dtype="float32")(-x) for x in logits]
        )
    # A product with one: calibration divides the weights of the layer of this name.
    product = layers.Dense(
        num_classes, use_bias=False, kernel_initializer="identity", trainable=False, dtype="float32", name="logits"
    )(mean)
    return keras.Model(inputs, product, name="ensemble")


def _log_mean(scores: Sequence[Tensor]) -> Tensor:
    mean = layers.Average(dtype="float32")(scores) if len(scores) > 1 else scores[0]
    return ops.log(ops.maximum(mean, _LEAST_SCORE))
