"""Speed, tempo and pitch: what becomes of tones and bursts, and the phase vocoder against librosa's."""

from __future__ import annotations

import itertools

import librosa
import numpy as np
import pytest
import tensorflow as tf

from tfaudio.augment.time_scale import (
    change_speed,
    fit_anywhere,
    phase_vocoder,
    random_pitch_shift,
    random_speed,
    random_time_stretch,
    shift_pitch,
    stretch_time,
    vocoder_frame_length,
)
from tfaudio.config.augment import PitchShiftConfig, SpeedConfig, TimeStretchConfig

RATE = 16_000
FRAME = vocoder_frame_length(RATE)
SEEDS = np.array([(7, n) for n in range(24)], np.int32)  # not tuples, for which a graph is traced anew


def tone(hertz: float, seconds: float = 2.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def pitch_of(waveform: np.ndarray) -> float:
    """Frequency of the largest peak of the spectrum, interpolated between bins."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 2**19))
    return float(np.argmax(spectrum) * RATE / 2**19)


def bursts(period: int, count: int) -> np.ndarray:
    """A train of bursts, each in the middle of its period and somewhat longer than a frame of the vocoder."""
    train = np.zeros(period * count, np.float32)
    burst = (np.hanning(1600) * np.sin(np.arange(1600) * 0.4)).astype(np.float32)
    for start in range(period // 2 - 800, len(train), period):
        train[start : start + 1600] = burst
    return train


def period_of(waveform: np.ndarray, expected: float) -> float:
    """Samples from burst to burst: the slope of the line through the centres of their energy."""
    bounds = [round(i * expected) for i in range(round(len(waveform) / expected) + 1)]
    centres = [np.average(np.arange(a, b), weights=waveform[a:b] ** 2) for a, b in itertools.pairwise(bounds)]
    return float(np.polyfit(np.arange(len(centres)), centres, 1)[0])


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.25, 2.0])
def test_speed_moves_pitch_and_length_by_its_factor(factor):
    exact = round(factor * 256) / 256
    faster = change_speed(tf.constant(tone(500.0)), factor).numpy()
    assert len(faster) == int(np.ceil(2 * RATE / exact))
    assert pitch_of(faster[1000:-1000]) == pytest.approx(500 * exact, abs=0.3)
    expected = np.sin(2 * np.pi * 500 * exact * np.arange(len(faster)) / RATE)  # the tone itself, played faster
    np.testing.assert_allclose(faster[1000:-1000], expected[1000:-1000], atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_a_stretch_keeps_pitch_and_moves_bursts_by_its_factor(factor):
    stretched = stretch_time(tf.constant(tone(500.0)), factor, FRAME).numpy()
    assert len(stretched) == round(2 * RATE / factor)
    middle = stretched[2000:-2000]
    assert pitch_of(middle) == pytest.approx(500.0, abs=0.5)
    # Neighbouring bins lose touch and cancel a little, as with librosa; a factor of 1 or 2 keeps them in step.
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(np.sqrt(0.5), rel=0.02 if factor in (1, 2) else 0.15)
    # After silence a phase vocoder does not know where in a frame a burst begins, so single ones are a little off.
    train = stretch_time(tf.constant(bursts(8000, 12)), factor, FRAME).numpy()
    assert period_of(train, 8000 / factor) == pytest.approx(8000 / factor, rel=0.015)


@pytest.mark.parametrize("semitones", [-12, -3.5, 0, 2, 12])
def test_a_pitch_shift_moves_pitch_alone(semitones):
    ratio = round(2 ** (semitones / 12) * 256) / 256
    shifted = shift_pitch(tf.constant(tone(500.0)), float(semitones), FRAME).numpy()
    assert abs(len(shifted) - 2 * RATE) <= 2
    assert pitch_of(shifted[2000:-2000]) == pytest.approx(500 * ratio, abs=1.0)
    assert abs(1200 * np.log2(ratio) - 100 * semitones) < 7  # cents
    train = shift_pitch(tf.constant(bursts(8000, 12)), float(semitones), FRAME).numpy()
    assert period_of(train, 8000) == pytest.approx(8000, rel=0.015)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.37, 2.0])
def test_the_vocoder_is_librosas(factor, shared_data):
    waveform, _ = librosa.load(next(iter(sorted((shared_data / "esc10" / "audio").glob("*.ogg")))), sr=RATE)
    # In double precision: in single librosa's phases, which count whole turns too, are 0.02 radians off after 3 s.
    waveform = waveform[: 3 * RATE].astype(np.float64) / np.abs(waveform).max()
    spectra = librosa.stft(waveform, n_fft=FRAME, hop_length=FRAME // 4)
    expected = librosa.phase_vocoder(spectra, rate=factor, hop_length=FRAME // 4)
    found = phase_vocoder(tf.constant(spectra.T, tf.complex64), factor).numpy().T
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    stretched = stretch_time(tf.constant(waveform, tf.float32), factor, FRAME).numpy()
    reference = librosa.effects.time_stretch(waveform, rate=factor, n_fft=FRAME, hop_length=FRAME // 4)
    assert len(stretched) == len(reference)
    # At the very ends librosa divides by the windows' sum where it is next to nothing.
    inside = slice(FRAME, -2 * FRAME)
    assert np.abs(stretched - reference)[inside].max() < 1e-3


def test_a_factor_of_one_is_the_waveform_itself():
    waveform = np.random.default_rng(0).normal(size=20_001).astype(np.float32)
    np.testing.assert_allclose(stretch_time(tf.constant(waveform), 1.0, FRAME), waveform, atol=1e-3)
    np.testing.assert_array_equal(change_speed(tf.constant(waveform), 1.0), waveform)


def test_what_is_too_long_is_cut_and_what_is_too_short_lies_in_silence():
    ramp = tf.range(1, 11, dtype=tf.float32)
    cuts, places = set(), set()
    for seed in SEEDS:
        cut = fit_anywhere(ramp, 7, seed).numpy()
        np.testing.assert_array_equal(np.diff(cut), np.ones(6))
        cuts.add(int(cut[0]))
        padded = fit_anywhere(ramp, 13, seed).numpy()
        first = int(np.flatnonzero(padded)[0])
        np.testing.assert_array_equal(padded, np.pad(np.arange(1, 11), (first, 3 - first)))
        places.add(first)
    assert cuts == {1, 2, 3, 4}
    assert places == {0, 1, 2, 3}
    np.testing.assert_array_equal(fit_anywhere(ramp, 10, (0, 0)), ramp)


@pytest.mark.parametrize("name", ["speed", "time_stretch", "pitch_shift"])
def test_factors_come_from_the_range(name):
    waveform = tf.constant(tone(500.0, 1.0))
    change = {
        "speed": lambda s: random_speed(waveform, SpeedConfig(factor=(0.8, 1.25)), s),
        "time_stretch": lambda s: random_time_stretch(waveform, RATE, TimeStretchConfig(factor=(1.25, 2.0)), s),
        "pitch_shift": lambda s: random_pitch_shift(waveform, RATE, PitchShiftConfig(semitones=(-4.0, 4.0)), s),
    }[name]
    results = [r.numpy() for r in map(tf.function(change), SEEDS)]
    assert {len(r) for r in results} == {RATE}
    if name == "time_stretch":  # half a second to eight tenths of sound, the rest silence
        heard = [np.count_nonzero(np.abs(r) > 1e-3) / RATE for r in results]
        assert 0.45 < min(heard) < 0.6
        assert 0.7 < max(heard) < 0.85
        begins = [int(np.argmax(np.abs(r) > 0.1)) / RATE for r in results]
        assert min(begins) < 0.1
        assert max(begins) > 0.3
        return
    low, high = {"speed": (400, 625), "pitch_shift": (396.9, 630)}[name]
    pitches = [pitch_of(r) for r in results]
    assert low - 2 < min(pitches) < low * 1.1
    assert high / 1.1 < max(pitches) < high + 2


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_drawn_speeds_keep_the_band_and_fold_nothing_back(factor):
    """Tones, at a share of the lower Nyquist frequency, by their level in the middle of the result."""
    time, lower = np.arange(2 * RATE) / RATE, min(RATE, RATE / factor) / 2
    levels = {}
    for share in (0.1, 0.5, 0.75, 1.01, 1.1):
        if share * lower >= RATE / 2:
            continue
        waveform = np.sin(2 * np.pi * share * lower * time).astype(np.float32)
        result = random_speed(tf.constant(waveform), SpeedConfig(factor=(factor, factor)), (1, 2)).numpy()
        middle = result[RATE - RATE // 4 : RATE + RATE // 4].astype(np.float64)
        levels[share] = 10 * np.log10(2 * np.mean(np.square(middle)) + 1e-12)
        if share < 1:
            drawn = round(factor * 64) / 64
            assert abs(pitch_of(middle) - share * lower * drawn) < 1
    assert all(abs(level) < 0.1 for share, level in levels.items() if share < 1)
    assert all(level < -80 for share, level in levels.items() if share > 1)
    assert len(levels) == (5 if factor > 1 else 3)


def test_frames_of_the_vocoder_are_about_64_milliseconds():
    assert {rate: vocoder_frame_length(rate) for rate in (8_000, 16_000, 22_050, 44_100, 48_000)} == {
        8_000: 512,
        16_000: 1024,
        22_050: 1024,
        44_100: 2048,
        48_000: 4096,
    }
