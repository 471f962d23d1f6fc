"""Power spectrograms in the graph: framing, window, Fourier transform."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig

_SMALLEST_BLOCK = 16  # samples


def hann(length: int) -> npt.NDArray[np.float64]:
    """Periodic Hann window, as librosa and tf.signal use for spectra."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)


@functools.lru_cache(maxsize=8)
def _dft_matrix(frame_length: int, fft_length: int) -> npt.NDArray[np.float32]:
    """Windowed Fourier transform as one matrix: [frame_length, 2 * bins], cosines before sines."""
    # The angle is reduced modulo one turn in integers: at float precision n * k / N loses digits for large n * k.
    turns = np.outer(np.arange(frame_length), np.arange(fft_length // 2 + 1)) % fft_length
    angle = 2.0 * np.pi * turns / fft_length
    matrix = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * hann(frame_length)[:, None]
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
    return centred_frames(waveform, config.frame_length, config.frame_step, before=_before(config))


def _before(config: FrontEndConfig) -> int:
    """Samples of a frame ahead of the one that it is centred on."""
    # librosa centres a window shorter than the transform inside it; starting frames later has the same power.
    return config.fft_length // 2 - (config.fft_length - config.frame_length) // 2


def centred_frames(
    signal: Any, length: int, step: int, *, before: int, window: npt.NDArray[np.float64] | None = None
) -> tf.Tensor:
    """Cuts a signal into frames, of which number i begins `before` samples ahead of sample i * step.

    Zeros surround the signal.

    Args:
      signal: float32 [..., num_samples].
      length: samples in a frame.
      step: samples from one frame to the next.
      before: 0 to length.
      window: [length], what to multiply each frame with; None leaves the frames as they are.

    Returns:
      float32 [..., 1 + num_samples // step, length].
    """
    # Frames are gathered in blocks of a common divisor. Where that is small, so that every few samples need an index,
    # frames of whole steps are shorter work, and a smaller file on a device, even though their ends are cut off.
    whole = length if math.gcd(length, step) >= _SMALLEST_BLOCK else -(-length // step) * step
    block = math.gcd(whole, step)
    leading, num_samples = signal.shape[:-1], signal.shape[-1]
    if not signal.shape.is_fully_defined():
        leading, num_samples = tf.shape(signal)[:-1], tf.shape(signal)[-1]
    num_frames = 1 + num_samples // step
    total = (num_frames - 1) * step + whole
    padded = tf.pad(signal, [[0, 0]] * (signal.shape.rank - 1) + [[before, whole - before]])
    padded = tf.slice(padded, [0] * signal.shape.rank, tf.concat([leading, [total]], axis=0))
    blocks = tf.reshape(padded, tf.concat([leading, [total // block, block]], axis=0))
    indices = tf.expand_dims(tf.range(num_frames) * (step // block), 1) + tf.range(whole // block)
    frames = tf.gather(blocks, indices, axis=-2)
    if window is not None:
        # Here and not on the result: XLA makes one loop of gathering and multiplying, and while blocks stand apart it
        # need not divide to find each sample's block, which took twice to four times as long.
        taps = np.pad(window, [0, whole - length]).reshape(whole // block, block)
        frames *= tf.constant(taps, tf.float32)
    frames = tf.reshape(frames, tf.concat([leading, [num_frames, whole]], axis=0))
    if whole != length:
        frames = frames[..., :length]
    # Devices need to know what can be known, which is more than some graphs see.
    known = None if signal.shape[-1] is None else 1 + signal.shape[-1] // step
    return tf.ensure_shape(frames, [*signal.shape[:-1], known, length])


def power_spectrogram(waveform: Any, config: FrontEndConfig) -> tf.Tensor:
    """Computes the squared magnitude of the short-time Fourier transform.

    Args:
      waveform: float32 [..., num_samples].
      config: frame_length, frame_step, fft_length and implementation are used.

    Returns:
      float32 [..., num_frames, fft_length // 2 + 1].

    Source: the conventions of librosa.stft 0.11 (periodic Hann, zero padding).
    """
    if config.implementation == "matmul":
        frames = frame_waveform(waveform, config)
        spectrum = tf.matmul(frames, _dft_matrix(config.frame_length, config.fft_length))
        real, imaginary = tf.split(spectrum, 2, axis=-1)
    else:
        # The zeros that fill a short frame up belong to the window, so that no frame is copied to append them.
        filled = math.gcd(config.fft_length, config.frame_step) >= _SMALLEST_BLOCK
        length = config.fft_length if filled else config.frame_length
        window = np.pad(hann(config.frame_length), [0, length - config.frame_length])
        frames = centred_frames(waveform, length, config.frame_step, before=_before(config), window=window)
        spectrum = tf.signal.rfft(frames, [config.fft_length])
        real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    # Not abs()^2: its square root costs a third of the whole front end.
    return tf.square(real) + tf.square(imaginary)
