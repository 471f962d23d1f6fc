"""The pieces of transformers: patch-out, positions and class tokens."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.models.test_models import SMALL, build
from tfaudio.models.ast import Patchout
from tfaudio.models.encoder import ClassToken
from tfaudio.models.layers import AutoPooling, SinusoidalPosition

PATCHES = np.tile(np.arange(1.0, 41.0, dtype=np.float32)[None, :, None], (3, 1, 2))


def test_patchout_keeps_a_share_of_whole_patches_and_none_twice():
    kept = np.asarray(Patchout(0.3, seed=1)(PATCHES, training=True))
    assert kept.shape == (3, 28, 2)
    assert (kept[..., 0] == kept[..., 1]).all()
    for row in kept[..., 0]:
        assert set(row) < set(range(1, 41))
        assert len(set(row)) == 28
    assert set(kept[0, :, 0]) != set(kept[1, :, 0])


def test_patchout_leaves_out_the_same_share_of_short_clips():
    mask = np.arange(40) < np.array([[40], [10], [1]])
    kept, audio = Patchout(0.3, seed=1)(PATCHES, mask, training=True)
    assert np.asarray(audio).sum(axis=1).tolist() == [28, 7, 1]
    for row, own, length in zip(np.asarray(kept)[..., 0], np.asarray(audio), (40, 10, 1), strict=True):
        assert len(set(row[own])) == own.sum()
        assert row[own].max() <= length


def test_patchout_follows_its_seed_and_is_for_training_alone():
    first, again, other = (np.asarray(Patchout(0.5, seed=seed)(PATCHES, training=True)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    layer = Patchout(0.5, seed=1)
    np.testing.assert_array_equal(layer(PATCHES), PATCHES)
    assert (np.asarray(layer(PATCHES, training=True)) != np.asarray(layer(PATCHES, training=True))).any()
    np.testing.assert_array_equal(layer(PATCHES, np.ones((3, 40), bool))[1], True)


def test_patchout_makes_training_differ_and_nothing_else():
    model = build("ast", {**SMALL["ast"], "patchout": 0.5, "dropout": 0.0, "seed": 3})
    plain = build("ast", {**SMALL["ast"], "dropout": 0.0})
    plain.set_weights(model.get_weights())
    features = np.random.default_rng(0).normal(size=(2, 60, 40)).astype(np.float32)
    np.testing.assert_array_equal(model(features), plain(features))
    assert np.abs(model(features, training=True) - plain(features, training=True)).max() > 1e-4


def test_positions_are_those_of_the_frame_in_every_row():
    rows = np.asarray(SinusoidalPosition()(np.zeros((1, 7, 3, 4), np.float32)))
    angles = np.arange(7)[:, None] / [1.0, 100.0]
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for row in range(3):
        np.testing.assert_allclose(rows[0, :, row], expected, atol=1e-6)


def test_a_class_token_stands_first_in_every_clip():
    layer = ClassToken()
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    tokens = np.asarray(layer(x))
    np.testing.assert_array_equal(tokens[:, 1:], x)
    np.testing.assert_array_equal(tokens[:, 0], np.tile(layer.token.numpy()[0], (2, 1)))


@pytest.mark.parametrize("name", ["kwt", "ast"])
def test_order_matters_to_a_transformer(name):
    model = build(name, SMALL[name])
    features = np.random.default_rng(0).normal(size=(1, 64, 40)).astype(np.float32)
    assert np.abs(model(features) - model(features[:, ::-1])).max() > 1e-4


def test_auto_pooling_goes_from_the_mean_to_the_extremes():
    layer = AutoPooling()
    x = np.random.default_rng(0).normal(size=(4, 9, 3)).astype(np.float32)
    mask = np.arange(9) < np.array([[9], [5], [1], [7]])
    clips = [row[:n] for row, n in zip(x, (9, 5, 1, 7), strict=True)]
    np.testing.assert_allclose(layer(x, mask), [clip.mean(axis=0) for clip in clips], atol=1e-6)
    layer.sharpness.assign([0.0, 500.0, -500.0])
    expected = [[clip[:, 0].mean(), clip[:, 1].max(), clip[:, 2].min()] for clip in clips]
    np.testing.assert_allclose(layer(x, mask), expected, atol=1e-3)
    # In between, the mean weighted by exponentials of the values themselves.
    layer.sharpness.assign([1.0, 2.0, -1.0])
    weights = np.exp(x[0].astype(np.float64) * [1.0, 2.0, -1.0])
    np.testing.assert_allclose(layer(x)[0], (weights * x[0]).sum(0) / weights.sum(0), atol=1e-5)


def test_a_seed_is_part_of_a_saved_model(tmp_path):
    model = build("ast", {**SMALL["ast"], "patchout": 0.5, "seed": 3})
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").get_layer("patchout")
    assert (again.rate, again.seed) == (0.5, 3)
