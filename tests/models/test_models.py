"""Every registered model: masks, lengths, saving, and what it reports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfaudio.config import ModelConfig
from tfaudio.errors import TfaudioError
from tfaudio.models import MODELS, build_model
from tfaudio.models.layers import ClassAttention
from tfaudio.models.registry import takes_text

BINS, CLASSES = 40, 3
# What makes the larger architectures small; one that is not named here is tried as it is.
SMALL: dict[str, dict[str, Any]] = {
    "ast": {"width": 16, "depth": 2, "heads": 2},
    "backbone": {"patch_frames": 32},
    "bc_resnet": {"sub_bands": 2},
    "cnn6": {"width": 0.0625},
    "cnn10": {"width": 0.0625},
    "cnn14": {"width": 0.0625},
    "conformer": {"width": 16, "depth": 2, "heads": 2, "kernel": 5, "stem_filters": 8},
    "crnn": {"filters": [8, 8], "units": 8},
    "efficientnet": {"width": 0.125, "depth": 0.5},
    "ensemble": {"members": [{"name": "cnn", "options": {"filters": [8, 8]}}, {"name": "dense"}]},
    "kwt": {"width": 16, "depth": 2, "heads": 2},
    "mha_rnn": {"filters": 4, "units": 8},
    "mobilenet_v1": {"width": 0.125},
    "mobilenet_v2": {"width": 0.125},
    "mobilenet_v3": {"width": 0.125},
    "resnet": {"width": 0.0625},
    "waveform_cnn": {"width": 0.0625, "bands": 16},
}


def _variant(name: str, **options: Any) -> Any:
    told = ", ".join(f"{key}={value}" for key, value in options.items())
    return pytest.param(name, {**SMALL.get(name, {}), **options}, id=f"{name}, {told}")


# What takes text too is tried in test_audio_text.py.
ARCHITECTURES = [pytest.param(name, SMALL.get(name, {}), id=name) for name in MODELS if not takes_text(name)]
ARCHITECTURES += [_variant("cnn", head=head) for head in ("auto", "class_attention")]
# Made of the same layers as others, none of them the package's own, and slow to save for having many.
LIKE_OTHERS = (
    *("bc_resnet", "cnn10", "cnn14", "efficientnet", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "waveform_cnn"),
    "yamnet",
)
# What differs from those in little, and is not tried in every way.
_NEWER = ("conformer", "efficientnet", "mobilenet_v3", "waveform_cnn")
VARIANTS = [_variant(name, causal=True) for name in ("ds_cnn", "bc_resnet")]
VARIANTS += [_variant("cnn", head=head) for head in ("mean", "max", "attention")]
VARIANTS += [_variant("cnn", frame_stride=stride) for stride in (1, 4)]
VARIANTS += [_variant("cnn", separable=1), _variant("cnn", separable=3)]
VARIANTS += [_variant("mobilenet_v3", size="large", stem_stride=2), _variant("mha_rnn", stride=1)]
VARIANTS += [_variant(name, head="class_attention") for name in ("backbone", "cnn6", "crnn", *_NEWER)]
VARIANTS += [_variant("crnn", head="mean_max"), _variant("kwt", summary="mean"), _variant("ast", patchout=0.5)]


def build(name: str, options: dict[str, Any], *, masked: bool = False, num_classes: int = CLASSES) -> keras.Model:
    config = ModelConfig(name=name, options=options)
    return build_model(config, input_shape=(None, BINS), num_classes=num_classes, masked=masked)


_TWINS: dict[str, tuple[keras.Model, keras.Model]] = {}


def _twins(name: str, options: dict[str, Any]) -> tuple[keras.Model, keras.Model]:
    """A masked and an unmasked model with the same weights, none of them at its neutral starting value."""
    key = f"{name} {options}"
    if key not in _TWINS:
        rng = np.random.default_rng(0)
        keras.utils.set_random_seed(0)
        masked, plain = (build(name, {**options, "dropout": 0.0}, masked=masked) for masked in (True, False))
        for weight in masked.weights:
            if any(part in weight.path for part in ("moving", "gamma", "beta", "bias", "sharpness")):
                weight.assign(rng.uniform(0.2, 1.0, weight.shape))
        plain.set_weights(masked.get_weights())
        _TWINS[key] = masked, plain
    return _TWINS[key]


@contextlib.contextmanager
def _kept(*models: keras.Model) -> Iterator[None]:
    """Gives models that are trained inside their weights back."""
    before = [model.get_weights() for model in models]
    yield
    for model, weights in zip(models, before, strict=True):
        model.set_weights(weights)


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES + VARIANTS)
def test_padding_and_neighbours_never_change_the_logits(name, options):
    masked, plain = _twins(name, options)
    lengths = np.array([1, 6, 31])
    features = np.random.default_rng(1).normal(size=(len(lengths), max(lengths), BINS)).astype(np.float32)
    expected = [plain(row[None, :length])[0] for row, length in zip(features, lengths, strict=True)]
    for total in (7, 32, 5 * max(lengths)):
        fits = lengths <= total
        mask = np.arange(total) < lengths[fits, None]
        padded = np.full((sum(fits), total, BINS), 1e3, np.float32)  # what lies under the mask must not matter
        padded[mask] = np.concatenate([row[:n] for row, n in zip(features[fits], lengths[fits], strict=True)])
        actual = masked({"features": padded, "mask": mask})
        np.testing.assert_allclose(actual, expected[: sum(fits)], rtol=1e-5, atol=1e-4, err_msg=f"in {total} frames")


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_training_statistics_leave_padding_out(name, options):
    # One step on padded data must move the running statistics just as one on the bare data does.
    masked, plain = _twins(name, options)
    features = np.random.default_rng(3).normal(size=(4, 16, BINS)).astype(np.float32)
    padded = np.concatenate([features, np.full((4, 48, BINS), 50.0, np.float32)], axis=1)
    mask = np.tile(np.arange(64) < 16, (4, 1))
    with _kept(masked, plain):
        plain(features, training=True)
        masked({"features": padded, "mask": mask}, training=True)
        moved = [w for w in plain.weights if "moving" in w.path]
        assert moved or name in ("ast", "kwt")
        for ours, theirs in zip([w for w in masked.weights if "moving" in w.path], moved, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_a_batch_of_one_equals_its_row(name, options):
    _, plain = _twins(name, options)
    features = np.random.default_rng(4).normal(size=(5, 20, BINS)).astype(np.float32)
    np.testing.assert_allclose(plain(features[2:3])[0], plain(features)[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), [p for p in ARCHITECTURES if p.id not in LIKE_OTHERS])
def test_models_are_functional_and_survive_saving(name, options, tmp_path):
    model, plain = _twins(name, options)
    for twin in (model, plain):
        assert isinstance(twin, keras.Model)
        assert twin.output_shape == (None, CLASSES)
        assert twin.output_names == ["logits"]
        assert twin.name == name
    features = np.random.default_rng(5).normal(size=(2, 12, BINS)).astype(np.float32)
    inputs = {"features": features, "mask": np.array([[True] * 12, [True] * 9 + [False] * 3])}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), model(inputs))


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES + VARIANTS)
def test_gradients_reach_every_weight(name, options):
    _, model = _twins(name, options)
    features = np.random.default_rng(6).normal(size=(4, 40, BINS)).astype(np.float32)
    wanted = np.random.default_rng(7).normal(size=(4, CLASSES)).astype(np.float32)
    with _kept(model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(features, training=True) * wanted)
        weights = model.trainable_weights
        for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights]), strict=True):
            assert gradient is not None, weight.path
            # The biases of attention's keys cancel in the softmax and are the only weights that may stay.
            assert np.abs(gradient).max() > 0 or weight.path.endswith("key/bias"), weight.path


def test_each_class_weighs_the_frames_for_itself():
    rng = np.random.default_rng(0)
    logits, importance = rng.normal(size=(2, 3, 7, 4))
    mask = np.arange(7) < np.array([[7], [4], [1]])
    found = ClassAttention()(logits, importance, mask).numpy()
    for i, c in np.ndindex(3, 4):
        weights = np.exp(importance[i, mask[i], c])
        assert found[i, c] == pytest.approx(np.average(logits[i, mask[i], c], weights=weights), rel=1e-5)
    whole = ClassAttention()(logits, importance).numpy()
    np.testing.assert_allclose(whole[0], found[0], rtol=1e-5)
    # A class that is sure of one frame is judged by it alone, while the others go on hearing the rest.
    importance[0, 2, 1] = 50.0
    sure = ClassAttention()(logits, importance).numpy()
    assert sure[0, 1] == pytest.approx(logits[0, 2, 1], rel=1e-5)
    np.testing.assert_allclose(np.delete(sure[0], 1), np.delete(whole[0], 1), rtol=1e-5)


def test_a_model_learns():
    # Loud low bins or loud high bins: a few steps are enough.
    keras.utils.set_random_seed(0)
    model = build("cnn", {}, num_classes=2)
    rng = np.random.default_rng(6)
    targets = np.arange(64) % 2
    features = rng.normal(size=(64, 16, BINS)).astype(np.float32)
    features[:, :, : BINS // 2] += 2.0 * targets[:, None, None]
    model.compile(keras.optimizers.Adam(4e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(features, targets, epochs=8, batch_size=16, verbose=0)
    assert (model.predict(features, verbose=0).argmax(axis=1) == targets).mean() > 0.9


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
        ("cnn", {"frame_stride": 0}, "frame_stride of 'cnn' must be a positive integer up to 4096, not 0"),
        ("cnn", {"separable": 4}, "separable of 'cnn' must be one of 0, 1, 2, 3, not 4"),
        ("cnn", {"separable": -1}, "separable of 'cnn' must be one of"),
        ("cnn", {"separable": "1"}, "separable of 'cnn' must be one of"),
        ("cnn", {"dropout": 2}, r"dropout of 'cnn' must be a number in \[0, 1\), not 2"),
        ("cnn", {"dropout": "x"}, "dropout of 'cnn' must be a number"),
        ("attention", {"dropout": float("nan")}, "dropout of 'attention' must be a number"),
        ("attention", {"width": 7}, r"width of 'attention' must be a multiple of 2 \* heads \(8\), not 7"),
        ("attention", {"width": "a"}, "width of 'attention' must be a positive integer"),
        ("attention", {"depth": None}, "depth of 'attention' must be a positive integer"),
        ("ds_cnn", {"causal": "yes"}, "causal of 'ds_cnn' must be true or false, not 'yes'"),
        ("bc_resnet", {"causal": 1}, "causal of 'bc_resnet' must be true or false, not 1"),
        ("attention", {"width": 10**20}, "width of 'attention' must be a positive integer up to"),
        ("ensemble", {"members": "cnn"}, r'members of \'ensemble\' must be a list such as \[{"name": "cnn"}'),
        ("ensemble", {"members": []}, "members of 'ensemble' must be a list"),
        ("ensemble", {"members": [{"name": "cnn", "options": {"filters": 8}}]}, "filters of 'cnn' must be a list"),
        ("ensemble", {"members": [{"name": "audio_text"}]}, "members of 'ensemble' names 'audio_text', which takes te"),
        ("ensemble", {"own_scales": "no"}, "own_scales of 'ensemble' must be true or false, not 'no'"),
        (
            "cnn",
            {"head": "sum"},
            "head of 'cnn' must be one of mean_max, mean, max, attention, auto, class_attention, not 'sum'",
        ),
        ("cnn6", {"width": 0}, "width of 'cnn6' must be a number from 0.05 to 4, not 0"),
        ("cnn10", {"width": True}, "width of 'cnn10' must be a number from 0.05 to 4, not True"),
        ("cnn14", {"embedding_dropout": 1}, r"embedding_dropout of 'cnn14' must be a number in \[0, 1\), not 1"),
        ("mobilenet_v1", {"width": "1"}, "width of 'mobilenet_v1' must be a number from 0.05 to 4, not '1'"),
        ("mobilenet_v2", {"head": 1}, "head of 'mobilenet_v2' must be one of .*, not 1"),
        ("resnet", {"dropout": -0.1}, r"dropout of 'resnet' must be a number in \[0, 1\), not -0.1"),
        ("crnn", {"filters": [8, 0]}, r"filters\[1\] of 'crnn' must be a positive integer"),
        ("crnn", {"units": 1.5}, "units of 'crnn' must be a positive integer"),
        ("kwt", {"width": 6, "heads": 2}, r"width of 'kwt' must be a multiple of 2 \* heads \(4\), not 6"),
        ("kwt", {"summary": "max"}, "summary of 'kwt' must be one of token, mean, not 'max'"),
        ("ast", {}, r"patch of 'ast' must be from its stride \(10\) to the number of feature bins \(8\), not 16"),
        ("ast", {"patch": 8}, r"patch of 'ast' must be from its stride \(10\) .*, not 8"),
        ("ast", {"patchout": 1.0}, r"patchout of 'ast' must be a number in \[0, 1\), not 1.0"),
        ("ast", {"seed": -1}, "seed of 'ast' must be a whole number from 0 or null, not -1"),
        ("conformer", {"kernel": 4}, "kernel of 'conformer' must be odd, not 4"),
        ("conformer", {"width": 12}, r"width of 'conformer' must be a multiple of 2 \* heads \(8\), not 12"),
        ("conformer", {"head": "last"}, "head of 'conformer' must be one of .*, not 'last'"),
        ("efficientnet", {"width": 9}, "width of 'efficientnet' must be a number from 0.05 to 4, not 9"),
        ("efficientnet", {"depth": 0}, "depth of 'efficientnet' must be a number from 0.05 to 4, not 0"),
        ("efficientnet", {"stem_stride": 4}, "stem_stride of 'efficientnet' must be one of 1, 2, not 4"),
        ("efficientnet", {"dropout": 1}, r"dropout of 'efficientnet' must be a number in \[0, 1\), not 1"),
        ("mha_rnn", {"stride": 0}, "stride of 'mha_rnn' must be a positive integer up to 4096, not 0"),
        ("mobilenet_v3", {"size": "medium"}, "size of 'mobilenet_v3' must be one of small, large, not 'medium'"),
        ("mobilenet_v3", {"stem_stride": True}, "stem_stride of 'mobilenet_v3' must be one of 1, 2, not True"),
        ("mobilenet_v3", {"width": "x"}, "width of 'mobilenet_v3' must be a number from 0.05 to 4, not 'x'"),
        ("waveform_cnn", {"bands": 0}, "bands of 'waveform_cnn' must be a positive integer"),
        ("waveform_cnn", {"width": 5}, "width of 'waveform_cnn' must be a number from 0.05 to 4, not 5"),
        ("yamnet", {"weights": "no/such.h5"}, "weights of 'yamnet' names no file: no/such.h5; give the path of yamnet"),
        ("yamnet", {"trained_stages": 7}, "trained_stages of 'yamnet' must be null or 0 to 5, .* not 7"),
        ("backbone", {"channels": 4}, "channels of 'backbone' must be 1, 2 or 3, not 4"),
        (
            "backbone",
            {"trained_stages": "no", "image_size": [32, 32]},
            "trained_stages of 'backbone' must be null or 0 to ., .*'no'",
        ),
        ("backbone", {"image_size": 224}, "image_size of 'backbone' must be a list of height and width"),
        ("backbone", {"image_size": [224, 0]}, r"image_size\[1\] of 'backbone' must be a positive integer"),
        ("backbone", {"weights": "no/such.h5"}, "weights of 'backbone' names no file: no/such.h5; give a path"),
    ],
)
def test_options_that_do_not_fit_are_named(name, options, message):
    with pytest.raises(TfaudioError, match=rf"^model\.options\.{message}"):
        build_model(ModelConfig(name=name, options=options), input_shape=(None, 8), num_classes=2)


def test_a_step_that_no_stride_divides_is_refused():
    with pytest.raises(TfaudioError, match=r"front_end.frame_step to be a multiple of 4 samples, not 10\."):
        build_model(ModelConfig(name="waveform_cnn"), input_shape=(None, 10), num_classes=2)


@pytest.mark.parametrize("name", ["ds_cnn", "bc_resnet"])
def test_a_causal_model_never_looks_ahead(name):
    """Of all frames before the pooling: what comes later changes none of them."""
    _, plain = _twins(name, {**SMALL.get(name, {}), "causal": True})
    pooling = next(op for op in reversed(plain.operations) if type(op).__name__ == "Mean" and op.axis == [1])
    frames = keras.Model(plain.inputs, pooling.input)
    features = np.random.default_rng(7).normal(size=(1, 40, BINS)).astype(np.float32)
    whole = frames(features).numpy()
    for heard in (1, 2, 13, 39):
        later = features.copy()
        later[:, heard:] = 1e3
        np.testing.assert_array_equal(frames(later).numpy()[:, :heard], whole[:, :heard])
    assert np.abs(frames(later).numpy()[:, 39:] - whole[:, 39:]).max() > 1e-4
