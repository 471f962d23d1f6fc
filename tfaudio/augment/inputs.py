"""Taking one of several inputs away, so that a model learns to do without it. Stateless, as all that is drawn here."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfaudio.augment.seeds import Change, fold_in
from tfaudio.config import TextConfig


def drop_inputs(features: tf.Tensor, tokens: tf.Tensor, config: TextConfig, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes the sound of a share of the examples away, and of another share the text; of none both.

    Args:
      features: float32 [batch, frames, bins]; all 0: there is no sound, and then the text stays.
      tokens: int32 [batch, length]; all 0: there is no text, and then the sound stays.
      config: audio_dropout and text_dropout are used.
      seed: integer [2].

    Returns:
      The same, all 0 where an input was taken away.

    Source: N. Neverova et al., ModDrop (2014), https://arxiv.org/abs/1501.00102.
    """
    lot = tf.random.stateless_uniform(tf.shape(tokens)[:1], fold_in(seed, Change.DROPPED_INPUT))
    told, heard = tf.reduce_any(tokens != 0, axis=1), tf.reduce_any(features != 0, axis=[1, 2])
    without_sound = (lot < config.audio_dropout) & told
    without_text = (lot >= config.audio_dropout) & (lot < config.audio_dropout + config.text_dropout) & heard
    return (
        tf.where(without_sound[:, None, None], tf.zeros_like(features), features),
        tf.where(without_text[:, None], tf.zeros_like(tokens), tokens),
    )
