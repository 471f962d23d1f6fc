"""What each method does to a twin, on batches made here."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.export.small_runs import LABELS, SAMPLE_RATE, tones, untrained
from tfaudio.bundle import Bundle
from tfaudio.config import RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.export.flatbuffer import float_operators, operators
from tfaudio.optimize.methods import Lessons, Outcome, apply_method
from tfaudio.optimize.settings import OptimizeConfig
from tfaudio.optimize.twin import Twin, build_twin
from tfaudio.training.loss import make_loss

LOSS = make_loss(RunConfig().override({"training.label_smoothing": 0.1}))
CONFIG = OptimizeConfig(epochs=2, learning_rate=1e-3, sparsity=0.7, clusters=5)
BATCH = 12


class Case:
    """A run with random weights, its twin, and tones to train on."""

    def __init__(self, name: str) -> None:
        self.bundle: Bundle = untrained(name)
        waveforms, targets = tones(4 * BATCH, seed=1)
        self.features = np.asarray(self.bundle.front_end(SAMPLE_RATE)(waveforms))
        self.twin: Twin = build_twin(self.bundle.body(), self.features[:2])
        one_hot = np.eye(len(LABELS), dtype=np.float32)[targets]
        self.dataset = tf.data.Dataset.from_tensor_slices((self.features, one_hot)).batch(BATCH).repeat(CONFIG.epochs)

    def apply(self, method: str, dataset: tf.data.Dataset | None = None) -> Outcome:
        said: list[str] = []
        lessons = Lessons(dataset or self.dataset, 4, loss=LOSS, one_class=True, seed=0)
        outcome = apply_method(method, self.twin, lessons, CONFIG, said.append)
        assert [line.split(":")[1].strip() for line in said] == ["epoch 1 of 2", "epoch 2 of 2"]
        return outcome

    def logits(self, outcome: Outcome) -> np.ndarray:
        """Of Keras 3 with the weights that a method ended with."""
        before = self.bundle.classifier.get_weights()
        self.bundle.classifier.set_weights(outcome.weights)
        logits = np.asarray(self.bundle.classifier(self.features, training=False))
        self.bundle.classifier.set_weights(before)
        return logits


@pytest.fixture(scope="module")
def ds_cnn() -> Case:
    return Case("ds_cnn")


def kernels(case: Case, outcome: Outcome, *kinds: str) -> list[np.ndarray]:
    case_weights = dict(zip([w.path for w in case.bundle.classifier.weights], outcome.weights, strict=True))
    layers = [layer for layer in case.bundle.classifier.layers if type(layer).__name__ in kinds]
    assert layers
    return [case_weights[layer.kernel.path] for layer in layers]


def test_the_control_is_plain_training_and_leaves_the_twin_alone(ds_cnn: Case) -> None:
    before = [weight.copy() for weight in ds_cnn.twin.model.get_weights()]
    outcome = ds_cnn.apply("control")
    assert outcome.int8 is None
    for weight, original in zip(outcome.weights, ds_cnn.bundle.classifier.get_weights(), strict=True):
        assert np.abs(weight - original).max() > 1e-4
    for weight, original in zip(ds_cnn.twin.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, original)  # the twin is there for the next method


def test_pruning_reaches_its_share_in_every_layer_but_depthwise_ones(ds_cnn: Case) -> None:
    outcome = ds_cnn.apply("prune")
    for kernel in kernels(ds_cnn, outcome, "Conv2D", "Dense"):
        assert np.mean(kernel == 0) == pytest.approx(CONFIG.sparsity, abs=1.0 / kernel.size + 1e-9)
    for kernel in kernels(ds_cnn, outcome, "DepthwiseConv2D"):
        assert np.all(kernel != 0)


def test_clustering_leaves_so_many_values_in_every_layer_but_depthwise_ones(ds_cnn: Case) -> None:
    outcome = ds_cnn.apply("cluster")
    for kernel in kernels(ds_cnn, outcome, "Conv2D", "Dense"):
        assert 1 < len(np.unique(kernel)) <= CONFIG.clusters
    for kernel in kernels(ds_cnn, outcome, "DepthwiseConv2D"):
        assert len(np.unique(kernel)) > CONFIG.clusters


@pytest.mark.parametrize("name", ["ds_cnn", "dense"])
def test_an_int8_classifier_follows_the_weights_that_were_trained_for_it(name: str, ds_cnn: Case) -> None:
    case = ds_cnn if name == "ds_cnn" else Case(name)
    outcome = case.apply("qat")
    assert outcome.int8 is not None
    left = set(float_operators(outcome.int8)) - {"QUANTIZE", "DEQUANTIZE"}
    if name == "ds_cnn":
        assert left == set()
        assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN"} <= set(operators(outcome.int8))
    else:
        assert {"SQUARED_DIFFERENCE", "SQRT"} <= left
        assert "FULLY_CONNECTED" in set(operators(outcome.int8)) - left
    interpreter = Interpreter(model_content=outcome.int8)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (tuple(entry["shape"]), entry["dtype"]) == ((1, *case.features.shape[1:]), np.float32)
    rows = []
    for row in case.features:
        interpreter.set_tensor(entry["index"], row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0])
    wanted = case.logits(outcome)
    error = np.stack(rows) - wanted
    assert 10 * np.log10(np.mean(wanted**2) / np.mean(error**2)) > 12.0


def test_a_training_that_diverges_says_so(ds_cnn: Case) -> None:
    bad = ds_cnn.dataset.map(lambda features, targets: (features * np.float32("inf"), targets))
    with pytest.raises(TfaudioError, match=r"control: .*no numbers; lower --learning_rate"):
        ds_cnn.apply("control", bad)
