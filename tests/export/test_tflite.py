from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

from tests.export.small_runs import LABELS, SAMPLE_RATE, Exported, tones
from tests.static_models import convert_static
from tfaudio.errors import TfaudioError
from tfaudio.export import flatbuffer, quantize
from tfaudio.export.report import TFLITE_VARIANTS
from tfaudio.export.tflite import TfliteConverter, check_runs, convert_function

CUSTOM = 32


def run_signature(content: bytes, waveforms: np.ndarray) -> np.ndarray:
    runner = Interpreter(model_content=content).get_signature_runner("serving_default")
    return np.concatenate([runner(waveform=waveform[None])["scores"] for waveform in waveforms])


def tensors_written_by(content: bytes, operator: str) -> list[int]:
    """Types of the tensors that operators of one kind write."""
    model = flatbuffer.parse(content)
    graph = model.subgraphs[0]
    wanted = getattr(schema.BuiltinOperator, operator)
    return [
        graph.tensors[int(op.outputs[0])].type
        for op in graph.operators
        if model.operatorCodes[op.opcodeIndex].builtinCode == wanted
    ]


@pytest.mark.parametrize("variant", TFLITE_VARIANTS)
def test_scores_are_those_of_keras(run: Exported, variant: str) -> None:
    scores = run_signature(run.content(variant), run.waveforms)
    tolerance = {"float32": 1e-4, "float16": 0.01, "dynamic_range": 0.05, "int8": 0.1}[variant]
    np.testing.assert_allclose(scores, run.keras_scores, atol=tolerance)
    assert np.mean(scores.argmax(1) == run.keras_scores.argmax(1)) >= 0.98
    assert np.mean(scores.argmax(1) == run.targets) >= np.mean(run.keras_scores.argmax(1) == run.targets) - 0.01


