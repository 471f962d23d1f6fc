"""Every feature is the same by every path: batched, in a graph, compiled, in tf.data, saved, and on a device."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

from tests.features.family import CONFIGS, EVERY, waveforms
from tests.static_models import convert_static, save_static
from tfaudio.config import FrontEndConfig
from tfaudio.evaluation.librosa_reference import expected_stack
from tfaudio.export import flatbuffer
from tfaudio.export.tflite import convert_folder
from tfaudio.features.family import smallest_deviations
from tfaudio.features.front_end import FrontEnd, compute_features
from tfaudio.features.normalization import NormalizationFitter

NUM_SAMPLES = 4_000
feature_names = pytest.mark.parametrize("name", CONFIGS)


def tolerance(config: FrontEndConfig, batch: np.ndarray) -> np.ndarray:
    """What two float32 transforms may differ by: the reference's tolerance, twice."""
    return 2 * np.stack([expected_stack(waveform, config).tolerance for waveform in batch])


def assert_same(actual: np.ndarray, config: FrontEndConfig, batch: np.ndarray) -> None:
    """Equal to eager execution but for the order of sums, which shows where nothing but rounding is left."""
    rounding = 2 * np.stack([expected_stack(waveform, config).rounding for waveform in batch])
    eager = compute_features(batch, config).numpy()
    assert actual.shape == eager.shape == (len(batch), config.num_frames(batch.shape[1]), config.num_bins)
    assert (np.abs(actual - eager) <= 1e-5 + 1e-5 * np.abs(eager) + rounding).all()


# Not to the last bit: how a matrix product sums depends on the number of its rows, on some processors.
@feature_names
def test_a_batch_of_one_equals_its_row_in_a_batch(name: str) -> None:
    config, batch = CONFIGS[name], waveforms(NUM_SAMPLES)
    together = compute_features(batch, config).numpy()
    for row, waveform in zip(together, batch, strict=True):
        np.testing.assert_allclose(compute_features(waveform, config).numpy(), row, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(compute_features(waveform[None], config).numpy()[0], row, rtol=1e-6, atol=1e-5)
    nested = compute_features(batch[None, :, None], config).numpy()[0, :, 0]
    np.testing.assert_allclose(nested, together, rtol=1e-6, atol=1e-5)


# Here an example has no multiple of 16 values. What is left over at the end of a batch goes through another logarithm
# than what fills a vector register, and may differ in the last bit: of decibels, before they are subtracted.
@feature_names
def test_a_single_frame_is_the_same_in_any_batch(name: str) -> None:
    config, batch = CONFIGS[name], waveforms(100)
    together = compute_features(batch, config).numpy()
    assert together.shape == (len(batch), 1, config.num_bins)
    for row, waveform in zip(together, batch, strict=True):
        np.testing.assert_allclose(compute_features(waveform[None], config).numpy()[0], row, rtol=1e-6, atol=1e-5)


@feature_names
def test_graph_pipeline_and_any_length(name: str) -> None:
    config, batch = CONFIGS[name], waveforms(NUM_SAMPLES)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def of_any_length(waveform: tf.Tensor) -> tf.Tensor:
        return compute_features(waveform, config)

    for num_samples in (1, 255, 1_000, NUM_SAMPLES):
        assert_same(of_any_length(batch[:, :num_samples]).numpy(), config, batch[:, :num_samples])
    assert_same(tf.function(lambda w: compute_features(w, config))(batch).numpy(), config, batch)
    dataset = tf.data.Dataset.from_generator(lambda: iter(batch), output_signature=tf.TensorSpec([None], tf.float32))
    mapped = dataset.map(lambda w: compute_features(w, config))
    assert_same(np.stack(list(mapped.as_numpy_iterator())), config, batch)


@feature_names
def test_compiled(name: str) -> None:
    config, batch = CONFIGS[name], waveforms(NUM_SAMPLES)
    compiled = tf.function(lambda w: compute_features(w, config), jit_compile=True)(batch).numpy()
    difference = np.abs(compiled - compute_features(batch, config).numpy())
    assert (difference <= tolerance(config, batch)).all()


@feature_names
def test_matmul_equals_rfft(name: str) -> None:
    config, batch = CONFIGS[name], waveforms(NUM_SAMPLES)
    by_matrix = compute_features(batch, config.replace(implementation="matmul")).numpy()
    difference = np.abs(by_matrix - compute_features(batch, config).numpy())
    assert (difference <= tolerance(config, batch)).all()


@feature_names
def test_saved_and_on_a_device(name: str, tmp_path: Path) -> None:
    config, batch = CONFIGS[name], waveforms(NUM_SAMPLES)
    eager = compute_features(batch, config).numpy()
    waveform = keras.Input((NUM_SAMPLES,), name="waveform")
    model = keras.Model(waveform, FrontEnd(config)(waveform))
    assert model.output_shape == (None, config.num_frames(NUM_SAMPLES), config.num_bins)
    model.save(tmp_path / "model.keras")
    assert_same(keras.models.load_model(tmp_path / "model.keras").predict(batch, verbose=0), config, batch)

    folder = save_static(model, tmp_path / "saved_model")
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert_same(np.concatenate([served(input=tf.constant(row[None]))["output"] for row in batch]), config, batch)

    content = convert_folder(folder, "float32")
    operators = flatbuffer.operators(content)
    assert not [name for name in operators if name.startswith("CUSTOM") or "FLEX" in name.upper()]
    # The check of values is left out; the zero crossings take an absolute value of their own.
    assert "ABS" not in operators or "zero_crossing_rate" in config.features
    difference = np.abs(run(content, batch) - eager)
    assert (difference <= tolerance(config, batch)).all()
    assert len(content) < 2**20


def run(content: bytes, batch: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    rows = []
    for row in batch:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(rows)


def test_all_at_once_on_a_device(tmp_path: Path) -> None:
    """One file with every feature, its deltas and the standardisation holds one Fourier transform."""
    batch = waveforms(NUM_SAMPLES)
    fitter = NormalizationFitter(smallest_deviations(EVERY))
    fitter.add(compute_features(batch, EVERY).numpy())
    normalization = fitter.result()
    waveform = keras.Input((NUM_SAMPLES,), name="waveform")
    model = keras.Model(waveform, FrontEnd(EVERY, normalization)(waveform))
    content = convert_static(model, tmp_path / "m")
    parsed = flatbuffer.parse(content)
    codes = [parsed.operatorCodes[operator.opcodeIndex] for operator in parsed.subgraphs[0].operators]
    assert sum(code.builtinCode == schema.BuiltinOperator.RFFT2D for code in codes) == 1
    allowed = tolerance(EVERY, batch) / np.asarray(normalization.stddev)
    difference = np.abs(run(content, batch) - compute_features(batch, EVERY, normalization).numpy())
    assert (difference <= allowed + 1e-5).all()


def test_half_precision_policy_leaves_the_front_end_alone() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = FrontEnd(EVERY)
        assert layer(np.ones((1, NUM_SAMPLES), np.float32)).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy("float32")
