"""The model of sound and text: padding, either input missing, saving, gradients, and what it costs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfaudio.config import ModelConfig, RunConfig, TextConfig
from tfaudio.errors import TfaudioError
from tfaudio.models import build_model
from tfaudio.models.classifier import build_classifier
from tfaudio.models.complexity import count_macs, count_parameters, model_facts, outline

BINS, CLASSES, LENGTH = 40, 3, 6
TEXT = TextConfig(length=LENGTH, vocabulary_size=20)
OPTIONS = {"width": 16, "heads": 2, "stem_filters": 4, "dropout": 0.0}


def build(*, masked: bool = False, **options) -> keras.Model:
    config = ModelConfig(name="audio_text", options={**OPTIONS, **options})
    return build_model(config, input_shape=(None, BINS), num_classes=CLASSES, masked=masked, text=TEXT)


@pytest.fixture(scope="module")
def twins() -> tuple[keras.Model, keras.Model]:
    """A masked and an unmasked model with the same weights, none of them at its neutral starting value."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    masked, plain = build(masked=True), build()
    for weight in masked.weights:
        if any(part in weight.path for part in ("moving", "gamma", "beta", "bias", "vector")):
            weight.assign(rng.uniform(0.2, 1.0, weight.shape))
    plain.set_weights(masked.get_weights())
    return masked, plain


def examples(count: int, frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 20, (count, LENGTH)).astype(np.int32)
    tokens[:, LENGTH // 2 :] *= rng.integers(0, 2, (count, 1)).astype(np.int32)
    return {"features": rng.normal(size=(count, frames, BINS)).astype(np.float32), "tokens": tokens}


def test_padding_and_neighbours_never_change_the_logits(twins):
    masked, plain = twins
    lengths = np.array([1, 6, 31, 31, 20])
    given = examples(len(lengths), max(lengths))
    given["tokens"][3] = 0  # a text is missing
    given["features"][4] = 0  # sound is missing
    expected = [
        plain({"features": given["features"][i : i + 1, :n], "tokens": given["tokens"][i : i + 1]})[0]
        for i, n in enumerate(lengths)
    ]
    for total in (32, 155):
        mask = np.arange(total) < lengths[:, None]
        padded = np.full((len(lengths), total, BINS), 1e3, np.float32)
        padded[mask] = np.concatenate([row[:n] for row, n in zip(given["features"], lengths, strict=True)])
        actual = masked({"features": padded, "mask": mask, "tokens": given["tokens"]})
        np.testing.assert_allclose(actual, expected, atol=1e-4, err_msg=f"in {total} frames")


def test_words_that_are_not_there_say_nothing():
    """The same words in a longer model: what pads them changes nothing."""
    keras.utils.set_random_seed(0)
    short = build()
    long = build_model(
        ModelConfig(name="audio_text", options=OPTIONS),
        input_shape=(None, BINS),
        num_classes=CLASSES,
        text=TEXT.replace(length=3 * LENGTH),
    )
    long.set_weights(short.get_weights())
    given = examples(4, 20)
    padded = {**given, "tokens": np.pad(given["tokens"], [[0, 0], [0, 2 * LENGTH]])}
    np.testing.assert_allclose(long(padded), short(given), atol=1e-5)


@pytest.mark.parametrize("missing", ["features", "tokens", "both"])
def test_either_input_may_be_missing(twins, missing):
    for model, frames in ((twins[1], 20), (twins[0], 20)):
        given = examples(3, frames)
        if model is twins[0]:
            given["mask"] = np.ones((3, frames), bool)
        other = examples(3, frames, seed=9)
        for name in ("features", "tokens"):
            if missing in (name, "both"):
                given[name][:] = 0
                other[name][:] = 0
        logits = model(given).numpy()
        assert np.isfinite(logits).all()
        # What is there is still heeded, and nothing else is.
        changed = model({**given, **{name: other[name] for name in ("features", "tokens")}}).numpy()
        same = np.abs(changed - logits).max() < 1e-6
        assert same == (missing == "both")


def test_an_empty_recording_is_missing_sound(twins):
    masked, _ = twins
    given = examples(2, 16)
    empty = masked({**given, "mask": np.zeros((2, 16), bool)}).numpy()
    assert np.isfinite(empty).all()
    silent = {"features": np.zeros((2, 1, BINS), np.float32), "tokens": given["tokens"], "mask": np.zeros((2, 1), bool)}
    np.testing.assert_allclose(empty, masked(silent), atol=1e-4)


def test_a_missing_input_is_not_a_word_or_a_sound(twins):
    """The learnt vectors stand in: without them, the logits are others."""
    _, plain = twins
    given = examples(2, 16)
    for name, layer in (("features", "missing_sound"), ("tokens", "missing_text")):
        without = {**given, name: np.zeros_like(given[name])}
        before = plain(without).numpy()
        vector = plain.get_layer(layer).vector
        kept, both = vector.numpy(), plain(given).numpy()
        vector.assign(kept + np.linspace(-1, 1, len(kept)))
        assert np.abs(plain(without).numpy() - before).max() > 1e-3
        np.testing.assert_array_equal(plain(given), both)
        vector.assign(kept)


def test_a_batch_of_one_equals_its_row_and_survives_saving(twins, tmp_path):
    for model in twins:
        given = examples(5, 20)
        if model is twins[0]:
            given["mask"] = np.arange(20) < np.array([20, 3, 7, 1, 20])[:, None]
        logits = model(given).numpy()
        one = model({name: value[2:3] for name, value in given.items()})
        np.testing.assert_allclose(one[0], logits[2], atol=1e-5)
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(given), logits)


