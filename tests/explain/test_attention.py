"""Attention that is shown is the attention that was used."""

from __future__ import annotations

import keras
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
from tfaudio.text import Tokenizer


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


_SMALL = {"width": 12, "heads": 2, "depth": 2}
_LOOKED_AT = [
    ("ast", _SMALL, 10),
    ("ast", {**_SMALL, "summary": "mean"}, 10),
    ("ast", {**_SMALL, "patchout": 0.3}, 10),
    ("kwt", {**_SMALL, "summary": "token"}, None),
    ("kwt", {**_SMALL, "summary": "mean"}, None),
    ("conformer", _SMALL, 4),
    ("mha_rnn", {}, None),
    ("crnn", {}, None),
    ("cnn", {"head": "attention"}, 16),
    ("cnn", {"head": "class_attention"}, 16),
]


def _run(tmp_path, name, options, **settings):
    keras.utils.set_random_seed(3)
    config = RunConfig(model=ModelConfig(name=name, options=options)).override(settings)
    return Bundle(tmp_path, config, LabelMap(("a", "b", "c")), Normalization(), build_classifier(config, 3))


@pytest.mark.parametrize(("name", "options", "frames"), _LOOKED_AT)
def test_every_architecture_with_attention_shows_it(tmp_path, name, options, frames):
    run = _run(tmp_path, name, options)
    waveforms = np.random.default_rng(0).normal(size=(2, 40_960)).astype(np.float32) * 0.1
    attention = attend(run, waveforms)
    np.testing.assert_allclose(attention.scores, run.end_to_end()(waveforms), atol=1e-5)
    np.testing.assert_allclose(attention.pooling.sum(axis=1), 1.0, atol=1e-5)
    assert attention.pooling.min() >= 0
    # Patches lie behind each other from the beginning of the sound to its end, give or take one.
    seconds = attention.pooling.shape[1] * attention.patch_seconds
    assert abs(seconds - 40_960 / 16_000) <= 1.5 * attention.patch_seconds + 0.064
    if frames is not None:
        assert attention.patch_seconds == frames * run.config.front_end.frame_step / 16_000
    assert attention_png(waveforms[0], attention, run).startswith(b"\x89PNG")


def test_patches_of_one_instant_are_joined_and_the_token_is_left_out(tmp_path):
    run = _run(tmp_path, "ast", _SMALL)
    waveforms = np.random.default_rng(0).normal(size=(2, 40_960)).astype(np.float32) * 0.1
    attention = attend(run, waveforms)
    rows = (64 - 16) // 10 + 1
    asked = attention.encoder[-1][1, :, 0].mean(axis=0)  # by the token of the second example
    assert len(asked) == 1 + rows * attention.pooling.shape[1]
    for patch, share in enumerate(attention.pooling[1]):
        of_patch = asked[1 + rows * patch : 1 + rows * (patch + 1)].sum()
        np.testing.assert_allclose(share, of_patch / asked[1:].sum(), rtol=1e-4)


def test_the_weights_of_the_best_class_give_its_logit(tmp_path):
    run = _run(tmp_path, "cnn", {"head": "class_attention"})
    waveforms = np.random.default_rng(0).normal(size=(2, 40_960)).astype(np.float32) * 0.1
    attention, body = attend(run, waveforms), run.body()
    features = run.front_end()(waveforms)
    of_frames = keras.Model(body.input, body.get_layer("frame_logits").output)(features).numpy()
    for example, best in enumerate(attention.scores.argmax(axis=1)):
        logit = attention.pooling[example] @ of_frames[example, :, best]
        np.testing.assert_allclose(logit, body(features).numpy()[example, best], atol=1e-5)


def test_words_have_their_share(tmp_path):
    config = RunConfig(model=ModelConfig(name="audio_text", options={**_SMALL, "stem_filters": 4}))
    config = config.override({"text.length": 4, "text.vocabulary_size": 8})
    labels = LabelMap(("a", "b", "c"))
    tokenizer = Tokenizer(("bark", "rose"), 4)
    run = Bundle(tmp_path, config, labels, Normalization(), build_classifier(config, 3), tokenizer)
    waveforms = np.random.default_rng(0).normal(size=(3, 40_960)).astype(np.float32) * 0.1
    texts = ["rose bark", None, "a rose is a rose, is it not"]
    attention = attend(run, waveforms, np.array(texts))
    np.testing.assert_allclose(attention.scores, run.end_to_end()(run.inputs(waveforms, texts)), atol=1e-5)
    assert [[word for word, _ in heeded] for heeded in attention.words] == [
        ["rose", "bark"],
        [],
        ["a", "rose", "is", "a"],
    ]
    for heeded in (attention.words[0], attention.words[2]):
        np.testing.assert_allclose(sum(share for _, share in heeded), 1.0, atol=1e-5)
    for index in range(3):
        assert attention_png(waveforms[index], attention, run, index=index).startswith(b"\x89PNG")
    assert attend(run, waveforms).words == ((), (), ())
    with pytest.raises(TfaudioError, match="2 texts do not go with 3 waveforms"):
        attend(run, waveforms, texts[:2])


def test_text_for_a_run_that_takes_none_is_refused(run):
    with pytest.raises(TfaudioError, match="takes no text"):
        attend(run, np.zeros((1, 16_000), np.float32), ["rose"])


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
    members = [{"name": "attention", "options": {}}, {"name": "cnn", "options": {}}]
    ensemble = ModelConfig(name="ensemble", options={"members": members})
    with pytest.raises(TfaudioError, match="look at the run of a member"):
        attention_model(build_model(ensemble, input_shape=(None, 40), num_classes=3))
    with pytest.raises(TfaudioError, match="--model=attention"):
        attention_model(build_model(ModelConfig(name="cnn"), input_shape=(None, 40), num_classes=3))
