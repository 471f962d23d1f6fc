"""One small model of each family as `.tflite`: builtin operators, the logits of Keras, the work that was counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.models.test_models import SMALL, build
from tests.static_models import convert_static
from tfaudio.config import ModelConfig
from tfaudio.errors import TfaudioError
from tfaudio.export.flatbuffer import float_operators, parse
from tfaudio.export.quantize import check_can_be_int8, int8, int16x8
from tfaudio.export.tflite import refuse_foreign_operators
from tfaudio.export.work import work_of
from tfaudio.models import efficientnet, mobilenet_v1, mobilenet_v3, resnet, yamnet
from tfaudio.models.backbone import PatchBackbone
from tfaudio.models.complexity import count_macs, outline

FRAMES, BINS = 45, 40
# Those of tests/export are tried there, in all precisions.
FAMILIES = (
    *("ast", "cnn6", "conformer", "crnn", "efficientnet", "kwt", "mha_rnn", "mobilenet_v1", "mobilenet_v3", "resnet"),
    *("waveform_cnn", "yamnet", "cnn10", "cnn14", "mobilenet_v2", "ensemble"),
)
WITH_MEMORY = ("crnn", "mha_rnn")  # which int8 is refused
IN_INT8 = tuple(name for name in FAMILIES if name not in WITH_MEMORY)


@pytest.fixture
def few_blocks(monkeypatch):
    """The first blocks of the deepest; the others are more of the same."""
    monkeypatch.setattr(mobilenet_v1, "BLOCKS", mobilenet_v1.BLOCKS[:4])
    monkeypatch.setattr(yamnet, "BLOCKS", mobilenet_v1.BLOCKS[:4])
    monkeypatch.setattr(resnet, "_STAGES", resnet._STAGES[:2])
    monkeypatch.setattr(efficientnet, "_STAGES", efficientnet._STAGES[:3])
    monkeypatch.setitem(mobilenet_v3._SIZES, "small", (mobilenet_v3._SMALL[:5], 64))


def _converted(model: keras.Model, folder: Path) -> bytes:
    """Converts, and holds the file to the logits of Keras on two clips."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if any(part in weight.path for part in ("moving", "gamma", "beta", "bias", "sharpness")):
            weight.assign(rng.uniform(0.2, 1.0, weight.shape))
    content = convert_static(model, folder, shape=(1, FRAMES, BINS))
    refuse_foreign_operators(content)
    for features in np.random.default_rng(1).normal(size=(2, 1, FRAMES, BINS)).astype(np.float32):
        np.testing.assert_allclose(_logits(content, features), model(features), atol=1e-4)
    return content


def _logits(content: bytes, features: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert entry["shape_signature"].tolist() == [1, FRAMES, BINS]
    interpreter.set_tensor(entry["index"], features)
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])


_FILES: dict[str, bytes] = {}


def _file(name: str, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """One small model of a family, converted once for all tests, and the options that make it."""
    options = {**SMALL.get(name, {}), **({"depth": 1} if name in ("ast", "conformer", "kwt", "mha_rnn") else {})}
    if name not in _FILES:
        keras.utils.set_random_seed(0)
        _FILES[name] = _converted(build(name, options), folder / name)
    return _FILES[name], options


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_equals_keras_and_multiplies_what_was_counted(name, few_blocks, tmp_path):
    content, options = _file(name, tmp_path)
    products = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
    found = sum(work.macs for work in work_of(parse(content)) if work.operator in products)
    counted = count_macs(outline(ModelConfig(name=name, options=options), input_shape=(FRAMES, BINS), num_classes=3))
    # A dense layer behind mean plus maximum is two in the file, and a weighted mean over frames is no product there.
    assert found == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("name", IN_INT8)
def test_int8_follows_the_float_file(name, few_blocks, tmp_path):
    content, _ = _file(name, tmp_path)
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20, 1, FRAMES, BINS)).astype(np.float32)
    quantized = int8(content, features[:12]).content
    assert "CONV_2D" not in float_operators(quantized)
    expected, found = (np.stack([_logits(file, row) for row in features[12:]]) for file in (content, quantized))
    decibels = 10 * np.log10(np.mean(expected**2) / np.mean((found - expected) ** 2))
    assert decibels > 15.0, decibels


@pytest.mark.parametrize("variant", ["float16", "dynamic_range"])
@pytest.mark.parametrize("name", [*WITH_MEMORY, "ast", "mobilenet_v3", "waveform_cnn"])
def test_smaller_weights_follow_keras(name, variant, few_blocks, tmp_path):
    _, options = _file(name, tmp_path)
    keras.utils.set_random_seed(0)
    model = build(name, options)
    content = convert_static(model, tmp_path / variant, variant, shape=(1, FRAMES, BINS))
    refuse_foreign_operators(content)
    features = np.random.default_rng(3).normal(size=(8, 1, FRAMES, BINS)).astype(np.float32)
    expected = np.stack([np.asarray(model(row)) for row in features])
    found = np.stack([_logits(content, row) for row in features])
    decibels = 10 * np.log10(np.mean(expected**2) / np.mean((found - expected) ** 2))
    assert decibels > (50.0 if variant == "float16" else 20.0), decibels


def test_16_bits_of_hard_swish_are_refused(few_blocks, tmp_path):
    content, _ = _file("mobilenet_v3", tmp_path)
    with pytest.raises(TfaudioError, match=r"int16x8 has no 16-bit form of HARD_SWISH, which the model needs"):
        int16x8(content, [])


@pytest.mark.parametrize(("name", "layers"), [("mha_rnn", "memory_0.*memory_1"), ("crnn", "memory")])
def test_int8_of_memory_is_refused(name, layers):
    with pytest.raises(TfaudioError, match=rf"recurrent layers \(.*{layers}.*\); export dynamic_range"):
        check_can_be_int8(build(name, SMALL[name]))


@pytest.mark.parametrize("size", [(16, BINS), (24, 48)])
def test_patches_for_an_image_network_convert(size, tmp_path):
    image = keras.Input((*size, 3))
    small = keras.layers.Conv2D(4, 5, strides=4, activation="relu", name="conv")(image)
    body = keras.Model(image, keras.layers.GlobalAveragePooling2D()(small))
    features = keras.Input((None, BINS), name="features")
    patches = PatchBackbone(body, 16)(features)
    model = keras.Model(features, keras.layers.Dense(3)(keras.ops.mean(patches, axis=1)))
    _converted(model, tmp_path / "backbone")


def test_a_head_that_weighs_frames_by_class_converts(tmp_path):
    keras.utils.set_random_seed(0)
    content = _converted(build("cnn", {"filters": [8, 8], "head": "class_attention"}), tmp_path / "cnn")
    found = sum(work.macs for work in work_of(parse(content)))
    config = ModelConfig(name="cnn", options={"filters": [8, 8], "head": "class_attention"})
    assert found == pytest.approx(count_macs(outline(config, input_shape=(FRAMES, BINS), num_classes=3)), rel=0.02)