def test_training_statistics_leave_padding_out(twins):
    masked, plain = twins
    given = examples(4, 16)
    padded = np.concatenate([given["features"], np.full((4, 48, BINS), 50.0, np.float32)], axis=1)
    mask = np.tile(np.arange(64) < 16, (4, 1))
    before = masked.get_weights()
    plain(given, training=True)
    masked({**given, "features": padded, "mask": mask}, training=True)
    moved = [w for w in plain.weights if "moving" in w.path]
    assert moved
    for ours, theirs in zip([w for w in masked.weights if "moving" in w.path], moved, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    masked.set_weights(before)
    plain.set_weights(before)


def test_gradients_reach_every_weight(twins):
    _, model = twins
    given = examples(6, 40)
    given["features"][0], given["tokens"][1] = 0, 0
    wanted = np.random.default_rng(7).normal(size=(6, CLASSES)).astype(np.float32)
    before = model.get_weights()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(given, training=True) * wanted)
    weights = model.trainable_weights
    for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights]), strict=True):
        assert gradient is not None, weight.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0 or weight.path.endswith("key/bias"), weight.path
    model.set_weights(before)


def test_half_precision_stays_finite():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build()
        given = examples(3, 24)
        given["tokens"][1], given["features"][2] = 0, 0
        assert np.isfinite(model(given, training=True)).all()
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_cost_by_hand():
    width, frames, length, vocabulary = 96, 96, 16, 2_000
    model = outline(ModelConfig(name="audio_text"), input_shape=(frames, 64), num_classes=10)

    def dense(given, made):
        return given * made + made

    norm = 2 * width
    block = 4 * dense(width, width) + dense(width, 2 * width) + dense(2 * width, width) + 2 * norm
    stem = 25 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64 + dense(8 * 64, width)
    parameters = stem + 3 * block + 2 * norm + 2 * width + vocabulary * width
    parameters += 2 * (4 * dense(width, width) + norm) + dense(width, 64) + 64 + dense(2 * width, 10)
    assert count_parameters(model) == parameters

    patches = frames // 8

    def attention(queries, keys):
        return 2 * (queries + keys) * width**2 + 2 * queries * keys * width

    def encoder(steps):
        return attention(steps, steps) + 4 * steps * width**2

    macs = 48 * 32 * 25 * 32 + 24 * 16 * 9 * 32 * 64 + patches * 8 * 64 * width
    macs += 2 * encoder(patches) + encoder(length) + attention(length, patches) + attention(patches, length)
    assert count_macs(model) == macs + patches * (width * 64 + 64 + width) + 2 * width * 10


def test_it_is_listed_with_its_paper():
    facts = model_facts("audio_text", input_shape=(96, 64), num_classes=10)
    assert facts.masked
    assert facts.paper == "https://arxiv.org/abs/1906.00295"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.name": "audio_text"}, r"Model 'audio_text' takes text .* text\.length is 0; set it"),
        ({"text.length": 8}, r"text\.length is 8, but model 'cnn' takes no text; choose --model=audio_text"),
    ],
)
def test_a_model_and_the_text_setting_must_fit(settings, message):
    with pytest.raises(TfaudioError, match=message):
        build_classifier(RunConfig().override(settings), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 7}, r"width of 'audio_text' must be a multiple of 2 \* heads"),
        ({"text_depth": 0}, "text_depth of 'audio_text' must be a positive integer"),
        ({"text": {}}, "Unknown option of model 'audio_text' 'text'"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(TfaudioError, match=message):
        build(**options)
