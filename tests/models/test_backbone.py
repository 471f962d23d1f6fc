"""Networks of `keras.applications` on patches of a spectrogram: weights, images and what is refused. All offline."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_models import build
from tfaudio import bundle
from tfaudio.config import ModelConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.normalization import Normalization
from tfaudio.labels import LabelMap
from tfaudio.models.backbone import PatchBackbone, backbone_variables, pixels_of, set_weights, stages_of
from tfaudio.models.classifier import build_classifier

IMAGE = (32, 40, 3)


@pytest.fixture(scope="module")
def network():
    """An image network of which every weight is drawn anew."""
    keras.utils.set_random_seed(1)
    return keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=IMAGE, pooling="avg", include_preprocessing=False
    )


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "image.weights.h5"
    network.save_weights(path)
    return path


def _body(model):
    return model.get_layer("patches").body


def test_patches_are_shown_as_images_and_the_last_is_filled_up(network):
    features = np.random.default_rng(0).normal(size=(2, 70, 40)).astype(np.float32)
    patches = np.zeros((2, 96, 40), np.float32)
    patches[:, :70] = features
    images = np.repeat(patches.reshape(6, 32, 40, 1), 3, axis=-1)
    expected = network(images).numpy().reshape(2, 3, -1)
    np.testing.assert_allclose(PatchBackbone(network, 32)(features), expected, atol=1e-5)


def _as_pixels(features, patch_frames):
    """Patches [n, patch_frames, bins, 3] as grey images of the mean and deviation of photographs."""
    patches = features.reshape(-1, patch_frames, features.shape[-1], 1)
    return np.repeat(patches * 58.0 + 120.0, 3, axis=-1)


@pytest.mark.parametrize(
    ("application", "module"),
    [
        *(("ResNet50", "resnet50"), ("VGG16", "vgg16"), ("ResNet50V2", "resnet_v2"), ("MobileNetV2", "mobilenet_v2")),
        *(("DenseNet121", "densenet"), ("Xception", "xception"), ("ConvNeXtTiny", "convnext")),
    ],
)
def test_images_have_the_scale_that_weights_of_imagenet_expect(application, module):
    # The network gives its image back: three numbers a pixel.
    image = keras.Input((4, 5, 3))
    layer = PatchBackbone(keras.Model(image, keras.layers.Flatten()(image)), 4, pixels_of(application))
    features = np.random.default_rng(0).normal(size=(2, 8, 5)).astype(np.float32)
    # Grey images are the same in any order of channels, so ours may have no order of its own.
    expected = getattr(keras.applications, module).preprocess_input(_as_pixels(features, 4))
    np.testing.assert_allclose(layer(features), expected.reshape(2, 2, -1), rtol=1e-5, atol=2e-4)


def test_efficientnet_with_the_scale_of_imagenet_is_the_network_that_comes_with_its_weights(tmp_path, monkeypatch):
    # Keras gives that network another layer. Weights are drawn here: this test reaches no other machine.
    keras.utils.set_random_seed(2)
    shape = {"include_top": False, "input_shape": IMAGE, "pooling": "avg"}
    drawn = keras.applications.EfficientNetB0(weights=None, **shape)
    (normalization,) = (layer for layer in drawn.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # as the published file has them
    normalization.set_weights([mean, variance, np.array(0, np.int32)])
    normalization.finalize_state()
    file = tmp_path / "drawn.weights.h5"
    drawn.save_weights(file)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(file))
    theirs = keras.applications.EfficientNetB0(weights="imagenet", **shape)
    options = {"application": "EfficientNetB0", "patch_frames": 32, "scale": "imagenet"}
    features = np.random.default_rng(0).normal(size=(1, 32, 40)).astype(np.float32)
    for weights in ("imagenet", str(file)):
        ours = build("backbone", {**options, "weights": weights}).get_layer("patches")
        expected = theirs(_as_pixels(features, 32)).numpy()
        np.testing.assert_allclose(ours(features)[0], expected, atol=1e-4 * np.abs(expected).max())


def test_weights_that_are_copied_change_what_is_computed_from_them():
    config = RunConfig(
        model=ModelConfig(name="backbone", options={"application": "EfficientNetB0", "patch_frames": 32})
    ).override({"clip.seconds": None})
    trained, twin = (build_classifier(config, 2, masked=False) for _ in range(2))
    for layer in trained.get_layer("patches").body.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights([np.full(3, 0.4), np.full(3, 0.2), np.array(0, np.int32)])
            layer.finalize_state()
    set_weights(twin, trained.get_weights())
    features = np.random.default_rng(0).normal(size=(1, 32, 64)).astype(np.float32)
    expected = trained.get_layer("patches")(features).numpy()
    np.testing.assert_allclose(twin.get_layer("patches")(features), expected, atol=1e-6 * np.abs(expected).max())


def test_networks_that_scale_pixels_themselves_get_pixels():
    options = {"application": "MobileNetV3Small", "patch_frames": 32, "scale": "imagenet"}
    model = build("backbone", options)
    reference = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=IMAGE, pooling="avg")
    reference.set_weights(_body(model).get_weights())
    features = np.random.default_rng(0).normal(size=(1, 32, 40)).astype(np.float32)
    expected = reference(_as_pixels(features, 32)).numpy()
    np.testing.assert_allclose(model.get_layer("patches")(features)[0], expected, atol=1e-5)


def test_weights_of_imagenet_go_with_its_scale():
    with pytest.raises(TfaudioError, match=r"--set=model\.options\.scale=imagenet"):
        build("backbone", {"weights": "imagenet"})
    with pytest.raises(TfaudioError, match="'imagenet' of 'backbone' is of 3 channels, not 1"):
        build("backbone", {"scale": "imagenet", "channels": 1})
    with pytest.raises(TfaudioError, match=r"model\.options\.scale"):
        build("backbone", {"scale": "pixels"})


def test_padding_alone_is_never_shown():
    # The network tells the mean of its image: a clip's own patches come again where it has no more.
    image = keras.Input((2, 3, 1))
    layer = PatchBackbone(keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)), 2)
    features = np.repeat(np.arange(1.0, 9.0, dtype=np.float32), 3).reshape(1, 8, 3)
    mask = np.arange(8) < np.array([[8], [4], [1], [0]])
    values = layer(np.where(mask[..., None], features, 0.0), mask)
    expected = [[1.5, 3.5, 5.5, 7.5], [1.5, 3.5, 1.5, 3.5], [0.5] * 4, [0.0] * 4]
    np.testing.assert_allclose(values[..., 0], expected)


def test_images_are_resized():
    image = keras.Input((8, 12, 1))
    layer = PatchBackbone(keras.Model(image, keras.layers.Flatten()(image)), 4)
    features = np.random.default_rng(0).normal(size=(1, 4, 6)).astype(np.float32)
    values = layer(features).numpy().reshape(8, 12)
    # Bilinear, pixels being areas: at twice the size, values lie a quarter from one to the next.
    inner = features[0, 1, 2:4] @ [0.75, 0.25] * 0.75 + features[0, 2, 2:4] @ [0.75, 0.25] * 0.25
    assert values[3, 5] == pytest.approx(inner, abs=1e-5)


def test_a_network_that_rescales_pixels_is_given_pixels():
    image = keras.Input((4, 6, 1))
    scaled = keras.layers.Rescaling(1 / 58.0, -120.0 / 58.0)(image)
    features = np.random.default_rng(0).normal(size=(1, 4, 6)).astype(np.float32)
    layer = PatchBackbone(keras.Model(image, keras.layers.Flatten()(scaled)), 4)
    np.testing.assert_allclose(layer(features)[0, 0], features.ravel(), atol=1e-5)


def test_weights_come_from_a_file_and_stay_when_frozen(network, weights):
    options = {"patch_frames": 32, "weights": str(weights), "trained_stages": 0}
    model = build("backbone", options)
    for ours, theirs in zip(_body(model).get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [w.path for w in model.trainable_weights] == ["logits/kernel", "logits/bias"]
    statistics = [w for w in _body(model).weights if "moving" in w.path]
    before = [w.numpy() for w in statistics]
    model(np.ones((2, 40, 40), np.float32), training=True)
    for weight, old in zip(statistics, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_the_last_stages_are_trained_and_the_others_stay(network):
    stages = stages_of(network)
    heights = [{layer.output.shape[1] for layer in stage if len(layer.output.shape) == 4} - {1} for stage in stages]
    assert len(stages) >= 4
    # Where padding stands before a layer that halves, its output is somewhat larger than the stage's images.
    assert all(max(later) < max(earlier) for earlier, later in itertools.pairwise(heights) if later)
    model = build("backbone", {"patch_frames": 32, "trained_stages": 2})
    ours = stages_of(_body(model))
    kept = {id(w) for stage in ours[:-2] for layer in stage for w in layer.weights}
    learnt = {id(w) for stage in ours[-2:] for layer in stage for w in layer.trainable_weights}
    assert {id(w) for w in backbone_variables(model)} == learnt
    before = {id(w): w.numpy() for w in _body(model).weights}
    features = np.random.default_rng(0).normal(size=(8, 32, 40)).astype(np.float32)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    model.train_on_batch(features, np.ones((8, 3), np.float32))
    changed = {id(w) for w in _body(model).weights if not np.array_equal(w.numpy(), before[id(w)])}
    assert not changed & kept
    assert len(changed & learnt) > len(learnt) // 2


def test_moving_statistics_that_are_trained_follow_in_few_steps(network):
    model = build("backbone", {"patch_frames": 32, "dropout": 0.0})
    features = np.random.default_rng(0).normal(3.0, 2.0, size=(8, 32, 40)).astype(np.float32)
    step = tf.function(lambda: model(features, training=True))
    for _ in range(150):
        trained = step().numpy()
    np.testing.assert_allclose(model(features).numpy(), trained, atol=0.02 * np.abs(trained).max())


def test_a_run_needs_no_other_weights_than_its_own(weights, tmp_path):
    passing = tmp_path / "passing.weights.h5"
    passing.write_bytes(weights.read_bytes())
    options = {"patch_frames": 32, "weights": str(passing), "image_size": [32, 40]}
    config = RunConfig(model=ModelConfig(name="backbone", options=options))
    classifier = build_classifier(config, 2)
    normalization = Normalization(mean=(0.0,) * 64, stddev=(1.0,) * 64)
    bundle.write_config(tmp_path / "run", config)
    bundle.write_model(tmp_path / "run", LabelMap(("a", "b")), normalization, classifier)
    passing.unlink()
    run = bundle.load_bundle(tmp_path / "run")
    features = np.random.default_rng(0).normal(size=(1, 40, 64)).astype(np.float32)
    np.testing.assert_allclose(run.body()(features), classifier(features), atol=1e-5)
    with pytest.raises(TfaudioError, match="names no file"):
        build_classifier(config, 2)


def test_weights_of_another_network_are_refused(weights, tmp_path):
    damaged = tmp_path / "cut.weights.h5"
    damaged.write_bytes(weights.read_bytes()[:5000])
    message = r"\(model.options.weights of 'backbone'\) does not fit keras.applications"
    with pytest.raises(TfaudioError, match=message):
        build("backbone", {"patch_frames": 32, "application": "MobileNet", "weights": str(weights)})
    with pytest.raises(TfaudioError, match=message):
        build("backbone", {"patch_frames": 32, "weights": str(damaged)})


def test_networks_that_are_not_there_or_take_no_such_image_are_refused():
    with pytest.raises(TfaudioError, match="Did you mean 'MobileNetV3Small'"):
        build("backbone", {"application": "MobileNetV3Smal"})
    with pytest.raises(TfaudioError, match=r"Unknown model.options.application of 'backbone' '3'"):
        build("backbone", {"application": 3})
    with pytest.raises(TfaudioError, match=r"Unknown model\.options\.application of 'backbone'"):
        build("backbone", {"application": ["ResNet50"]})
    with pytest.raises(TfaudioError, match=r"Xception cannot be made for images of \(64, 40, 3\) .*image_size"):
        build("backbone", {"application": "Xception"})


def test_downloaded_weights_are_asked_for_by_name_alone(network, monkeypatch):
    # Stands for the network's function: this test reaches no other machine.
    asked = []

    def function(include_top=True, weights="imagenet", input_shape=None, pooling=None):
        asked.append(weights)
        twin = keras.models.clone_model(network)
        twin.set_weights([w * (weights == "imagenet") for w in network.get_weights()])
        return twin

    function.__module__ = "keras.applications.resnet50"  # which says what pixels the network takes
    monkeypatch.setattr(keras.applications, "ResNet50", function)
    options = {"application": "ResNet50", "patch_frames": 32, "scale": "imagenet"}
    nothing = _body(build("backbone", options)).get_weights()
    assert asked == [None]
    assert not any(np.any(w) for w in nothing)
    theirs = _body(build("backbone", {**options, "weights": "imagenet"})).get_weights()
    assert asked == [None, None, "imagenet"]
    for ours, expected in zip(theirs, network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)
