"""Dropping the sound or the text of training examples, and what becomes of texts where examples are mixed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfaudio.augment.inputs import drop_inputs
from tfaudio.augment.mixing import Examples, cutmix, mixup, same_class_mix
from tfaudio.config import TextConfig
from tfaudio.config.augment import CutMixConfig, SameClassConfig

COUNT = 4_000


def batch(count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 3, 2)).astype(np.float32), rng.integers(1, 9, (count, 4)).astype(np.int32)


def dropped(audio: float, text: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    features, tokens = batch()
    config = TextConfig(length=4, audio_dropout=audio, text_dropout=text)
    left, told = (x.numpy() for x in drop_inputs(features, tokens, config, tf.constant([seed, 0], tf.int64)))
    without_sound, without_text = (left == 0).all(axis=(1, 2)), (told == 0).all(axis=1)
    np.testing.assert_array_equal(left[~without_sound], features[~without_sound])
    np.testing.assert_array_equal(told[~without_text], tokens[~without_text])
    return left, told, without_sound, without_text


def test_shares_are_those_asked_for_and_none_loses_both():
    _, _, without_sound, without_text = dropped(0.2, 0.3)
    assert not (without_sound & without_text).any()
    # Five standard deviations of a share of 4,000.
    assert without_sound.mean() == pytest.approx(0.2, abs=0.032)
    assert without_text.mean() == pytest.approx(0.3, abs=0.037)


def test_the_seed_decides_and_zero_and_one_are_exact():
    first, again, other = (dropped(0.2, 0.3, seed)[2] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    for audio, text in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        _, _, without_sound, without_text = dropped(audio, text)
        assert (without_sound.mean(), without_text.mean()) == (audio, text)


def test_what_has_one_input_keeps_it():
    features, tokens = batch(50)
    seed = tf.constant([0, 0], tf.int64)
    left, _ = drop_inputs(features, 0 * tokens, TextConfig(length=4, audio_dropout=1.0, text_dropout=0.0), seed)
    np.testing.assert_array_equal(left, features)
    _, told = drop_inputs(0 * features, tokens, TextConfig(length=4, audio_dropout=0.0, text_dropout=1.0), seed)
    np.testing.assert_array_equal(told, tokens)


def mixed(kind: str) -> tuple[Examples, Examples]:
    """Examples of 20 frames, each of which holds its own number, as its tokens do; and their mixtures."""
    count = 32
    number = np.arange(1, count + 1)
    features = np.broadcast_to(number[:, None, None], (count, 20, 2)).astype(np.float32)
    tokens = np.broadcast_to(number[:, None], (count, 4)).astype(np.int32)
    targets = tf.one_hot(number - 1, count) if kind != "same_class" else tf.one_hot(number % 2, 2)
    given = Examples(tf.constant(features), targets, None, tf.constant(tokens))
    seeds = [tf.constant([3, i], tf.int64) for i in range(2)]
    if kind == "mixup":
        return given, mixup(given, 1.0, 1.0, *seeds)
    if kind == "cutmix":
        return given, cutmix(given, CutMixConfig(probability=1.0), seeds[0])
    return given, same_class_mix(given, SameClassConfig(probability=1.0), seeds[0])


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "same_class"])
def test_a_mixture_has_the_text_of_its_larger_part(kind):
    given, made = mixed(kind)
    assert made.tokens.shape == given.tokens.shape
    taken = made.tokens.numpy()[:, 0] - 1
    if kind == "same_class":
        np.testing.assert_array_equal(taken, np.arange(32))
        return
    share = made.targets.numpy()
    np.testing.assert_allclose(share[np.arange(32), taken], share.max(axis=1), atol=1e-6)
    assert (taken != np.arange(32)).any() == (kind == "cutmix")


def test_without_texts_there_are_none_after():
    given, _ = mixed("mixup")
    seed = tf.constant([3, 1], tf.int64)
    for made in (mixup(given._replace(tokens=None), 1.0, 1.0, seed, seed),):
        assert made.tokens is None
