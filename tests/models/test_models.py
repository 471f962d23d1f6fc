"""Every registered model: masks, lengths, saving, and what it reports."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tfaudio.config import ModelConfig
from tfaudio.errors import TfaudioError
from tfaudio.models import MODELS, build_model

BINS, CLASSES = 40, 3
ARCHITECTURES = [pytest.param(name, {}, id=name) for name in MODELS]
ARCHITECTURES += [pytest.param(name, {"causal": True}, id=f"{name}, causal") for name in ("ds_cnn", "bc_resnet")]


def _twins(name: str, options: dict[str, Any]) -> tuple[keras.Model, keras.Model]:
    """A masked and an unmasked model with the same weights, none of them at its neutral starting value."""
    rng = np.random.default_rng(0)
    config = ModelConfig(name=name, options=options)
    masked = build_model(config, input_shape=(None, BINS), num_classes=CLASSES, masked=True)
    plain = build_model(config, input_shape=(None, BINS), num_classes=CLASSES)
    for weight in masked.weights:
        if any(part in weight.path for part in ("moving", "gamma", "beta", "bias")):
            weight.assign(rng.uniform(0.2, 1.0, weight.shape))
    plain.set_weights(masked.get_weights())
    return masked, plain


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_padding_never_changes_the_logits(name, options):
    masked, plain = _twins(name, options)
    rng = np.random.default_rng(1)
    for frames in (1, 2, 3, 7, 30, 31):
        features = rng.normal(size=(2, frames, BINS)).astype(np.float32)
        expected = plain(features).numpy()
        for padding in (0, 1, 2, 3, 3 * frames):
            total = frames + padding
            padded = np.full((2, total, BINS), 1e3, np.float32)  # what lies under the mask must not matter
            padded[:, :frames] = features
            mask = np.tile(np.arange(total) < frames, (2, 1))
            np.testing.assert_allclose(masked({"features": padded, "mask": mask}), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_a_short_example_beside_a_long_one_gets_its_own_logits(name, options):
    masked, plain = _twins(name, options)
    rng = np.random.default_rng(2)
    lengths = [9, 40, 1]
    features = rng.normal(size=(3, 40, BINS)).astype(np.float32)
    mask = np.arange(40) < np.array(lengths)[:, None]
    together = masked({"features": features, "mask": mask}).numpy()
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(plain(features[row : row + 1, :length])[0], together[row], atol=1e-4)


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_training_statistics_leave_padding_out(name, options):
    # One step on padded data must move the running statistics just as one on the bare data does.
    masked, plain = _twins(name, {**options, "dropout": 0.0})  # which would draw other channels for each
    features = np.random.default_rng(3).normal(size=(4, 16, BINS)).astype(np.float32)
    padded = np.concatenate([features, np.full((4, 16, BINS), 50.0, np.float32)], axis=1)
    mask = np.tile(np.arange(32) < 16, (4, 1))
    plain(features, training=True)
    masked({"features": padded, "mask": mask}, training=True)
    moved = [w for w in plain.weights if "moving" in w.path]
    assert moved
    for ours, theirs in zip([w for w in masked.weights if "moving" in w.path], moved, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_a_batch_of_one_equals_its_row(name, options):
    _, plain = _twins(name, options)
    features = np.random.default_rng(4).normal(size=(5, 20, BINS)).astype(np.float32)
    np.testing.assert_allclose(plain(features[2:3])[0], plain(features)[2], atol=1e-5)


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
@pytest.mark.parametrize("masked", [False, True])
def test_models_are_functional_and_survive_saving(name, options, masked, tmp_path):
    model = build_model(
        ModelConfig(name=name, options=options), input_shape=(None, BINS), num_classes=CLASSES, masked=masked
    )
    assert isinstance(model, keras.Model)
    assert model.output_shape == (None, CLASSES)
    assert model.output_names == ["logits"]
    features = np.random.default_rng(5).normal(size=(2, 12, BINS)).astype(np.float32)
    inputs = {"features": features, "mask": np.ones((2, 12), bool)} if masked else features
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), model(inputs))


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_models_learn(name, options):
    # Loud low bins or loud high bins: a few steps are enough, unless gradients do not reach the weights.
    keras.utils.set_random_seed(0)
    if name == "bc_resnet":
        options = {**options, "sub_bands": 1}  # with five, building the graph takes most of a minute
    model = build_model(ModelConfig(name=name, options=options), input_shape=(None, BINS), num_classes=2)
    before = [w.numpy() for w in model.trainable_weights]
    rng = np.random.default_rng(6)
    targets = np.arange(64) % 2
    features = rng.normal(size=(64, 16, BINS)).astype(np.float32)
    features[:, :, : BINS // 2] += 2.0 * targets[:, None, None]
    model.compile(keras.optimizers.Adam(4e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(features, targets, epochs=8, batch_size=16, verbose=0)
    assert (model.predict(features, verbose=0).argmax(axis=1) == targets).mean() > 0.9
    # The biases of attention's keys cancel in the softmax and are the only weights that may stay.
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.abs(weight.numpy() - old).max() > 0, weight.path


def test_options_reach_the_builder_and_typos_raise():
    small = build_model(ModelConfig(name="cnn", options={"filters": [8, 8]}), input_shape=(None, 8), num_classes=2)
    assert small.count_params() < 1000
    with pytest.raises(TfaudioError, match="Did you mean 'filters'"):
        build_model(ModelConfig(name="cnn", options={"filter": [8]}), input_shape=(None, 8), num_classes=2)
    with pytest.raises(TfaudioError, match="Did you mean 'attention'"):
        build_model(ModelConfig(name="atention"), input_shape=(None, 8), num_classes=2)
    with pytest.raises(TfaudioError, match="must be a positive integer"):
        build_model(ModelConfig(name="attention", options={"width": 0}), input_shape=(None, 8), num_classes=2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnn", {"filters": []}, r"filters of 'cnn' must be a list such as \[32, 64\], not \[\]"),
        ("cnn", {"filters": "ab"}, "filters of 'cnn' must be a list"),
        ("cnn", {"filters": 8}, "filters of 'cnn' must be a list"),
        ("cnn", {"filters": [8.5]}, r"filters\[0\] of 'cnn' must be a positive integer"),
        ("cnn", {"filters": [8, True]}, r"filters\[1\] of 'cnn' must be a positive integer"),
        ("cnn", {"dropout": 2}, r"dropout of 'cnn' must be a number in \[0, 1\), not 2"),
        ("cnn", {"dropout": "x"}, "dropout of 'cnn' must be a number"),
        ("attention", {"dropout": float("nan")}, "dropout of 'attention' must be a number"),
        ("attention", {"width": 7}, r"width of 'attention' must be a multiple of 2 \* heads \(8\), not 7"),
        ("attention", {"width": "a"}, "width of 'attention' must be a positive integer"),
        ("attention", {"depth": None}, "depth of 'attention' must be a positive integer"),
        ("ds_cnn", {"causal": "yes"}, "causal of 'ds_cnn' must be true or false, not 'yes'"),
        ("bc_resnet", {"causal": 1}, "causal of 'bc_resnet' must be true or false, not 1"),
        ("attention", {"width": 10**20}, "width of 'attention' must be a positive integer up to"),
    ],
)
def test_options_that_do_not_fit_are_named(name, options, message):
    with pytest.raises(TfaudioError, match=rf"^model\.options\.{message}"):
        build_model(ModelConfig(name=name, options=options), input_shape=(None, 8), num_classes=2)


@pytest.mark.parametrize("name", ["ds_cnn", "bc_resnet"])
def test_a_causal_model_never_looks_ahead(name):
    """Of all frames before the pooling: what comes later changes none of them."""
    _, plain = _twins(name, {"causal": True})
    pooling = next(op for op in reversed(plain.operations) if type(op).__name__ == "Mean" and op.axis == [1])
    frames = keras.Model(plain.inputs, pooling.input)
    features = np.random.default_rng(7).normal(size=(1, 40, BINS)).astype(np.float32)
    whole = frames(features).numpy()
    for heard in (1, 2, 13, 39):
        later = features.copy()
        later[:, heard:] = 1e3
        np.testing.assert_array_equal(frames(later).numpy()[:, :heard], whole[:, :heard])
    assert np.abs(frames(later).numpy()[:, 39:] - whole[:, 39:]).max() > 1e-4
