"""The optimiser and its schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tfaudio.config import TrainingConfig

_NOT_DECAYED = ("bias", "gamma", "beta")


class SlowedAdamW(keras.optimizers.AdamW):
    """AdamW under which some variables change more slowly, and decay more slowly.

    Args:
      slow: those variables.
      rate: their share of the learning rate.
      weight_decay: of those whose name holds none of _NOT_DECAYED.
      kwargs: of AdamW.
    """

    def __init__(
        self, *args: Any, slow: Sequence[keras.Variable], rate: float, weight_decay: float, **kwargs: Any
    ) -> None:
        super().__init__(*args, weight_decay=weight_decay, **kwargs)
        self._slow, self._rate, self._slow_decay = list(slow), rate, rate * weight_decay
        self._slow_places: set[int] = set()
        self._slow_decayed: set[int] = set()
        # Keras' own decay would be at the full rate.
        self.exclude_from_weight_decay(var_list=self._slow, var_names=list(_NOT_DECAYED))

    def build(self, variables: Sequence[keras.Variable]) -> None:
        super().build(variables)
        slow = {id(variable) for variable in self._slow}
        places = [place for place, variable in enumerate(variables) if id(variable) in slow]
        self._slow_places = set(places)
        self._slow_decayed = {p for p in places if not any(part in variables[p].name for part in _NOT_DECAYED)}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # By place: under a strategy the backend's variable comes here, not Keras'.
        place = self._get_variable_index(variable)
        if place in self._slow_decayed and self._slow_decay:
            rate = keras.ops.cast(learning_rate, variable.dtype)
            self.assign_sub(variable, keras.ops.convert_to_tensor(variable) * (self._slow_decay * rate))
        share = self._rate if place in self._slow_places else 1.0
        super().update_step(gradient, variable, share * learning_rate)


def make_optimizer(
    config: TrainingConfig, *, total_steps: int, slow: Sequence[keras.Variable] = ()
) -> keras.optimizers.Optimizer:
    """Returns AdamW whose rate rises linearly, then falls by a cosine: to zero, or to the rate at which it is held.

    Args:
      config: learning_rate, backbone_rate, warmup_fraction, weight_decay and, of averaged weights, epochs, swa_fraction
        and swa_rate are used.
      total_steps: of the whole training.
      slow: variables whose rate is config.backbone_rate of the others'.

    Source: I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization (2019).
    """
    # Its first step is at rate 0, so a training of one step has none.
    warmup = max(1, round(config.warmup_fraction * total_steps)) if total_steps > 1 else 0
    held = total_steps * config.averaged_epochs // config.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,  # a float: an integer makes Keras multiply integers by floats
        decay_steps=max(1, total_steps - warmup - held),
        alpha=config.swa_rate if held else 0.0,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    # No clipping here: Keras clips each replica's gradient before the sum, which silently differs from one device.
    if slow and config.backbone_rate != 1.0:
        return SlowedAdamW(schedule, weight_decay=config.weight_decay, slow=slow, rate=config.backbone_rate)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(_NOT_DECAYED))
    return optimizer
