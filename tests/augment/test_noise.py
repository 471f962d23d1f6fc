"""Noise: its colour, its level, and where backgrounds are cut from."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from tfaudio.augment.noise import add_at_ratio, colored_noise, noise_bank
from tfaudio.augment.sounds import SoundBank

RATE = 16_000
TONE = (0.5 * np.sin(np.arange(4 * RATE) * 0.05)).astype(np.float32)
SEEDS = np.array([(7, n) for n in range(40)], np.int32)  # not tuples, for which a graph is traced anew


def snr_of(clean: np.ndarray, noisy: np.ndarray) -> float:
    noise = noisy.astype(np.float64) - clean
    return 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2))


@pytest.mark.parametrize(("color", "slope"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_power_falls_by_octaves_as_the_colour_says(color, slope):
    noise = colored_noise(2**18, RATE, color, (1, 2)).numpy()
    frequencies, density = scipy.signal.welch(noise, RATE, nperseg=8192)
    heard = (frequencies > 60) & (frequencies < 7500)
    found, _ = np.polyfit(np.log2(frequencies[heard]), 10 * np.log10(density[heard]), 1)
    assert found == pytest.approx(slope, abs=0.15)
    assert abs(scipy.stats.kurtosis(noise)) < 0.1  # Gaussian
    if color != "white":
        below = density[(frequencies > 0) & (frequencies < 12)].max()
        assert below < 0.1 * density[(frequencies > 20) & (frequencies < 40)].max()


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 25.0])
def test_the_ratio_is_the_one_asked_for(snr_db):
    for color in ("white", "pink", "brown"):
        noise = colored_noise(len(TONE), RATE, color, (3, 4)) * 17.0
        assert snr_of(TONE, add_at_ratio(tf.constant(TONE), noise, snr_db).numpy()) == pytest.approx(snr_db, abs=0.01)


def test_no_ratio_is_possible_with_silence():
    silence, ones = tf.zeros(100), tf.ones(100)
    np.testing.assert_array_equal(add_at_ratio(silence, ones, 0.0), silence)
    np.testing.assert_array_equal(add_at_ratio(ones, silence, 0.0), ones)


def test_a_bank_holds_noise_of_each_colour_by_its_seed():
    bank = noise_bank(("white", "brown"), RATE, 3)
    for which, lowest, highest in ((0.0, 3500, 4500), (0.5, 20, 500)):
        frequencies, density = scipy.signal.welch(bank.cut(2**16, which, 0.3).numpy(), RATE)
        assert lowest < np.sum(frequencies * density) / np.sum(density) < highest
    np.testing.assert_array_equal(noise_bank(("white",), RATE, 3).cut(100, 0.0, 0.3), bank.cut(100, 0.0, 0.3))
    assert np.any(noise_bank(("white",), RATE, 4).cut(100, 0.0, 0.3) != bank.cut(100, 0.0, 0.3))


def test_cuts_begin_anywhere_and_short_recordings_are_repeated():
    long, short = np.arange(1000, dtype=np.float32), -np.arange(1, 31, dtype=np.float32)
    bank = SoundBank([long, short])
    for cut in (bank.cut, tf.function(lambda n, which, where: bank.cut(tf.constant(n), which, where))):
        for where, first in ((0.0, 0), (0.5, 450), (1 - 2**-24, 900)):
            got = cut(100, tf.constant(0.499), tf.constant(where))
            np.testing.assert_array_equal(got, long[first : first + 100])
        for where, first in ((0.0, 0), (0.5, 15), (1 - 2**-24, 29)):
            got = cut(100, tf.constant(0.5), tf.constant(where))
            np.testing.assert_array_equal(got, np.resize(np.roll(short, -first), 100))
            np.testing.assert_array_equal(cut(30, tf.constant(0.5), tf.constant(where)), short)
    one = SoundBank([long])
    np.testing.assert_array_equal(one.cut(1000, tf.constant(0.9), tf.constant(0.9)), long)
    np.testing.assert_array_equal(one.cut(1500, tf.constant(0.9), tf.constant(0.0)), np.resize(long, 1500))


def test_whole_waveforms_come_whole():
    waveforms = [np.full(n, n, np.float32) for n in (1, 5, 3)]
    bank = SoundBank(waveforms)
    drawn = {len(w): w for w in (bank.random(seed).numpy() for seed in SEEDS)}
    assert sorted(drawn) == [1, 3, 5]
    for length, waveform in drawn.items():
        np.testing.assert_array_equal(waveform, np.full(length, length))
    for wrong in ([], [np.zeros(0, np.float32)]):
        with pytest.raises(ValueError, match="needs waveforms"):
            SoundBank(wrong)
