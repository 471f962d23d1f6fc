"""One small model of each family as `.tflite`: builtin operators, the logits of Keras, the work that was counted."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.models.test_models import SMALL, build
from tfaudio.config import ModelConfig
from tfaudio.export.flatbuffer import parse
from tfaudio.export.tflite import convert_folder, export_static, refuse_foreign_operators
from tfaudio.export.work import work_of
from tfaudio.models import mobilenet_v1, resnet
from tfaudio.models.backbone import PatchBackbone
from tfaudio.models.complexity import count_macs, outline

FRAMES, BINS = 45, 40
# Those of tests/export are tried there, in all precisions.
FAMILIES = ("ast", "cnn6", "crnn", "kwt", "mobilenet_v1", "resnet")


@pytest.fixture
def few_blocks(monkeypatch):
    """The first blocks of the deepest; the others are more of the same."""
    monkeypatch.setattr(mobilenet_v1, "_BLOCKS", mobilenet_v1._BLOCKS[:4])
    monkeypatch.setattr(resnet, "_STAGES", resnet._STAGES[:2])


def _converted(model: keras.Model, folder: Path) -> bytes:
    """Converts, and holds the file to the logits of Keras on two clips."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if any(part in weight.path for part in ("moving", "gamma", "beta", "bias", "sharpness")):
            weight.assign(rng.uniform(0.2, 1.0, weight.shape))
    content = convert_folder(export_static(model, folder, shape=(1, FRAMES, BINS)), "float32")
    refuse_foreign_operators(content)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert entry["shape_signature"].tolist() == [1, FRAMES, BINS]
    for features in np.random.default_rng(1).normal(size=(2, 1, FRAMES, BINS)).astype(np.float32):
        interpreter.set_tensor(entry["index"], features)
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(result["index"]), model(features), atol=1e-4)
    return content


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_equals_keras_and_multiplies_what_was_counted(name, few_blocks, tmp_path):
    keras.utils.set_random_seed(0)
    options = {**SMALL[name], **({"depth": 1} if "depth" in SMALL[name] else {})}
    content = _converted(build(name, options), tmp_path / name)
    products = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
    found = sum(work.macs for work in work_of(parse(content)) if work.operator in products)
    counted = count_macs(outline(ModelConfig(name=name, options=options), input_shape=(FRAMES, BINS), num_classes=3))
    # A dense layer behind mean plus maximum is two in the file, and a weighted mean over frames is no product there.
    assert found == pytest.approx(counted, rel=0.01)


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
