"""The twin in tf-keras computes what Keras 3 and TFLite do, gives its weights back, and refuses what it cannot be."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.export.small_runs import SAMPLE_RATE, tones, untrained
from tfaudio.errors import TfaudioError
from tfaudio.export.tflite import TfliteConverter
from tfaudio.optimize import twin as twins
from tfaudio.optimize.twin import Twin, build_twin

MODELS = ("cnn", "ds_cnn", "dense", "bc_resnet")


def random_features(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def small_model(*layers: keras.layers.Layer, shape: tuple[int, int] = (12, 8)) -> keras.Model:
    inputs = keras.Input((None, shape[1]), name="features")
    x = keras.layers.Reshape((-1, shape[1], 1))(inputs)
    for layer in layers:
        x = layer(x)
    x = keras.ops.max(x, axis=(1, 2))
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x), name="small")


@pytest.mark.parametrize("name", MODELS)
def test_a_registered_model_and_its_twin_agree(name: str, tmp_path: Path) -> None:
    bundle = untrained(name)
    features = np.asarray(bundle.front_end(SAMPLE_RATE)(tones(5, seed=3)[0]))
    twin = build_twin(bundle.body(), random_features((2, *features.shape[1:])))
    found = np.asarray(twin.model(features, training=False))
    wanted = np.asarray(bundle.classifier(features, training=False))
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    if name in ("cnn", "dense"):  # the others take long to convert
        content = TfliteConverter(bundle, SAMPLE_RATE, tones(1, seed=1)[0], tmp_path).classifier("float32")
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], features[:1])
        interpreter.invoke()
        np.testing.assert_allclose(
            found[:1], interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), atol=1e-4
        )


@pytest.mark.parametrize("name", ["ds_cnn", "dense"])
def test_what_the_twin_learns_comes_back(name: str) -> None:
    bundle = untrained(name)
    features = random_features((4, 63, 40))
    twin = build_twin(bundle.body(), features)
    before = bundle.classifier.get_weights()
    rng = np.random.default_rng(1)
    # Variances stay positive; every weight, each in its own way, differs from what it was.
    twin.model.set_weights([w * rng.uniform(0.5, 1.5, w.shape) + 0.01 for w in twin.model.get_weights()])
    learnt = np.asarray(twin.model(features, training=False))
    assert np.abs(learnt - np.asarray(bundle.classifier(features, training=False))).max() > 0.1
    for weight, original in zip(bundle.classifier.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, original)  # the run's own model was not touched
    bundle.classifier.set_weights(twin.weights_from(twin.model))
    np.testing.assert_allclose(np.asarray(bundle.classifier(features, training=False)), learnt, atol=2e-5)


def test_every_layer_of_the_table_computes_the_same() -> None:
    layers = keras.layers
    keras.utils.set_random_seed(3)
    model = small_model(
        layers.ZeroPadding2D(((1, 0), (2, 1))),
        layers.Conv2D(6, (3, 2), strides=(2, 1), activation="silu", name="first"),
        layers.AveragePooling2D((2, 1), strides=1, padding="same"),
        layers.Conv2D(4, 3, padding="same", dilation_rate=(2, 1), groups=2),
        layers.BatchNormalization(momentum=0.8, epsilon=0.01, scale=False),
        layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.05),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh"),
        layers.MaxPooling2D(2, padding="same"),
        layers.Activation("gelu"),
        layers.SpatialDropout2D(0.5),
        layers.Dropout(0.5),
        layers.Dense(5, activation="relu"),
    )
    features = random_features((3, 12, 8))
    twin = build_twin(model, features[:1])
    np.testing.assert_allclose(np.asarray(twin.model(features)), np.asarray(model(features)), atol=1e-5)


def test_operations_of_numbers_and_parts() -> None:
    inputs = keras.Input((6, 8), name="features")
    first, second, third = keras.ops.split(inputs, [2, 3], axis=-1)
    x = keras.ops.concatenate([first * 2.0 - 0.5, second, third * third], axis=2)[:, 1:5:2]
    spread = keras.ops.sqrt(keras.ops.square(keras.ops.max(x, axis=1)) + 1.0)
    x = x + keras.ops.mean(x, axis=-1, keepdims=True) * keras.ops.expand_dims(spread, 1)
    features = random_features((2, 6, 8))
    found = build_twin(keras.Model(inputs, x), features[:1]).model(features)

    wide = features.astype(np.float64)
    y = np.concatenate([wide[..., :2] * 2 - 0.5, wide[..., 2:3], wide[..., 3:] ** 2], axis=2)[:, [1, 3]]
    wanted = y + y.mean(axis=-1, keepdims=True) * np.sqrt(y.max(axis=1) ** 2 + 1)[:, None]
    np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-5)


def double(x: object) -> object:
    return keras.ops.multiply(x, 2.0)


def refusal(model: keras.Model) -> str:
    with pytest.raises(TfaudioError) as error:
        build_twin(model, random_features((1, 12, 8)))
    return str(error.value)


def test_what_has_no_equal_is_refused_by_name() -> None:
    layers = keras.layers
    attention = untrained("attention").body()
    with pytest.raises(TfaudioError, match=r"'position' \(SinusoidalPosition\) has no equal.*take cnn"):
        build_twin(attention, random_features((1, 63, 40)))
    assert "'norm' (LayerNormalization)" in refusal(small_model(layers.LayerNormalization(name="norm")))
    inner = keras.Sequential([keras.Input((12, 8, 1)), layers.Conv2D(2, 3)], name="inner")
    assert "'inner' (Sequential)" in refusal(small_model(inner, shape=(12, 8)))
    assert "'own' (Activation)" in refusal(small_model(layers.Activation(double, name="own")))
    inputs = keras.Input((12, 8), name="features")
    assert "(GetItem)" in refusal(keras.Model(inputs, inputs[:, 3]))


def test_a_twin_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "_copy", lambda source, target: None)
    assert "gives other logits in tf-keras" in refusal(small_model(keras.layers.Conv2D(2, 3)))


def test_weights_of_another_shape_are_a_defect() -> None:
    model, other = small_model(keras.layers.Conv2D(2, 3, name="a")), small_model(keras.layers.Conv2D(2, 5, name="a"))
    features = random_features((1, 12, 8))
    with pytest.raises(ValueError, match="a: kernel has shape"):
        Twin(model, build_twin(other, features).model).weights_from(build_twin(other, features).model)
