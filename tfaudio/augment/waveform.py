"""Random changes to one waveform. Stateless: the same seed gives the same result, in any order of execution.

They come in the order in which a sound meets them:

1. the source: speed, tempo, pitch; where the clip was cut (time shift); polarity
2. the room: reverberation
3. what else is heard there: level, then background and noise, whose ratio to the reverberant sound is the drawn one
4. the recorder: its frequency response, then clipping, which cuts what the microphone gives
5. the line: a codec, last, since it gets what was recorded, noise and clipping included
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.augment.codec import random_codec
from tfaudio.augment.filters import random_filter
from tfaudio.augment.noise import add_at_ratio, noise_bank
from tfaudio.augment.reverb import response_bank
from tfaudio.augment.seeds import Change, draw, sometimes, split_seed
from tfaudio.augment.sounds import SoundBank
from tfaudio.augment.spectrum import convolve, num_samples_of
from tfaudio.augment.time_scale import random_pitch_shift, random_speed, random_time_stretch
from tfaudio.config import AugmentConfig

_Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def random_start(num_samples: Any, window: int, seed: Any) -> tf.Tensor:
    """Draws where a window of a longer recording starts, int64; 0 if the recording is not longer."""
    room = tf.maximum(tf.cast(num_samples, tf.int64) - window, 0) + 1
    return tf.random.stateless_uniform([], seed, 0, room, tf.int64)


def time_shift(waveform: tf.Tensor, fraction: float, seed: Any) -> tf.Tensor:
    """Rotates a waveform [samples] by up to `fraction` of its length; what leaves one end enters the other."""
    share = tf.random.stateless_uniform([], seed, -fraction, fraction)
    length = tf.shape(waveform)[0]
    return tf.roll(waveform, tf.cast(share * tf.cast(length, tf.float32), tf.int32), axis=0)


def gain(waveform: tf.Tensor, largest_db: float, seed: Any) -> tf.Tensor:
    """Changes the level by up to `largest_db` decibels either way."""
    decibel = tf.random.stateless_uniform([], seed, -largest_db, largest_db)
    return waveform * tf.exp(decibel * (math.log(10.0) / 20.0))


def clip_peaks(waveform: tf.Tensor, below_peak_db: Any) -> tf.Tensor:
    """Cuts off what exceeds a level, given in decibels below the waveform's largest sample."""
    peak = tf.reduce_max(tf.abs(waveform), keepdims=True)
    level = peak * tf.exp(-tf.convert_to_tensor(below_peak_db, tf.float32) * (math.log(10.0) / 20.0))
    return tf.clip_by_value(waveform, -level, level)


class WaveformAugmentation:
    """The waveform changes of a configuration, and what they draw from.

    Args:
      config: what is on; zeros switch a change off.
      sample_rate: Hz.
      seed: of noise and impulse responses that are made.
      backgrounds: recordings float32 [n], for config.background.
      responses: recorded impulse responses float32 [n], for config.reverb.
    """

    def __init__(
        self,
        config: AugmentConfig,
        sample_rate: int,
        *,
        seed: int = 0,
        backgrounds: Sequence[npt.NDArray[np.float32]] | None = None,
        responses: Sequence[npt.NDArray[np.float32]] | None = None,
    ) -> None:
        self._config, self._sample_rate = config, sample_rate
        if config.noise_probability:
            self._noise = noise_bank(config.noise_colors, sample_rate, seed)
        if config.background.probability:
            if backgrounds is None:
                raise ValueError("augment.background needs recordings.")
            self._backgrounds = SoundBank(backgrounds)
        if config.reverb.probability:
            if responses is None and config.reverb.source == "files":
                raise ValueError("augment.reverb needs recorded responses.")
            self._responses = response_bank(config.reverb, sample_rate, seed, responses)

    def __call__(self, waveform: tf.Tensor, seed: Any) -> tf.Tensor:
        """Changes a waveform.

        Args:
          waveform: float32 [samples].
          seed: integer [2].

        Returns:
          float32 of the same shape, of the same static shape in a graph.
        """
        shape = waveform.shape
        config, rate = self._config, self._sample_rate
        # These three split one seed, as they did before there were others, and keep their draws.
        shift_seed, gain_seed, noise_seed = split_seed(seed, 3)

        def at_times(probability: float, number: Change, change: _Change) -> None:
            nonlocal waveform
            waveform = sometimes(waveform, probability, seed, number, change)

        at_times(config.speed.probability, Change.SPEED, lambda w, s: random_speed(w, config.speed, s))
        at_times(
            config.time_stretch.probability,
            Change.TIME_STRETCH,
            lambda w, s: random_time_stretch(w, rate, config.time_stretch, s),
        )
        at_times(
            config.pitch_shift.probability,
            Change.PITCH_SHIFT,
            lambda w, s: random_pitch_shift(w, rate, config.pitch_shift, s),
        )
        if config.time_shift:
            waveform = time_shift(waveform, config.time_shift, shift_seed)
        at_times(config.polarity_probability, Change.POLARITY, lambda w, _: -w)
        at_times(config.reverb.probability, Change.REVERB, lambda w, s: convolve(w, self._responses.random(s)))
        if config.gain_db:
            waveform = gain(waveform, config.gain_db, gain_seed)
        at_times(config.background.probability, Change.BACKGROUND, self._add_background)
        if config.noise_probability:
            waveform = self._add_noise(waveform, noise_seed)
        at_times(config.filter.probability, Change.FILTER, lambda w, s: random_filter(w, rate, config.filter, s))
        at_times(
            config.clipping.probability,
            Change.CLIPPING,
            lambda w, s: clip_peaks(w, draw(config.clipping.below_peak_db, s)),
        )
        at_times(config.codec.probability, Change.CODEC, lambda w, s: random_codec(w, rate, config.codec, s))
        return tf.ensure_shape(waveform, shape)

    def _add_background(self, waveform: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draws = tf.unstack(tf.random.stateless_uniform([3], seed))
        return _add_cut(waveform, self._backgrounds, self._config.background.snr_db, *draws)

    def _add_noise(self, waveform: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        # All in one draw: on for a quarter of the examples by default, this would else cost most of all changes.
        chosen, *draws = tf.unstack(tf.random.stateless_uniform([4], seed))
        return tf.cond(
            chosen < self._config.noise_probability,
            lambda: _add_cut(waveform, self._noise, self._config.noise_snr_db, *draws),
            lambda: waveform,
        )


def _add_cut(
    waveform: tf.Tensor,
    bank: SoundBank,
    snr_db: tuple[float, ...],
    ratio: tf.Tensor,
    which: tf.Tensor,
    where: tf.Tensor,
) -> tf.Tensor:
    """Adds a stretch of what a bank holds; the draws, float32 in [0, 1), decide the ratio and the stretch."""
    cut = bank.cut(num_samples_of(waveform), which, where)
    return add_at_ratio(waveform, cut, snr_db[0] + ratio * (snr_db[1] - snr_db[0]))
