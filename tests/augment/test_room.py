"""Impulse responses: when arrivals come and how loud, how fast they decay, and what convolution does with them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from tfaudio.augment.reverb import response_bank, usable_response
from tfaudio.augment.room import decaying_noise, eyring_absorption, image_source_response, make_responses
from tfaudio.augment.spectrum import convolve
from tfaudio.config.augment import ReverbConfig

RATE = 16_000
C = 343.0
SIZE, SOURCE, MICROPHONE = (6.0, 5.0, 3.0), (2.0, 3.0, 1.5), (4.5, 1.5, 1.2)


def decay_time(response: np.ndarray, rate: int = RATE) -> float:
    """RT60 by Schroeder's backward integration, from the slope between -5 and -25 dB."""
    energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    part = np.flatnonzero((level < -5) & (level > -25))
    slope, _ = np.polyfit(part / rate, level[part], 1)
    return -60.0 / slope


def peak_near(response: np.ndarray, seconds: float, rate: int) -> float:
    """Height of the arrival at a time between two samples, by band-limited interpolation."""
    fine = scipy.signal.resample(response, 16 * len(response))
    place = round(16 * seconds * rate)
    return float(fine[place - 8 : place + 9].max())


def test_arrivals_come_when_and_as_loud_as_geometry_says():
    # A high rate keeps the first arrivals apart. Distances by mirroring the source at each wall, by hand.
    rate, absorption = 96_000, 0.3
    response = image_source_response(
        SIZE, SOURCE, MICROPHONE, absorption=absorption, sample_rate=rate, num_samples=4000
    )
    mirrored = {
        "direct": ((2.0, 3.0, 1.5), 0),
        "x = 0": ((-2.0, 3.0, 1.5), 1),
        "x = 6": ((10.0, 3.0, 1.5), 1),
        "y = 0": ((2.0, -3.0, 1.5), 1),
        "y = 5": ((2.0, 7.0, 1.5), 1),
        "floor": ((2.0, 3.0, -1.5), 1),
        "ceiling": ((2.0, 3.0, 4.5), 1),
        "floor and x = 0": ((-2.0, 3.0, -1.5), 2),
    }
    for name, (place, walls) in mirrored.items():
        distance = np.linalg.norm(np.subtract(place, MICROPHONE))
        expected = (1 - absorption) ** (walls / 2) / distance
        assert peak_near(response, distance / C, rate) == pytest.approx(expected, rel=0.08), name
    direct = np.linalg.norm(np.subtract(SOURCE, MICROPHONE)) / C * rate
    assert np.abs(response[: int(direct) - 40]).max() < 0.01


def test_without_walls_there_is_one_arrival_at_its_exact_time():
    response = image_source_response(SIZE, SOURCE, MICROPHONE, absorption=1.0, sample_rate=RATE, num_samples=2000)
    distance = np.linalg.norm(np.subtract(SOURCE, MICROPHONE))
    spectrum = np.fft.rfft(response)
    frequencies = np.fft.rfftfreq(len(response), 1 / RATE)
    band = slice(10, 600)  # the phase of a pure delay falls in a straight line
    delay = -np.polyfit(frequencies[band], np.unwrap(np.angle(spectrum[band])), 1)[0] / (2 * np.pi)
    assert delay == pytest.approx(distance / C, abs=0.02 / RATE)
    np.testing.assert_allclose(np.abs(spectrum[band]), 1 / distance, rtol=0.02)


@pytest.mark.parametrize("rt60", [0.1, 0.3, 0.6])
def test_noise_decays_in_the_time_asked_for(rt60):
    rng = np.random.default_rng(0)
    response = decaying_noise(rt60, sample_rate=RATE, num_samples=RATE, rng=rng, direct_to_reverberant_db=6.0)
    assert decay_time(response[1:]) == pytest.approx(rt60, rel=0.05)
    assert 10 * np.log10(response[0] ** 2 / np.sum(response[1:] ** 2)) == pytest.approx(6.0, abs=1e-6)


@pytest.mark.parametrize("rt60", [0.2, 0.4])
def test_a_room_decays_about_as_eyring_says(rt60):
    # Eyring supposes a diffuse field, which an empty box is not: its decay is known to be somewhat slower.
    size = (4.0, 4.6, 3.6)
    response = image_source_response(
        size,
        (1.2, 1.9, 1.3),
        (2.9, 3.3, 2.2),
        absorption=eyring_absorption(size, rt60),
        sample_rate=RATE,
        num_samples=round(rt60 * RATE),
    )
    swell = scipy.signal.butter(2, 20, "high", fs=RATE, output="sos")
    assert decay_time(scipy.signal.sosfilt(swell, response)) == pytest.approx(rt60, rel=0.3)


def test_eyring_agrees_with_sabine_in_live_rooms():
    volume, surface = 6 * 5 * 3, 2 * (30 + 18 + 15)
    assert eyring_absorption((6, 5, 3), 5.0) == pytest.approx(0.161 * volume / (surface * 5.0), rel=0.02)


@pytest.mark.parametrize("source", ["room", "decay"])
def test_made_responses_follow_their_seed_and_settings(source):
    config = ReverbConfig(source=source, responses=6, rt60_seconds=(0.2, 0.4), longest_seconds=0.3)
    responses = make_responses(config, 8000, seed=3)
    for first, again in zip(responses, make_responses(config, 8000, seed=3), strict=True):
        np.testing.assert_array_equal(first, again)
    assert len({len(r) for r in responses}) > 2
    other = make_responses(config, 8000, seed=4)
    assert any(len(a) != len(b) or np.any(a != b) for a, b in zip(responses, other, strict=True))
    if source == "decay":
        assert all(0.19 < decay_time(r[1:], 8000) < 0.42 for r in responses)
    for response in responses:
        usable = usable_response(response, sample_rate=8000, longest_seconds=0.3)
        assert len(usable) <= 2400
        assert np.sum(usable.astype(np.float64) ** 2) == pytest.approx(1.0, rel=1e-5)
        assert np.argmax(np.abs(usable)) == 0


def test_a_response_leaves_white_noise_as_loud_and_in_time():
    noise = np.random.default_rng(0).normal(size=8 * RATE).astype(np.float32)
    bank = response_bank(ReverbConfig(responses=4), RATE, 0, None)
    for seed in ((0, 0), (0, 1), (0, 2)):
        reverberant = convolve(tf.constant(noise), bank.random(seed)).numpy()
        assert np.sqrt(np.mean(reverberant**2)) == pytest.approx(1.0, abs=0.05)
        lags = scipy.signal.correlate(reverberant, noise, method="fft")[len(noise) - 100 : len(noise) + 100]
        assert np.argmax(np.abs(lags)) == 99  # the largest at a delay of none


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (1, 50), (1000, 1), (1000, 300), (128, 128), (5000, 4097)])
def test_convolution_is_scipys(length, taps):
    rng = np.random.default_rng(length)
    waveform, response = rng.normal(size=length).astype(np.float32), rng.normal(size=taps).astype(np.float32)
    expected = scipy.signal.convolve(waveform.astype(np.float64), response)[:length]
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(convolve(tf.constant(waveform), tf.constant(response)), expected, atol=tolerance)
    dynamic = tf.function(convolve, input_signature=[tf.TensorSpec([None]), tf.TensorSpec([None])])
    np.testing.assert_allclose(dynamic(waveform, response), expected, atol=tolerance)
