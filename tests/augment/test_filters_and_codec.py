"""Frequency responses against scipy.signal, mu-law against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from tfaudio.augment.codec import mu_law, random_codec, telephone
from tfaudio.augment.filters import band_pass, high_pass, low_pass, random_filter
from tfaudio.config.augment import CodecConfig, FilterConfig

RATE = 16_000
SEEDS = np.array([(7, n) for n in range(40)], np.int32)  # not tuples, for which a graph is traced anew


def response_of(change, length: int = 2**14) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and the complex response to an impulse in the middle, freed of its delay."""
    impulse = np.zeros(length, np.float32)
    impulse[length // 2] = 1
    answer = np.asarray(change(tf.constant(impulse)), np.float64)
    return np.fft.rfftfreq(length, 1 / RATE), np.fft.rfft(np.roll(answer, -(length // 2)))


@pytest.mark.parametrize("order", [2, 4, 8])
@pytest.mark.parametrize("kind", ["low", "high", "band"])
def test_magnitudes_are_those_of_scipys_analogue_butterworth(kind, order):
    change = {
        "low": lambda w: low_pass(w, RATE, 1000.0, order),
        "high": lambda w: high_pass(w, RATE, 300.0, order),
        "band": lambda w: band_pass(w, RATE, 300.0, 1000.0, order),
    }[kind]
    frequencies, found = response_of(change)
    expected = np.ones(len(frequencies), complex)
    for wanted, cutoff, kinds in (("low", 1000.0, ("low", "band")), ("high", 300.0, ("high", "band"))):
        if kind in kinds:
            b, a = scipy.signal.butter(order, 2 * np.pi * cutoff, wanted, analog=True)
            expected *= scipy.signal.freqs(b, a, 2 * np.pi * frequencies)[1]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-3)
    passed = np.abs(expected) > 0.1
    np.testing.assert_allclose(np.angle(found[passed]), 0, atol=0.02)  # no delay


def test_what_rings_before_the_start_does_not_come_out_at_the_end():
    step = np.zeros(2**14, np.float32)
    step[:50] = 1.0
    filtered = low_pass(tf.constant(step), RATE, 500.0).numpy()
    assert np.abs(filtered[-4000:]).max() < 1e-4 * np.abs(filtered).max()


def test_kinds_and_cutoffs_are_drawn_from_what_is_configured():
    noise = tf.constant(np.random.default_rng(0).normal(size=2**14).astype(np.float32))
    config = FilterConfig(kinds=("low_pass", "high_pass"), low_pass_hertz=(1000, 4000), high_pass_hertz=(300, 600))
    change = tf.function(lambda seed: random_filter(noise, RATE, config, seed))
    cutoffs = {"low": [], "high": []}
    reference = np.abs(np.fft.rfft(noise))
    frequencies = np.fft.rfftfreq(len(noise), 1 / RATE)
    for seed in SEEDS:
        gain = np.abs(np.fft.rfft(change(seed))) / reference
        smooth = np.convolve(gain, np.ones(9) / 9, "same")
        kind = "low" if smooth[frequencies < 100].mean() > 0.8 else "high"
        crossing = np.flatnonzero((smooth < np.sqrt(0.5)) == (kind == "low"))
        cutoffs[kind].append(frequencies[crossing[crossing > 20][0]])
    assert 8 < len(cutoffs["low"]) < 32
    assert 950 < min(cutoffs["low"]) < 1500
    assert 2700 < max(cutoffs["low"]) < 4100
    assert 280 < min(cutoffs["high"]) < 400
    assert 450 < max(cutoffs["high"]) < 620


def test_mu_law_is_the_formula():
    waveform = np.linspace(-1, 1, 1001)
    compressed = np.sign(waveform) * np.log1p(255 * np.abs(waveform)) / np.log(256)
    codes = np.round(compressed * 127)
    expected = np.sign(codes) * (256 ** (np.abs(codes) / 127) - 1) / 255
    found = mu_law(tf.constant(waveform, tf.float32)).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert len(np.unique(np.round(found, 6))) <= 255
    np.testing.assert_allclose(mu_law(tf.constant(0.01 * waveform, tf.float32)), 0.01 * expected, atol=2e-8)
    np.testing.assert_array_equal(mu_law(tf.zeros(5)), np.zeros(5))


def test_mu_law_keeps_its_distance_from_quiet_and_loud_tones():
    # 8 bits of mu-law have a ratio of some 38 dB over a wide range of levels, which linear quantisation has not.
    tone = np.sin(np.arange(RATE) * 0.3)
    for level in (1.0, 0.1):
        waveform = np.append(level * tone, 1.0).astype(np.float32)  # the peak stays full scale
        error = mu_law(tf.constant(waveform)).numpy() - waveform
        assert 35 < 10 * np.log10(np.mean(waveform[:-1] ** 2) / np.mean(error[:-1] ** 2)) < 42


def test_a_telephone_passes_its_band_alone():
    noise = np.random.default_rng(0).normal(size=2**16).astype(np.float32)
    sent = telephone(tf.constant(noise), RATE).numpy()
    frequencies, density = scipy.signal.welch(sent, RATE, nperseg=2048)
    _, before = scipy.signal.welch(noise, RATE, nperseg=2048)
    level = 10 * np.log10(density / before)
    assert np.abs(level[(frequencies > 450) & (frequencies < 2800)]).max() < 1
    assert level[frequencies < 100].max() < -25
    assert level[frequencies > 5000].max() < -40


def test_codecs_are_drawn_from_what_is_configured():
    noise = tf.constant(np.random.default_rng(0).normal(size=2**14).astype(np.float32))
    config = CodecConfig(bandwidth_hertz=(2000, 3000))
    change = tf.function(lambda seed: random_codec(noise, RATE, config, seed))
    bass = []
    for seed in SEEDS:
        frequencies, density = scipy.signal.welch(change(seed).numpy(), RATE)
        assert density[frequencies > 5000].max() < 1e-3 * density.max()
        bass.append(density[1] > 0.1 * density.max())
    assert 8 < sum(bass) < 32  # a telephone has none
    only = tf.function(lambda seed: random_codec(noise, RATE, CodecConfig(kinds=("telephone",)), seed))
    np.testing.assert_array_equal(only(SEEDS[0]), only(SEEDS[1]))
