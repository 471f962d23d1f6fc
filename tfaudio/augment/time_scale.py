"""Speed, tempo and pitch, at the length that the waveform has.

Ratios are whole numbers of 256ths, so that the polyphase resampler of `tfaudio.audio` serves: 7 cents of pitch apart.
Speeds that are drawn are 64ths, few enough for their kernels to be made once, and those kernels are short: an example
takes a quarter of the time.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfaudio.audio.resample import resample
from tfaudio.augment.seeds import draw, draw_log, split_seed
from tfaudio.augment.spectrum import num_samples_of
from tfaudio.config import ResamplerKernel
from tfaudio.config.augment import PitchShiftConfig, SpeedConfig, TimeStretchConfig

_STEPS = 256
_DRAWN_STEPS = 64
# Flat to three quarters of the band, and 80 dB down where sound would fold back: what a random change needs.
_DRAWN_KERNEL = ResamplerKernel(zero_crossings=16, rolloff=0.86, kaiser_beta=8.0)
_FRAME_SECONDS = 0.064  # of the vocoder: 1024 samples at 16 kHz, of which the power of two that is nearest is taken


def change_speed(waveform: tf.Tensor, factor: Any) -> tf.Tensor:
    """Plays faster or slower: pitch times `factor`, length divided by it.

    Args:
      waveform: float32 [samples].
      factor: float scalar, 0.25 to 4; the nearest 256th is taken.

    Returns:
      float32 [ceil(samples / factor)].
    """
    return resample(waveform, tf.cast(tf.round(factor * _STEPS), tf.int32), _STEPS)


def stretch_time(waveform: tf.Tensor, factor: Any, frame_length: int) -> tf.Tensor:
    """Plays faster or slower at the same pitch, by a phase vocoder.

    Args:
      waveform: float32 [samples].
      factor: of the tempo, float scalar above 0.
      frame_length: of the Fourier transforms, a multiple of 4; neighbours overlap by three quarters.

    Returns:
      float32 [round(samples / factor)].

    Source: J. L. Flanagan and R. M. Golden, "Phase Vocoder", Bell System Technical Journal, 1966; the conventions of
    librosa.effects.time_stretch 0.11.
    """
    num_samples = num_samples_of(waveform)
    hop, half = frame_length // 4, frame_length // 2
    window = tf.signal.hann_window(frame_length)  # periodic
    frames = tf.signal.frame(tf.pad(waveform, [[half, half]]), frame_length, hop)
    spectra = phase_vocoder(tf.signal.rfft(frames * window, [frame_length]), factor)
    frames = tf.signal.irfft(spectra, [frame_length]) * window
    # Divided by what the windows add up to, which is less than elsewhere at both ends.
    weights = tf.signal.overlap_and_add(tf.broadcast_to(tf.square(window), tf.shape(frames)), hop)
    result = tf.math.divide_no_nan(tf.signal.overlap_and_add(frames, hop), weights)[half:]
    length = tf.cast(tf.round(tf.cast(num_samples, tf.float64) / tf.cast(factor, tf.float64)), tf.int32)
    return tf.pad(result, [[0, tf.maximum(length - tf.shape(result)[0], 0)]])[:length]


def phase_vocoder(spectra: tf.Tensor, factor: Any) -> tf.Tensor:
    """Reads short-time spectra at another pace and lets each bin's phase advance as it did between two frames.

    Args:
      spectra: complex64 [frames, bins].
      factor: of the pace, float scalar above 0.

    Returns:
      complex64 [ceil(frames / factor), bins].
    """
    frames = tf.shape(spectra)[0]
    factor = tf.cast(factor, tf.float64)
    count = tf.cast(tf.math.ceil(tf.cast(frames, tf.float64) / factor), tf.int32)
    place = tf.cast(tf.range(count), tf.float64) * factor
    before = tf.minimum(tf.cast(tf.floor(place), tf.int32), frames)
    share = tf.cast(place - tf.floor(place), tf.float32)[:, tf.newaxis]
    padded = tf.pad(spectra, [[0, 2], [0, 0]])  # the last frame is followed by silence
    magnitude, angle = tf.abs(padded), tf.math.angle(padded)
    # The advance from frame to frame modulo a turn is all that matters here, since as many samples lie between two
    # frames of the result; unwrapping it about the bin's frequency, as textbooks do, adds whole turns.
    advance = _wrapped(angle[1:] - angle[:-1])
    phase = angle[:1] + tf.cumsum(tf.gather(advance, before), exclusive=True)
    magnitude = (1.0 - share) * tf.gather(magnitude, before) + share * tf.gather(magnitude, before + 1)
    return tf.complex(magnitude * tf.cos(phase), magnitude * tf.sin(phase))


def shift_pitch(waveform: tf.Tensor, semitones: Any, frame_length: int) -> tf.Tensor:
    """Shifts the pitch and keeps the tempo: stretches by a phase vocoder, then plays as much faster.

    Args:
      waveform: float32 [samples].
      semitones: float scalar, up where above 0.
      frame_length: of the vocoder.

    Returns:
      float32 of about as many samples; more or fewer by 2 at most.
    """
    ratio = tf.round(tf.exp(tf.convert_to_tensor(semitones, tf.float32) * (math.log(2.0) / 12.0)) * _STEPS) / _STEPS
    return change_speed(stretch_time(waveform, 1.0 / ratio, frame_length), ratio)


def fit_anywhere(waveform: tf.Tensor, num_samples: Any, seed: Any) -> tf.Tensor:
    """Brings a waveform to a length: cuts a piece out of a longer one, puts a shorter one somewhere into silence.

    Args:
      waveform: float32 [n].
      num_samples: length of the result.
      seed: integer [2]; decides where.

    Returns:
      float32 [num_samples].
    """
    spare = tf.shape(waveform)[0] - num_samples
    place = tf.random.stateless_uniform([], seed, 0, tf.abs(spare) + 1, tf.int32)
    before = tf.where(spare < 0, place, 0)
    waveform = waveform[tf.where(spare > 0, place, 0) :][:num_samples]
    return tf.pad(waveform, [[before, num_samples - tf.shape(waveform)[0] - before]])


def vocoder_frame_length(sample_rate: int) -> int:
    """Samples in a frame of the vocoder: the power of two nearest to 64 ms."""
    return 2 ** max(2, round(math.log2(_FRAME_SECONDS * sample_rate)))


def random_speed(waveform: tf.Tensor, config: SpeedConfig, seed: Any) -> tf.Tensor:
    """Changes the speed of a waveform [samples] by a factor drawn evenly over octaves, in 64ths."""
    factor_seed, place_seed = split_seed(seed, 2)
    drawn = tf.cast(tf.round(draw_log(config.factor, factor_seed) * _DRAWN_STEPS), tf.int32)
    slowest, fastest = (round(bound * _DRAWN_STEPS) for bound in (min(config.factor), max(config.factor)))
    faster = resample(waveform, drawn, _DRAWN_STEPS, expected_rates=range(slowest, fastest + 1), kernel=_DRAWN_KERNEL)
    return fit_anywhere(faster, num_samples_of(waveform), place_seed)


def random_time_stretch(waveform: tf.Tensor, sample_rate: int, config: TimeStretchConfig, seed: Any) -> tf.Tensor:
    """Changes the tempo of a waveform [samples] by a factor drawn evenly over octaves."""
    factor_seed, place_seed = split_seed(seed, 2)
    stretched = stretch_time(waveform, draw_log(config.factor, factor_seed), vocoder_frame_length(sample_rate))
    return fit_anywhere(stretched, num_samples_of(waveform), place_seed)


def random_pitch_shift(waveform: tf.Tensor, sample_rate: int, config: PitchShiftConfig, seed: Any) -> tf.Tensor:
    """Shifts the pitch of a waveform [samples] by semitones drawn from the range."""
    shift_seed, place_seed = split_seed(seed, 2)
    shifted = shift_pitch(waveform, draw(config.semitones, shift_seed), vocoder_frame_length(sample_rate))
    return fit_anywhere(shifted, num_samples_of(waveform), place_seed)


def _wrapped(angle: tf.Tensor) -> tf.Tensor:
    """Adds whole turns so that the angle lies in [-pi, pi]."""
    return angle - 2.0 * math.pi * tf.round(angle / (2.0 * math.pi))
