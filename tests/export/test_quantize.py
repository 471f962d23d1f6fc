"""Which precision every architecture can be had in, and what a reader is told where it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

from tests.export.small_runs import LEAF, OPTIONS, SAMPLE_RATE, WAVEFORM, tones, untrained
from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError
from tfaudio.export.flatbuffer import float_operators, parse
from tfaudio.export.microcontroller import BareClassifier
from tfaudio.export.quantize import int8
from tfaudio.export.tflite import TfliteConverter
from tfaudio.models import MODELS

NAMES = [*OPTIONS, "leaf"]
NO_16_BITS = {"attention": "GELU, NEG, RSQRT, SQUARED_DIFFERENCE", "dense": "SQRT, SQUARED_DIFFERENCE"}
# Decibels that the logits must be above their error. A deep network loses more than the others.
LEAST_DB = {"bc_resnet": {"tflm": 5.0}}


class Run:
    """A run, its converter and what Keras makes of some tones."""

    def __init__(self, name: str, bundle: Bundle, folder: Path) -> None:
        self.name, self.bundle = name, bundle
        self.converter = TfliteConverter(bundle, SAMPLE_RATE, tones(24, seed=1)[0], folder)
        self.waveforms, _ = tones(12, seed=2)
        self.features = np.asarray(bundle.front_end(SAMPLE_RATE)(self.waveforms))
        self.logits = np.asarray(bundle.body()(self.features, training=False))

    def check(self, variant: str, logits: np.ndarray) -> None:
        found = 10 * np.log10(np.mean(self.logits**2) / np.mean((logits - self.logits) ** 2))
        assert found > LEAST_DB.get(self.name, {}).get(variant, 15.0), found


def logits_of(classifier: bytes, features: np.ndarray) -> np.ndarray:
    """Runs a classifier of float32 features to float32 logits."""
    interpreter = Interpreter(model_content=classifier)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for row in features:
        interpreter.set_tensor(entry["index"], row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0])
    return np.stack(rows)


@pytest.fixture(scope="module", params=NAMES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name: str = request.param
    if name == "leaf":
        bundle = untrained("cnn", front_end=LEAF)
    else:
        bundle = untrained(name, **({"front_end": WAVEFORM} if name == "waveform_cnn" else {}))
    return Run(name, bundle, tmp_path_factory.mktemp(name))


def test_what_is_tried_is_registered() -> None:
    assert set(OPTIONS) <= set(MODELS)  # the other architectures are converted in tests/models, in float32


def test_int8_follows_keras(run: Run) -> None:
    conversion = run.converter.convert("int8")  # runs it, too
    run.check("int8", logits_of(run.converter.classifier("int8"), run.features))
    if run.name in ("cnn", "ds_cnn", "leaf"):
        assert conversion.notes == ()
    if run.name in ("attention", "dense"):
        assert "stay float32" in conversion.notes[0]


def test_standard_deviations_stay_float(run: Run) -> None:
    if run.name == "dense":
        left = float_operators(run.converter.classifier("int8"))
        assert {"MEAN", "SQUARED_DIFFERENCE", "SQRT"} <= set(left)
        assert "FULLY_CONNECTED" not in left


def test_16_bit_activations_work_or_are_refused_with_the_operators(run: Run) -> None:
    if run.name in NO_16_BITS:
        with pytest.raises(TfaudioError, match=f"no 16-bit form of {NO_16_BITS[run.name]}, .*export int8"):
            run.converter.convert("int16x8")
        return
    run.converter.convert("int16x8")
    classifier = run.converter.classifier("int16x8")
    run.check("int16x8", logits_of(classifier, run.features))
    types = {int(tensor.type) for tensor in parse(classifier).subgraphs[0].tensors}
    assert schema.TensorType.INT16 in types


def test_integers_throughout_work_or_are_refused_with_what_stays_float(run: Run) -> None:
    if run.name == "attention":
        with pytest.raises(TfaudioError, match="in float; choose another model"):
            run.converter.convert_bare()
        return
    try:
        content = run.converter.convert_bare()
    except TfaudioError as error:
        # TensorFlow 2.16 has no integer form of the root; later ones have.
        if run.name == "dense" and "SQRT" in str(error):
            return
        raise
    assert float_operators(content) == []
    bare = BareClassifier(content, run.bundle.front_end(SAMPLE_RATE))
    logits = bare.logits(bare.quantized_features(run.waveforms)).astype(np.float32)
    run.check("tflm", (logits - bare.output_zero) * bare.output_scale)
    np.testing.assert_allclose(bare.score(run.waveforms[:3]).sum(axis=1), 1.0, atol=1e-5)


def test_a_deep_network_keeps_float_what_lies_between_its_products(run: Run) -> None:
    # Of BC-ResNet eight bits between every two operators leave 14 dB of the logits on trained weights, these 23.
    if run.name == "bc_resnet":
        float_model = run.converter.classifier("float32")
        features = [row[None] for row in run.features]
        everywhere = int8(float_model, features, keep_float=())
        chosen = int8(float_model, features)

        def error(content: bytes) -> float:
            return float(np.mean((logits_of(content, run.features) - run.logits) ** 2))

        assert error(chosen.content) <= error(everywhere.content)
        if chosen.notes:
            assert "DEPTHWISE_CONV_2D" in chosen.notes[0]
            assert "FULLY_CONNECTED" not in chosen.notes[0]
