"""YAMNet against one of tf-keras, made as published, through a weights file of the published layout."""

from __future__ import annotations

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_models import CLASSES, build
from tfaudio.config import FrontEndConfig, ModelConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.front_end import compute_features
from tfaudio.models import build_model
from tfaudio.recipes import recipe

tf_keras = pytest.importorskip("tf_keras")

BINS = 64


def _reference(classes=521):
    """Its layers, their names and settings, as research/audioset/yamnet has them; random weights."""
    layers = tf_keras.layers
    patch = layers.Input((96, BINS))
    x = layers.Reshape((96, BINS, 1))(patch)

    def finish(x, name, relu):
        x = layers.BatchNormalization(scale=False, epsilon=1e-4, name=f"{name}/bn")(x)
        return layers.ReLU(name=relu)(x)

    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="layer1/conv")(x)
    x = finish(x, "layer1/conv", "layer1/relu")
    channels = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    for number, (before, after) in enumerate(itertools.pairwise([64, *channels]), 2):
        name, stride = f"layer{number}", 2 if after > before else 1
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"{name}/depthwise_conv")(x)
        x = finish(x, f"{name}/depthwise_conv", f"{name}/depthwise_conv/relu")
        x = layers.Conv2D(after, 1, padding="same", use_bias=False, name=f"{name}/pointwise_conv")(x)
        x = finish(x, f"{name}/pointwise_conv", f"{name}/pointwise_conv/relu")
    embedding = layers.GlobalAveragePooling2D()(x)
    scores = layers.Activation("sigmoid")(layers.Dense(classes, name="logits")(embedding))
    return tf_keras.Model(patch, scores), tf_keras.Model(patch, embedding)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file as yamnet.h5 is, and the network that wrote it."""
    tf_keras.utils.set_random_seed(0)
    network, embedding = _reference()
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if weight.shape.rank == 1:  # of normalisations: none at its neutral starting value, none like another
            weight.assign(rng.uniform(0.2, 1.0, weight.shape))
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.h5"
    network.save_weights(path)
    return str(path), embedding


def _yamnet(**options):
    config = ModelConfig(name="yamnet", options={"dropout": 0.0, **options})
    return build_model(config, input_shape=(None, BINS), num_classes=CLASSES)


def test_published_weights_give_the_published_embeddings(published):
    path, embedding = published
    model = _yamnet(weights=path, trained_stages=0)
    log_mel = np.random.default_rng(1).uniform(-6.9, 2.0, (2, 150, BINS)).astype(np.float32)
    filled = np.full((2, 192, BINS), math.log(0.001), np.float32)  # the last patch goes on as silence
    filled[:, :150] = log_mel
    expected = embedding(filled.reshape(4, 96, BINS)).numpy().reshape(2, 2, 1024)
    patches = keras.Model(model.input, model.get_layer("patches").output)
    scale = np.abs(expected).mean()
    assert scale > 0
    np.testing.assert_allclose(patches(log_mel) / scale, expected / scale, rtol=1e-3, atol=1e-3)
    assert [w.path for w in model.trainable_weights] == ["logits/kernel", "logits/bias"]
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(
        model(log_mel) / scale, (expected.mean(axis=1) @ kernel + bias) / scale, rtol=1e-2, atol=1e-2
    )


def test_layers_have_the_published_names(published):
    body = _yamnet().get_layer("patches").body
    ours = {layer.name for layer in body.layers if layer.weights}
    theirs = {layer.name.replace("/", "_") for layer in _reference()[0].layers if layer.weights}
    assert theirs - ours == {"logits"}
    assert ours < theirs


def test_weights_of_another_network_are_refused(published, tmp_path):
    message = r"\(model.options.weights of 'yamnet'\) does not fit YAMNet \(.*\); give its yamnet.h5 as published"
    damaged = tmp_path / "cut.h5"
    with open(published[0], "rb") as file:
        damaged.write_bytes(file.read()[:5000])
    other = tmp_path / "other.h5"
    _reference(classes=10)[0].save_weights(other)
    for path in (damaged, other):
        with pytest.raises(TfaudioError, match=message):
            _yamnet(weights=str(path))


def test_a_run_needs_no_file_but_its_own():
    config = ModelConfig(name="yamnet", options={"weights": "moved/yamnet.h5"})
    build_model(config, input_shape=(None, BINS), num_classes=CLASSES, read_weights=False)
    with pytest.raises(TfaudioError, match=r"names no file: moved/yamnet\.h5"):
        build("yamnet", {"weights": "moved/yamnet.h5"})


def test_the_recipe_makes_yamnets_features():
    config = RunConfig().override({**recipe("fsdd", "yamnet"), "model.name": "yamnet"})
    assert config.front_end.sample_rate == 16_000
    rng = np.random.default_rng(0)
    waveform = (0.2 * np.sin(2 * np.pi * 700 * np.arange(16_000) / 16_000) + 0.05 * rng.normal(size=16_000)).astype(
        "f4"
    )
    found = compute_features(waveform, config.front_end).numpy()
    # As published, but begun half a window early, for our frames are centred.
    padded = np.pad(waveform, (200, 200))
    magnitude = tf.abs(tf.signal.stft(padded, 400, 160, 512))
    mel = magnitude @ tf.signal.linear_to_mel_weight_matrix(64, 257, 16_000, 125.0, 7_500.0)
    expected = tf.math.log(mel + 0.001).numpy()
    assert expected.shape == found.shape == (101, 64)
    # Our triangles are straight in hertz, theirs in mels.
    assert np.abs(found - expected).max() < 0.1
    assert np.abs(found - expected).mean() < 0.01


def test_features_stay_as_they_are_and_masks_that_would_be_loud_are_refused():
    config = RunConfig().override(recipe("esc10", "yamnet"))
    assert not config.front_end.standardized
    for key in ("time_masks", "frequency_masks", "frequency_shift"):
        message = rf"augment\.{key} must be 0 without front_end.standardize, not 2: it takes 0 for the mean"
        with pytest.raises(TfaudioError, match=message):
            config.override({f"augment.{key}": 2})
    assert RunConfig().front_end.standardized
    assert not FrontEndConfig(feature="leaf").standardized