@pytest.mark.parametrize("variant", TFLITE_VARIANTS)
def test_batch_of_one_static_shapes_and_builtin_operators(run: Exported, variant: str) -> None:
    content = run.content(variant)
    interpreter = Interpreter(model_content=content)
    (waveform,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert waveform["shape_signature"].tolist() == [1, SAMPLE_RATE]
    assert scores["shape_signature"].tolist() == [1, len(LABELS)]
    assert waveform["dtype"] == scores["dtype"] == np.float32
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["waveform"], "outputs": ["scores"]}}
    model = schema.Model.GetRootAsModel(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    assert codes
    assert not [code.CustomCode() for code in codes if code.BuiltinCode() == CUSTOM or code.CustomCode()]


def test_int8_computes_in_integers_behind_a_float_front_end(run: Exported) -> None:
    content = run.content("int8")
    assert set(tensors_written_by(content, "CONV_2D")) == {schema.TensorType.INT8}
    assert set(tensors_written_by(content, "LOG")) == {schema.TensorType.FLOAT32}
    assert "DEQUANTIZE" in flatbuffer.operators(content)


def test_int8_of_a_cnn_leaves_nothing_float_and_of_a_transformer_its_attention(
    cnn: Exported, attention: Exported
) -> None:
    assert set(tensors_written_by(cnn.content("int8"), "MAX_POOL_2D")) == {schema.TensorType.INT8}
    assert set(tensors_written_by(attention.content("int8"), "BATCH_MATMUL")) == {schema.TensorType.FLOAT32}
    notes = {report.name: report.notes for report in attention.report.formats}
    assert "BATCH_MATMUL" in notes["int8"][0]
    assert not notes["float32"]


def test_sizes_fall_with_precision(run: Exported) -> None:
    sizes = {variant: len(run.content(variant)) for variant in TFLITE_VARIANTS}
    assert sizes["float32"] > 1.4 * sizes["float16"]
    assert sizes["float16"] > sizes["int8"]


@pytest.mark.parametrize("variant", TFLITE_VARIANTS)
def test_constants_lie_on_16_byte_boundaries(cnn: Exported, variant: str) -> None:
    model = schema.Model.GetRootAsModel(cnn.content(variant), 0)
    starts = []
    for index in range(model.BuffersLength()):
        table = model.Buffers(index)._tab
        field = table.Offset(4)  # data, the first field
        if field and table.VectorLen(field):
            starts.append(table.Vector(field))
    assert len(starts) > 5
    assert [start % 16 for start in starts] == [0] * len(starts)


def test_silence_full_scale_and_noise_are_scored(run: Exported) -> None:
    rng = np.random.default_rng(0)
    odd = np.stack([np.zeros(SAMPLE_RATE), np.ones(SAMPLE_RATE), rng.uniform(-1, 1, SAMPLE_RATE)]).astype(np.float32)
    expected = run.bundle.end_to_end(SAMPLE_RATE).predict(odd, verbose=0)
    np.testing.assert_allclose(run_signature(run.content("float32"), odd), expected, atol=1e-4)
    for variant in TFLITE_VARIANTS:
        np.testing.assert_allclose(run_signature(run.content(variant), odd).sum(axis=1), 1.0, atol=1e-3)


def test_the_front_end_without_fourier_operator(cnn: Exported, tmp_path: Path) -> None:
    config = cnn.bundle.config.override({"front_end.implementation": "matmul"})
    bundle = replace(cnn.bundle, config=config)
    content = TfliteConverter(bundle, SAMPLE_RATE, tones(4, 1)[0], tmp_path).convert("float16").content
    assert not [name for name in flatbuffer.operators(content) if "FFT" in name]
    np.testing.assert_allclose(run_signature(content, cnn.waveforms[:20]), cnn.keras_scores[:20], atol=0.01)


def two_branches() -> keras.Model:
    """dense(mean + maximum), which TensorFlow 2.16 turns into two products, one the bias of the other."""
    features = keras.Input((5, 8), name="features")
    pooled = keras.ops.mean(features, axis=1) + keras.ops.max(features, axis=1)
    return keras.Model(features, keras.layers.Dense(3, bias_initializer="glorot_normal")(pooled))


def test_a_computed_bias_can_be_quantised(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = two_branches()
    data = np.random.default_rng(0).normal(size=(50, 5, 8)).astype(np.float32)
    content = convert_static(model, tmp_path / "m")
    expected = model.predict(data, verbose=0)

    def outputs(file: bytes) -> np.ndarray:
        interpreter = Interpreter(model_content=file)
        interpreter.allocate_tensors()
        rows = []
        for row in data:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
        return np.array(rows)

    repaired = flatbuffer.constant_biases(content)
    np.testing.assert_allclose(outputs(repaired), expected, atol=1e-5)
    assert flatbuffer.constant_biases(repaired) == repaired
    quantized = quantize.int8(content, (row[None] for row in data))
    assert quantized.notes == ()
    np.testing.assert_allclose(outputs(quantized.content), expected, atol=0.15)


def test_recurrent_layers_are_refused_before_they_kill_the_process() -> None:
    model = keras.Sequential([keras.Input((5, 8)), keras.layers.Bidirectional(keras.layers.GRU(4, name="memory"))])
    with pytest.raises(TfaudioError, match=r"recurrent layers .*dynamic_range"):
        quantize.check_can_be_int8(model)


def test_an_operator_that_devices_lack_is_refused(tmp_path: Path) -> None:
    x = keras.Input((4,), name="features")
    with pytest.raises(TfaudioError, match=r"cannot convert the classifier to TFLite float32"):
        convert_static(keras.Model(x, keras.ops.erfinv(x)), tmp_path / "classifier")


def test_parts_that_do_not_fit_are_not_joined(tmp_path: Path) -> None:
    three, four = tf.TensorSpec((1, 3), name="a"), tf.TensorSpec((1, 4), name="b")
    first = convert_function(lambda a: {"b": a * 2.0}, [three], tmp_path / "first")
    second = convert_function(lambda b: {"c": b * 2.0}, [four], tmp_path / "second")
    with pytest.raises(ValueError, match="do not fit"):
        flatbuffer.join([first, second], inputs=["a"], outputs=["c"])


def test_a_file_of_another_form_does_not_pass(cnn: Exported) -> None:
    with pytest.raises(TfaudioError, match="takes"):
        check_runs(cnn.content("float32"), num_samples=8000, num_classes=len(LABELS))
