"""Power spectrograms in the graph: framing, window, Fourier transform."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig


def _hann(length: int) -> npt.NDArray[np.float64]:
    """Periodic Hann window, as librosa and tf.signal use for spectra."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)


@functools.lru_cache(maxsize=8)
def _dft_matrix(frame_length: int, fft_length: int) -> npt.NDArray[np.float32]:
    """Windowed Fourier transform as one matrix: [frame_length, 2 * bins], cosines before sines."""
    # The angle is reduced modulo one turn in integers: at float precision n * k / N loses digits for large n * k.
    turns = np.outer(np.arange(frame_length), np.arange(fft_length // 2 + 1)) % fft_length
    angle = 2.0 * np.pi * turns / fft_length
    matrix = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * _hann(frame_length)[:, None]
    return matrix.astype(np.float32)


def frame_waveform(waveform: Any, config: FrontEndConfig) -> tf.Tensor:
    """Cuts a waveform into overlapping frames, one centred on every frame_step-th sample.

    Silence surrounds the waveform, so the first frame is centred on the first sample (librosa's `center=True`).

    Args:
      waveform: float32 [..., num_samples].
      config: frame_length, frame_step and fft_length are used.

    Returns:
      float32 [..., config.num_frames(num_samples), frame_length].
    """
    # librosa centres a window shorter than the transform inside it; starting frames later has the same power.
    left = config.fft_length // 2 - (config.fft_length - config.frame_length) // 2
    padding = [[0, 0]] * (waveform.shape.rank - 1) + [[left, config.frame_length - left]]
    frames = tf.signal.frame(tf.pad(waveform, padding), config.frame_length, config.frame_step)
    num_samples = waveform.shape[-1]
    if num_samples is not None:  # tf.signal.frame leaves this open inside some graphs; devices need it known
        frames = tf.ensure_shape(frames, [*waveform.shape[:-1], config.num_frames(num_samples), config.frame_length])
    return frames


def power_spectrogram(waveform: Any, config: FrontEndConfig) -> tf.Tensor:
    """Computes the squared magnitude of the short-time Fourier transform.

    Args:
      waveform: float32 [..., num_samples].
      config: frame_length, frame_step, fft_length and implementation are used.

    Returns:
      float32 [..., num_frames, fft_length // 2 + 1].

    Source: the conventions of librosa.stft 0.11 (periodic Hann, zero padding).
    """
    frames = frame_waveform(waveform, config)
    if config.implementation == "matmul":
        spectrum = tf.matmul(frames, _dft_matrix(config.frame_length, config.fft_length))
        real, imaginary = tf.split(spectrum, 2, axis=-1)
    else:
        window = tf.constant(_hann(config.frame_length), tf.float32)
        spectrum = tf.signal.rfft(frames * window, [config.fft_length])
        real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    # Not abs()^2: its square root costs a third of the whole front end.
    return tf.square(real) + tf.square(imaginary)
