"""Mixing of examples: what becomes of features, targets and masks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfaudio.augment.mixing import Examples, between_class_mix, cutmix, mix_examples, mixup, next_alike, same_class_mix
from tfaudio.config import AugmentConfig
from tfaudio.config.augment import BetweenClassConfig, CutMixConfig, SameClassConfig

RNG = np.random.default_rng(0)
BATCH, FRAMES, BINS = 64, 20, 3
FEATURES = RNG.normal(size=(BATCH, FRAMES, BINS)).astype(np.float32)
ONE_HOT = np.eye(5, dtype=np.float32)[RNG.integers(0, 5, BATCH)]
MULTI_HOT = (RNG.random((BATCH, 4)) < 0.4).astype(np.float32)
LENGTHS = RNG.integers(1, FRAMES + 1, BATCH)
MASK = np.arange(FRAMES) < LENGTHS[:, None]
IDENTITY = np.eye(BATCH, dtype=np.float32)  # a class of its own for each example: a target tells the shares
NEIGHBOUR = np.arange(BATCH) - 1
FIVES = np.array([5, 6], np.int32)
SIXES = np.array([6, 6], np.int32)


def batch(targets=ONE_HOT, *, masked=False):
    features = FEATURES * MASK[:, :, None] if masked else FEATURES
    return Examples(tf.constant(features), tf.constant(targets), tf.constant(MASK) if masked else None)


def numpy_of(examples):
    return Examples(*(None if x is None else x.numpy() for x in examples))


def test_mixup_mixes_examples_and_targets_alike():
    mixed = numpy_of(mixup(batch(IDENTITY), 0.4, 1.0, FIVES, SIXES))
    share = mixed.targets.diagonal()
    assert share.min() >= 0.5
    assert share.std() > 0.05
    np.testing.assert_allclose(mixed.targets.sum(axis=1), 1.0, atol=1e-6)
    wide = share[:, None, None]
    np.testing.assert_allclose(mixed.features, wide * FEATURES + (1 - wide) * FEATURES[NEIGHBOUR], atol=1e-5)


def test_mixup_draws_as_it_always_did():
    # Results are stored that were made so.
    gammas = tf.random.stateless_gamma([2, BATCH], FIVES, alpha=0.3) + 1e-9
    share = gammas[0] / (gammas[0] + gammas[1])
    share = tf.maximum(share, 1 - share)[:, None]
    expected = share * ONE_HOT + (1 - share) * tf.roll(ONE_HOT, 1, axis=0)
    config = AugmentConfig()
    np.testing.assert_array_equal(mix_examples(batch(), config, FIVES, SIXES).targets, expected)
    masked = mix_examples(batch(masked=True), config, FIVES, SIXES)
    np.testing.assert_array_equal(masked.targets, expected)
    np.testing.assert_array_equal(masked.mask, MASK | MASK[NEIGHBOUR])


def test_mixup_of_a_share_leaves_the_others_alone():
    mixed = numpy_of(mixup(batch(masked=True), 1.0, 0.5, FIVES, SIXES))
    alone = np.all(mixed.features == batch(masked=True).features, axis=(1, 2))
    assert 16 < alone.sum() < 48
    np.testing.assert_array_equal(mixed.targets[alone], ONE_HOT[alone])
    np.testing.assert_array_equal(mixed.mask[alone], MASK[alone])
    np.testing.assert_array_equal(mixed.mask[~alone], (MASK | MASK[NEIGHBOUR])[~alone])


@pytest.mark.parametrize("masked", [False, True])
def test_cutmix_takes_one_stretch_where_both_have_audio_and_its_share_of_the_target(masked):
    examples = numpy_of(batch(IDENTITY, masked=masked))
    mixed = numpy_of(cutmix(batch(IDENTITY, masked=masked), CutMixConfig(probability=1.0), FIVES))
    lengths = LENGTHS if masked else np.full(BATCH, FRAMES)
    shares = []
    for i in range(BATCH):
        taken = np.flatnonzero(np.any(mixed.features[i] != examples.features[i], axis=1))
        shares.append(len(taken) / lengths[i])
        if len(taken):
            assert np.ptp(taken) + 1 == len(taken)  # one stretch
            assert taken[-1] < min(lengths[i], lengths[i - 1])
            np.testing.assert_array_equal(mixed.features[i, taken], examples.features[i - 1, taken])
        expected = np.zeros(BATCH)
        expected[i] += 1 - shares[-1]
        expected[i - 1] += shares[-1]
        np.testing.assert_allclose(mixed.targets[i], expected, atol=1e-6)
    if masked:
        np.testing.assert_array_equal(mixed.mask, MASK)
    else:
        assert min(shares) < 0.1
        assert max(shares) > 0.9
        assert np.mean(shares) == pytest.approx(0.5, abs=0.12)  # Beta(1, 1)


def test_cutmix_of_a_share_leaves_the_others_alone():
    mixed = numpy_of(cutmix(batch(), CutMixConfig(probability=0.5, alpha=50.0), FIVES))
    alone = np.all(mixed.features == FEATURES, axis=(1, 2))
    assert 16 < alone.sum() < 48
    np.testing.assert_array_equal(mixed.targets[alone], ONE_HOT[alone])


@pytest.mark.parametrize("targets", [ONE_HOT, MULTI_HOT], ids=["one-hot", "multi-hot"])
def test_the_next_alike_shares_a_class(targets):
    partners = next_alike(tf.constant(targets)).numpy()
    for i, partner in enumerate(partners):
        alike = [j for j in [*range(i + 1, BATCH), *range(i)] if np.any(targets[j] * targets[i])]
        assert partner == [*alike, i][0]  # an example that shares none is its own


@pytest.mark.parametrize("targets", [ONE_HOT, MULTI_HOT], ids=["one-hot", "multi-hot"])
@pytest.mark.parametrize("masked", [False, True])
def test_within_a_class_examples_mix_and_what_both_are_stays(targets, masked):
    examples = numpy_of(batch(targets, masked=masked))
    mixed = numpy_of(same_class_mix(batch(targets, masked=masked), SameClassConfig(probability=1.0), FIVES))
    if targets is ONE_HOT:
        np.testing.assert_array_equal(mixed.targets, targets)
    partners = next_alike(tf.constant(targets)).numpy()
    shares = []
    for i, partner in enumerate(partners):
        own, other = examples.features[i].ravel(), examples.features[partner].ravel()
        if i == partner:
            np.testing.assert_allclose(mixed.features[i].ravel(), own, atol=1e-6)
            continue
        (a, b), *_ = np.linalg.lstsq(np.stack([own, other], axis=1), mixed.features[i].ravel(), rcond=None)
        assert a + b == pytest.approx(1, abs=1e-4)
        both, mine, its = (
            targets[i] * targets[partner] > 0,
            targets[i] > targets[partner],
            targets[partner] > targets[i],
        )
        assert both.any()
        np.testing.assert_array_equal(mixed.targets[i][both], 1)
        np.testing.assert_allclose(mixed.targets[i][mine], a, atol=1e-4)
        np.testing.assert_allclose(mixed.targets[i][its], b, atol=1e-4)
        np.testing.assert_allclose(a * own + b * other, mixed.features[i].ravel(), atol=1e-4)
        shares.append(a)
    assert min(shares) >= 0.5 - 1e-4
    assert max(shares) > 0.9
    if masked:
        np.testing.assert_array_equal(mixed.mask, MASK | MASK[partners])


def test_a_batch_of_one_mixes_with_itself():
    one = Examples(tf.constant(FEATURES[:1]), tf.constant(ONE_HOT[:1]), tf.constant(MASK[:1]))
    config = AugmentConfig().override({"same_class.probability": 1.0, "cutmix.probability": 1.0})
    mixed = mix_examples(one, config, FIVES, SIXES)
    for before, after in zip(one[:3], mixed[:3], strict=True):  # there is no text
        np.testing.assert_allclose(tf.cast(after, tf.float32), tf.cast(before, tf.float32), atol=1e-6)


@pytest.mark.parametrize("targets", [ONE_HOT, MULTI_HOT], ids=["one-hot", "multi-hot"])
def test_all_mixtures_together_keep_targets_a_mixture(targets):
    changes = {"same_class.probability": 0.5, "cutmix.probability": 0.5, "mixup_probability": 0.5, "mixup_alpha": 1.0}
    config = AugmentConfig().override(changes)
    function = tf.function(lambda examples, a, b: mix_examples(examples, config, a, b))
    mixed = numpy_of(function(batch(targets, masked=True), FIVES, SIXES))
    assert np.isfinite(mixed.features).all()
    assert mixed.targets.min() >= 0
    assert mixed.targets.max() <= 1 + 1e-6
    # Shares of three neighbours at most: those of the example, of its neighbour, and of that one's.
    if targets is ONE_HOT:
        np.testing.assert_allclose(mixed.targets.sum(axis=1), 1, atol=1e-6)
        reach = np.max([np.roll(targets, n, axis=0) for n in range(3)], axis=0)
        assert not mixed.targets[reach == 0].any()
    assert not mixed.features[~mixed.mask].any()
    eager = numpy_of(mix_examples(batch(targets, masked=True), config, FIVES, SIXES))
    for a, b in zip(mixed, eager, strict=True):
        np.testing.assert_allclose(np.float32(a), np.float32(b), atol=1e-6)


def between_class(waveforms, targets, **settings):
    config = BetweenClassConfig(**{"probability": 1.0, **settings})
    mixed = between_class_mix(tf.constant(waveforms, tf.float32), tf.constant(targets), config, FIVES)
    return [x.numpy() for x in mixed]


def test_between_classes_the_label_tells_the_shares_of_amplitude():
    # Tones of other frequencies for each example, 60 dB apart: the mixture's spectrum tells what there is of each.
    samples = 512
    levels = 10.0 ** RNG.uniform(-3, 0, BATCH)
    tones = levels[:, None] * np.cos(2 * np.pi * (1 + np.arange(BATCH))[:, None] * np.arange(samples) / samples)
    mixed, targets = between_class(tones, IDENTITY)
    amplitudes = np.abs(np.fft.rfft(mixed, axis=1))[:, 1 : BATCH + 1] * 2 / samples
    share = targets.diagonal()
    assert share.min() >= 0.5
    assert share.std() > 0.05
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(amplitudes / amplitudes.sum(axis=1, keepdims=True), targets, atol=1e-4)


def test_a_mixture_between_classes_is_as_loud_as_its_parts():
    noise = 0.1 * RNG.normal(size=(BATCH, 20_000))
    mixed, _ = between_class(noise, IDENTITY)
    np.testing.assert_allclose(mixed.std(axis=1), 0.1, rtol=0.05)


def test_between_class_mixing_of_a_share_leaves_the_others_alone():
    noise = RNG.normal(size=(BATCH, 100)).astype(np.float32)
    mixed, targets = between_class(noise, ONE_HOT, probability=0.5)
    alone = np.all(mixed == noise, axis=1)
    assert 16 < alone.sum() < 48
    np.testing.assert_array_equal(targets[alone], ONE_HOT[alone])
    assert np.abs(mixed[~alone] - noise[~alone]).max(axis=1).min() > 0


def test_beside_silence_a_sound_is_as_loud_as_its_share():
    waveforms = np.zeros([4, 100], np.float32)
    waveforms[::2] = RNG.uniform(-1, 1, (2, 100))
    mixed, shares = between_class(waveforms, np.eye(4, dtype=np.float32))
    own = shares.diagonal()
    heard = np.where(np.arange(4) % 2 == 0, own, 1 - own)  # the share of whichever of the two is no silence
    norm = np.sqrt(own**2 + (1 - own) ** 2)
    expected = (heard / norm)[:, None] * waveforms[[0, 0, 2, 2]]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
