"""Impulse responses of rooms, made in NumPy: by the image-source method, or of noise that decays."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.signal

from tfaudio.config.augment import ReverbConfig

SPEED_OF_SOUND = 343.0  # m/s, dry air at 20 degrees
_OVERSAMPLING = 8  # of the grid that arrivals are placed on before they are brought to the sample rate
_SIZES_METRES = ((3.0, 10.0), (3.0, 8.0), (2.4, 4.0))  # of the rooms that are drawn: length, width, height
_FROM_WALL_METRES = 0.5
# All arrivals are positive, so their sum has a slow swell that no room has (Allen and Berkley take it off likewise).
_SWELL_HERTZ = 20.0
_DIRECT_TO_REVERBERANT_DB = (-3.0, 9.0)  # that are drawn for decaying noise


def eyring_absorption(size_metres: npt.ArrayLike, rt60_seconds: float) -> float:
    """The share of energy that every wall must absorb so that a room has a reverberation time.

    Source: C. F. Eyring, "Reverberation Time in 'Dead' Rooms", JASA 1930: T = 24 ln(10) V / (-c S ln(1 - a)). Unlike
    Sabine's formula it has an answer below 1 for every time.
    """
    x, y, z = np.asarray(size_metres, np.float64)
    surface = 2.0 * (x * y + x * z + y * z)
    return float(1.0 - np.exp(-24.0 * math.log(10.0) * x * y * z / (SPEED_OF_SOUND * surface * rt60_seconds)))


def image_source_response(
    size_metres: npt.ArrayLike,
    source_metres: npt.ArrayLike,
    microphone_metres: npt.ArrayLike,
    *,
    absorption: float,
    sample_rate: int,
    num_samples: int,
) -> npt.NDArray[np.float64]:
    """Computes what a microphone in an empty box-shaped room hears of an impulse.

    Every wall mirrors the source, and the mirrored rooms' walls do again: an image at distance r arrives after r / c
    with amplitude b^n / r, where n walls were met and b = sqrt(1 - absorption).

    Args:
      size_metres: length, width and height.
      source_metres: place of the source, from one corner.
      microphone_metres: place of the microphone.
      absorption: share of energy that a wall takes, in [0, 1).
      sample_rate: Hz.
      num_samples: length of the response.

    Returns:
      float64 [num_samples]; the first arrival is at r / c, band-limited, of amplitude 1 / r.

    Source: J. B. Allen and D. A. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 1979;
    arrivals between two samples are band-limited, as of P. M. Peterson, JASA 1986.
    """
    size, source, microphone = (np.asarray(v, np.float64) for v in (size_metres, source_metres, microphone_metres))
    reach = num_samples / sample_rate * SPEED_OF_SOUND
    reflection = math.sqrt(1.0 - absorption)
    axes = [_images(*place, reach, reflection) for place in zip(size, source, microphone, strict=True)]
    (x, x_gain), (y, y_gain), (z, z_gain) = axes
    across = y[:, None] ** 2 + z[None, :] ** 2
    across_gain = y_gain[:, None] * z_gain[None, :]
    near = across < reach**2
    across, across_gain = across[near], across_gain[near]
    margin = 64  # samples on either side, for the ends of the band-limited impulses
    grid = np.zeros((num_samples + 2 * margin) * _OVERSAMPLING)
    for distance, gain in zip(x, x_gain, strict=True):  # a slice at a time: all at once could be gigabytes
        r = np.sqrt(distance**2 + across)
        inside = r < reach
        r = np.maximum(r[inside], 0.01)  # a source inside the microphone would be infinitely loud
        place = (r / SPEED_OF_SOUND * sample_rate + margin) * _OVERSAMPLING
        first = place.astype(np.int64)
        share, amplitude = place - first, gain * across_gain[inside] / r
        grid += np.bincount(first, amplitude * (1.0 - share), len(grid))
        grid += np.bincount(first + 1, amplitude * share, len(grid))[: len(grid)]
    # Of the oversampled spectrum the part up to the Nyquist frequency is kept.
    spectrum = np.fft.rfft(grid)[: (num_samples + 2 * margin) // 2 + 1]
    return np.fft.irfft(spectrum, num_samples + 2 * margin)[margin : margin + num_samples]


def _images(
    size: float, source: float, microphone: float, reach: float, reflection: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Along one axis: the images' distances from the microphone, and what their reflections leave."""
    rooms = np.arange(-int(reach / size) - 2, int(reach / size) + 3)
    # In every other room the image is mirrored; to a room n walls away the sound meets n walls.
    place = np.where(rooms % 2 == 0, rooms * size + source, (rooms + 1) * size - source)
    distance = np.abs(place - microphone)
    near = distance < reach
    return distance[near], reflection ** np.abs(rooms[near]).astype(np.float64)


def decaying_noise(
    rt60_seconds: float,
    *,
    sample_rate: int,
    num_samples: int,
    rng: np.random.Generator,
    direct_to_reverberant_db: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Makes a response of noise that falls by 60 dB in a given time, after a first sample of the direct sound.

    Args:
      rt60_seconds: that time.
      sample_rate: Hz.
      num_samples: length of the response.
      rng: source of the noise.
      direct_to_reverberant_db: ratio of their energies; small far from the source.

    Returns:
      float64 [num_samples].

    Source: J. A. Moorer, "About This Reverberation Business", Computer Music Journal, 1979.
    """
    decay = np.exp(-3.0 * math.log(10.0) * np.arange(num_samples) / (rt60_seconds * sample_rate))
    response = rng.standard_normal(num_samples) * decay
    response[0] = 0.0
    energy = np.sum(response**2)
    if energy > 0:
        response /= np.sqrt(energy)
    response[0] = 10.0 ** (direct_to_reverberant_db / 20.0)
    return response


def make_responses(config: ReverbConfig, sample_rate: int, seed: int) -> list[npt.NDArray[np.float32]]:
    """Makes impulse responses of random rooms, or of decaying noise.

    Args:
      config: source, rt60_seconds, longest_seconds and responses are used.
      sample_rate: Hz.
      seed: the same one makes the same responses.

    Returns:
      config.responses of float32 [samples], as long as 60 dB of decay take.
    """
    swell = scipy.signal.butter(2, _SWELL_HERTZ, "high", fs=sample_rate, output="sos")
    responses = []
    for number in range(config.responses):
        rng = np.random.default_rng([seed, number])
        rt60 = rng.uniform(config.rt60_seconds[0], config.rt60_seconds[1])
        num_samples = max(1, round(min(rt60, config.longest_seconds) * sample_rate))
        if config.source == "decay":
            response = decaying_noise(
                rt60,
                sample_rate=sample_rate,
                num_samples=num_samples,
                rng=rng,
                direct_to_reverberant_db=rng.uniform(*_DIRECT_TO_REVERBERANT_DB),
            )
        else:
            size = np.array([rng.uniform(*bounds) for bounds in _SIZES_METRES])
            source, microphone = (rng.uniform(_FROM_WALL_METRES, size - _FROM_WALL_METRES) for _ in range(2))
            response = image_source_response(
                size,
                source,
                microphone,
                absorption=eyring_absorption(size, rt60),
                sample_rate=sample_rate,
                num_samples=num_samples + round(float(np.linalg.norm(size)) / SPEED_OF_SOUND * sample_rate),
            )
            response = scipy.signal.sosfilt(swell, response)
        responses.append(response.astype(np.float32))
    return responses
