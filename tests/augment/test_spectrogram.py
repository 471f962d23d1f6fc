"""Changes of features: masks, warps, shifts and gains, with and without recordings of unequal length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfaudio.augment.spectrogram import change_features, filter_augment, frequency_shift, spec_augment, time_warp
from tfaudio.config import AugmentConfig
from tfaudio.config.augment import FilterAugmentConfig

NOISE = np.random.default_rng(0).normal(size=(64, 50, 40)).astype(np.float32)
LENGTHS = np.random.default_rng(1).integers(1, 51, 64)
MASK = np.arange(50) < LENGTHS[:, None]


def test_all_off_changes_nothing():
    config = AugmentConfig(time_masks=0, frequency_masks=0)
    np.testing.assert_array_equal(spec_augment(tf.constant(NOISE), config, (0, 0)), NOISE)
    np.testing.assert_array_equal(change_features(tf.constant(NOISE), None, config, (0, 0)), NOISE)


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


def test_default_masks_are_drawn_as_they_always_were():
    # Results are stored that were made so: time from the first half of the seed, frequency from the second.
    seed = tf.constant([3, 4], tf.int64)
    expected = np.ones((64, 50, 40), np.float32)
    for axis, half in enumerate(tf.unstack(tf.random.experimental.stateless_split(seed, 2))):
        width_seed, start_seed = tf.unstack(tf.random.experimental.stateless_split(half, 2))
        size = (50, 40)[axis]
        width = tf.random.stateless_uniform([64, 2, 1], width_seed, 0.0, np.float32(0.12) * size).numpy()[..., 0]
        start = tf.random.stateless_uniform([64, 2, 1], start_seed).numpy()[..., 0] * (size - width)
        for example, stripe in np.ndindex(64, 2):
            first = int(start[example, stripe])
            cells = slice(first, first + int(width[example, stripe]))
            if axis == 0:
                expected[example, cells] = 0
            else:
                expected[example, :, cells] = 0
    np.testing.assert_array_equal(spec_augment(tf.ones([64, 50, 40]), AugmentConfig(), seed), expected)


def test_time_masks_are_a_share_of_each_examples_own_length():
    config = AugmentConfig(time_masks=1, time_mask_fraction=0.4, frequency_masks=0)
    mask = tf.constant(MASK)
    hidden = spec_augment(tf.ones([64, 50, 40]), config, (1, 2), mask).numpy().max(axis=2) == 0
    assert not (hidden & ~MASK).any()
    shares = hidden.sum(axis=1) / LENGTHS
    assert shares.max() <= 0.4
    short = LENGTHS < 25
    assert np.mean(shares[short] > 0.1) > 0.4
    # An example's masks do not hang on how long its neighbours are.
    padded = np.pad(MASK, [(0, 0), (0, 30)])
    longer = spec_augment(tf.ones([64, 80, 40]), config, (1, 2), tf.constant(padded)).numpy().max(axis=2) == 0
    np.testing.assert_array_equal(longer[:, :50], hidden)


def test_a_shift_moves_bins_and_leaves_the_mean_behind():
    shifted = frequency_shift(tf.constant(NOISE), 3, (1, 2)).numpy()
    found = []
    for before, after in zip(NOISE, shifted, strict=True):
        for shift in range(-3, 4):
            expected = np.zeros_like(before)
            expected[:, max(shift, 0) : 40 + min(shift, 0)] = before[:, max(-shift, 0) : 40 - max(shift, 0)]
            if np.array_equal(after, expected):
                found.append(shift)
    assert len(found) == 64
    assert set(found) == set(range(-3, 4))
    everything = frequency_shift(tf.ones([64, 5, 2]), 100, (1, 2)).numpy()  # more than there are bins
    assert set(np.unique(everything)) <= {0.0, 1.0}


@pytest.mark.parametrize("masked", [False, True])
def test_a_warp_moves_instants_in_order_and_leaves_the_ends(masked):
    # A ramp over time shows for each frame which instant it was taken from.
    ramp = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None], (64, 50, 2)).copy()
    mask = MASK if masked else np.ones_like(MASK)
    ramp[~mask] = -1
    warped = time_warp(tf.constant(ramp), tf.constant(MASK) if masked else None, 0.2, (5, 6)).numpy()
    np.testing.assert_array_equal(warped[..., 0], warped[..., 1])
    farthest = []
    for length, source in zip(mask.sum(axis=1), warped[..., 0], strict=True):
        np.testing.assert_array_equal(source[length:], -1)  # silence stays
        audio = source[:length]
        assert audio[0] == pytest.approx(0, abs=1e-3)
        assert audio[-1] == pytest.approx(length - 1, abs=1e-3)
        assert np.all(np.diff(audio) >= -1e-3)
        bends = np.flatnonzero(np.abs(np.diff(audio, 2)) > 1e-3)
        assert len(bends) <= 2  # two straight lines
        moved = audio - np.arange(length)
        assert np.abs(moved).max() <= 0.2 * (length - 1) + 1e-3
        farthest.append(moved[np.argmax(np.abs(moved))] / max(length - 1, 1))
    assert max(farthest) > 0.12
    assert min(farthest) < -0.12


def test_a_warp_at_its_widest_stays_finite():
    assert np.isfinite(time_warp(tf.constant(NOISE), tf.constant(MASK), 0.5, (5, 6))).all()
    assert np.isfinite(time_warp(tf.constant(NOISE[:, :1]), None, 0.5, (5, 6))).all()


def test_gains_are_straight_lines_between_random_bands():
    config = FilterAugmentConfig(probability=1.0, bands=(2, 4), deviations=1.5)
    features = np.zeros((256, 3, 401), np.float32)
    gains = filter_augment(tf.constant(features), config, (8, 9)).numpy()
    np.testing.assert_array_equal(gains, gains[:, :1] * np.ones((1, 3, 1)))  # the same in all frames
    curves = gains[:, 0]
    assert np.abs(curves).max() <= 1.5
    assert np.abs(curves).max() > 1.4
    bands = []
    for curve in curves:
        bent = np.flatnonzero(np.abs(np.diff(curve, 2)) > 1e-4)
        edges = [0, *(bent[np.diff(bent, prepend=-9) > 2] + 1), 400]  # an edge between two bins bends at both
        bands.append(len(edges) - 1)
        for first, last in itertools.pairwise(edges):
            assert last - first >= 400 * 0.5 / 4 - 3
    counts = np.bincount(bands, minlength=5)[1:5]
    assert counts[0] <= 5  # where a gain lies on the line of its neighbours
    assert counts[1:].min() > 50


def test_gains_are_added_to_a_share_of_the_examples():
    config = FilterAugmentConfig(probability=0.25, deviations=1.0)
    changed = filter_augment(tf.constant(NOISE), config, (8, 9)).numpy() - NOISE
    untouched = [not row.any() for row in changed]
    assert 36 < sum(untouched) < 60
    np.testing.assert_allclose(changed, changed[:, :1] * np.ones((1, 50, 1)), atol=1e-5)


@pytest.mark.parametrize("setting", [{"frequency_shift": 5}, {"time_warp": 0.3}, {"filter_augment.probability": 1.0}])
def test_silence_behind_a_recording_stays_zero(setting):
    config = AugmentConfig().override(setting)
    padded = NOISE * MASK[:, :, None]
    changed = change_features(tf.constant(padded), tf.constant(MASK), config, (1, 2)).numpy()
    assert not changed[~MASK].any()
    assert np.abs(changed - padded).max() > 0.1
    # What lies behind has no say in the rest.
    other = np.where(MASK[:, :, None], NOISE, 7).astype(np.float32)
    again = change_features(tf.constant(other), tf.constant(MASK), config, (1, 2)).numpy()
    np.testing.assert_allclose(again, changed, atol=1e-6)


def test_a_seed_decides_and_each_change_has_its_own():
    config = AugmentConfig(frequency_shift=4, time_warp=0.2).override({"filter_augment.probability": 0.5})
    eager = change_features(tf.constant(NOISE), None, config, tf.constant([1, 2])).numpy()
    graph = tf.function(lambda x, s: change_features(x, None, config, s))
    np.testing.assert_allclose(graph(NOISE, np.array([1, 2], np.int32)), eager, atol=1e-5)
    assert np.abs(graph(NOISE, np.array([1, 3], np.int32)) - eager).max() > 0.1
