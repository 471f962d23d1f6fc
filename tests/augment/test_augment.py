"""Augmentation: what each change does to a signal, and that a seed decides all of it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfaudio.augment.spectrogram import mixup, spec_augment
from tfaudio.augment.waveform import augment_waveform, gain, random_start, time_shift, white_noise
from tfaudio.config import AugmentConfig

TONE = np.sin(np.arange(16_000) * 0.05).astype(np.float32)
SEEDS = [(7, n) for n in range(40)]


def test_one_seed_gives_one_result_eagerly_and_in_a_pipeline():
    config = AugmentConfig(noise_probability=1.0)
    eager = augment_waveform(tf.constant(TONE), config, (3, 4)).numpy()
    dataset = tf.data.Dataset.from_tensors(TONE).map(lambda w: augment_waveform(w, config, (3, 4)))
    np.testing.assert_allclose(next(iter(dataset)).numpy(), eager, atol=1e-6)
    assert np.abs(augment_waveform(tf.constant(TONE), config, (3, 5)).numpy() - eager).max() > 0.01


def test_all_off_changes_nothing():
    config = AugmentConfig(time_shift=0, gain_db=0, noise_probability=0, time_masks=0, frequency_masks=0, mixup_alpha=0)
    np.testing.assert_array_equal(augment_waveform(tf.constant(TONE), config, (0, 0)), TONE)
    features = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    np.testing.assert_array_equal(spec_augment(tf.constant(features), config, (0, 0)), features)


def test_a_shift_is_a_rotation_within_bounds():
    ramp = np.arange(1000, dtype=np.float32)
    shifts = []
    for seed in SEEDS:
        shifted = time_shift(tf.constant(ramp), 0.1, seed).numpy()
        first = int(np.flatnonzero(shifted == 0)[0])
        np.testing.assert_array_equal(shifted, np.roll(ramp, first))
        shifts.append(first if first < 500 else first - 1000)
    assert -100 <= min(shifts) < -50
    assert 50 < max(shifts) <= 100


def test_gain_is_uniform_in_decibels():
    levels = [20 * np.log10(gain(tf.constant(TONE), 6.0, seed).numpy().std() / TONE.std()) for seed in SEEDS]
    assert -6 <= min(levels) < -4
    assert 4 < max(levels) <= 6


def test_noise_has_the_ratio_asked_for():
    for seed in SEEDS[:5]:
        noise = white_noise(tf.constant(TONE), 1.0, (10.0, 10.0), seed).numpy() - TONE
        assert 10 * np.log10(np.mean(TONE**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.3)
        assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.05  # white
    chosen = [np.any(white_noise(tf.constant(TONE), 0.5, (10.0, 10.0), seed).numpy() != TONE) for seed in SEEDS]
    assert 8 < sum(chosen) < 32
    np.testing.assert_array_equal(white_noise(tf.zeros(100), 1.0, (10.0, 10.0), (0, 0)), np.zeros(100))


def test_crops_start_anywhere_inside():
    starts = [int(random_start(130, 100, seed)) for seed in SEEDS]
    assert 0 <= min(starts) < 8
    assert 22 < max(starts) <= 30
    assert int(random_start(80, 100, (0, 0))) == 0


def test_masks_are_stretches_of_bounded_width():
    config = AugmentConfig(time_masks=1, time_mask_fraction=0.2, frequency_masks=1, frequency_mask_fraction=0.25)
    masked = spec_augment(tf.ones([64, 50, 40]), config, (1, 2)).numpy()
    assert set(np.unique(masked)) == {0.0, 1.0}
    frames, bins = masked.max(axis=2) == 0, masked.max(axis=1) == 0
    for hidden, most in ((frames, 10), (bins, 10)):
        widths = hidden.sum(axis=1)
        assert widths.max() <= most
        assert widths.max() > most // 2
        assert all(np.ptp(np.flatnonzero(row)) + 1 == row.sum() for row in hidden if row.any())  # one stretch each
        assert len({tuple(row) for row in hidden}) > 10  # drawn anew for each example


def test_mixup_mixes_examples_and_targets_alike():
    features = np.random.default_rng(0).normal(size=(16, 6, 4)).astype(np.float32)
    targets = np.eye(16, dtype=np.float32)
    mixed, mixed_targets, _ = (
        np.asarray(x) if x is not None else None for x in mixup(features, targets, None, 0.4, (5, 6))
    )
    share = mixed_targets.diagonal()
    assert share.min() >= 0.5
    assert share.std() > 0.05
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1.0, atol=1e-6)
    neighbours = features[np.arange(16) - 1]
    np.testing.assert_allclose(
        mixed, share[:, None, None] * features + (1 - share)[:, None, None] * neighbours, atol=1e-5
    )


def test_a_mixture_has_audio_where_either_has():
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
    _, _, mixed = mixup(np.ones((2, 4, 3), np.float32), np.eye(2, dtype=np.float32), tf.constant(mask), 0.4, (0, 0))
    np.testing.assert_array_equal(mixed, [[1, 1, 0, 0], [1, 1, 0, 0]])
