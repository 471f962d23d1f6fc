"""The optimiser and its schedule."""

from __future__ import annotations

import keras

from tfaudio.config import TrainingConfig


def make_optimizer(config: TrainingConfig, *, total_steps: int) -> keras.optimizers.Optimizer:
    """Returns AdamW whose rate rises linearly, then falls by a cosine: to zero, or to the rate at which it is held.

    Args:
      config: learning_rate, warmup_fraction, weight_decay and, of averaged weights, epochs, swa_fraction and swa_rate
        are used.
      total_steps: of the whole training.

    Source: I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization (2019).
    """
    warmup = max(1, round(config.warmup_fraction * total_steps))
    held = total_steps * config.averaged_epochs // config.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,  # a float: an integer start makes Keras multiply integers by floats
        decay_steps=max(1, total_steps - warmup - held),
        alpha=config.swa_rate if held else 0.0,
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    # No clipping here: Keras clips each replica's gradient before the sum, which silently differs from one device.
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay or None)
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
