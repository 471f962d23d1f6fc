"""Attention that is shown is the attention that was used."""

from __future__ import annotations

import numpy as np
import pytest

from tfaudio.bundle import Bundle
from tfaudio.config import ModelConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.explain.attention import _frames_per_patch, attend, attention_model, attention_png
from tfaudio.features.normalization import Normalization
from tfaudio.labels import LabelMap
from tfaudio.models import build_model
from tfaudio.models.classifier import build_classifier


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = RunConfig(model=ModelConfig(name="attention"))
    return Bundle(
        tmp_path_factory.mktemp("run"),
        config,
        LabelMap(("a", "b$", "犬")),
        Normalization(),
        build_classifier(config, 3),
    )


def test_weights_are_shares_and_scores_are_those_of_the_model(run):
    waveforms = np.random.default_rng(0).normal(size=(2, 16_000)).astype(np.float32) * 0.1
    attention = attend(run, waveforms)
    np.testing.assert_allclose(attention.scores, run.end_to_end()(waveforms), atol=1e-5)
    np.testing.assert_allclose(attention.pooling.sum(axis=1), 1.0, atol=1e-5)
    assert [weights.shape[:2] for weights in attention.encoder] == [(2, 4), (2, 4)]
    for weights in attention.encoder:
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)
    # Eight frames of 512 samples, however many of them the last patch of a clip has.
    assert attention.patch_seconds == attend(run, waveforms[:, :12_800]).patch_seconds == 8 * 512 / 16_000
    assert attention_png(waveforms[0], attention, run).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("attention", {}, 8),
        ("cnn", {"head": "attention", "frame_stride": 3}, 24),
        ("yamnet", {"head": "attention"}, 96),
    ],
)
def test_a_patch_has_the_models_own_length(name, options, expected):
    model = attention_model(build_model(ModelConfig(name=name, options=options), input_shape=(None, 64), num_classes=3))
    # Whatever part of a patch the last one of a clip is.
    assert {_frames_per_patch(model, (frames, 64)) for frames in (1, 31, 97, 501)} == {expected}


def test_tags_get_the_scores_of_the_model(tmp_path):
    config = RunConfig(model=ModelConfig(name="attention", score_activation="sigmoid"))
    run = Bundle(tmp_path, config, LabelMap(("a", "b", "c")), Normalization(), build_classifier(config, 3))
    waveforms = np.random.default_rng(0).normal(size=(2, 16_000)).astype(np.float32) * 0.1
    np.testing.assert_allclose(attend(run, waveforms).scores, run.end_to_end()(waveforms), atol=1e-5)


def test_padding_gets_no_attention():
    classifier = build_model(ModelConfig(name="attention"), input_shape=(None, 40), num_classes=3, masked=True)
    features = np.random.default_rng(1).normal(size=(1, 64, 40)).astype(np.float32)
    mask = np.arange(64)[None] < 24
    outputs = attention_model(classifier)({"features": features, "mask": mask})
    assert np.asarray(outputs["attention_pooling"])[0, 3:].max() < 1e-6
    assert np.asarray(outputs["attention_0"])[0, :, :3, 3:].max() < 1e-6


def test_a_model_without_attention_says_so():
    with pytest.raises(TfaudioError, match="--model=attention"):
        attention_model(build_model(ModelConfig(name="cnn"), input_shape=(None, 40), num_classes=3))
