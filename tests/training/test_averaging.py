"""Averaged weights: the mean that is meant, statistics of the mean's own activations, the same after a resumption."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest

from tfaudio import bundle
from tfaudio.config import ModelConfig, RunConfig, TrainingConfig
from tfaudio.data.labelled import read_labelled_data
from tfaudio.errors import TfaudioError
from tfaudio.models import build_model
from tfaudio.models.classifier import build_classifier
from tfaudio.training import averaging, trainer
from tfaudio.training.averaging import averaged_classifier
from tfaudio.training.checkpoint import RunKeeper
from tfaudio.training.optimizer import make_optimizer
from tfaudio.training.trainer import train


def _quiet(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.override({"training.epochs": 4, "training.swa_fraction": 0.5})


@pytest.fixture(scope="module")
def data(config):
    return read_labelled_data(config, progress=False)


class _Watch(keras.callbacks.Callback):
    """Takes down the weights after each epoch, and may end the process after so many steps."""

    def __init__(self, kill_at: int = 0) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []
        self.kill_at, self.steps = kill_at, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.kill_at:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())

    def close(self):
        pass


@pytest.fixture(scope="module")
def finished(config, data, tmp_path_factory):
    """A run, and its weights after each epoch."""
    watch = _Watch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Progress", lambda epochs, log: watch)
        run = train(config, tmp_path_factory.mktemp("run") / "run", data=data, log=_quiet)
    return run, watch.weights


def test_the_mean_of_the_last_epochs_is_kept(config, finished):
    run, weights = finished
    assert config.training.averaged_epochs == 2
    expected = [np.mean(pair, axis=0, dtype=np.float64) for pair in zip(weights[2], weights[3], strict=True)]
    learnt = 0
    for mean, variable in zip(expected, run.classifier.weights, strict=True):
        if "moving" not in variable.path:
            learnt += 1
            np.testing.assert_allclose(variable, mean, rtol=1e-5, atol=1e-7, err_msg=variable.path)
    assert learnt >= 6
    assert any((a != b).any() for a, b in zip(weights[2], weights[3], strict=True))


def test_statistics_are_those_of_the_mean_weights(small_config):
    # Without dropout the first normalisation sees convolutions of the batches, whose moments NumPy knows too.
    config = small_config.override({"model.options": {"filters": [4], "dropout": 0.0}})
    rng = np.random.default_rng(0)
    batches = [(rng.normal(i, 1 + i, size=(5, 12, 32)).astype(np.float32), None) for i in range(3)]
    keras.utils.set_random_seed(1)
    weights = build_classifier(config, 10).get_weights()
    model = averaged_classifier(config, 10, weights, batches)
    convolution = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    activations = keras.Model(model.input, convolution.output)
    seen = [activations(inputs).numpy().astype(np.float64) for inputs, _ in batches]
    moving = {v.path.rsplit("/", 1)[-1]: v.numpy() for v in model.weights if "moving" in v.path}
    np.testing.assert_allclose(moving["moving_mean"], np.mean([s.mean((0, 1, 2)) for s in seen], axis=0), rtol=1e-4)
    np.testing.assert_allclose(moving["moving_variance"], np.mean([s.var((0, 1, 2)) for s in seen], axis=0), rtol=1e-4)


def test_a_model_without_such_statistics_is_the_mean_itself(small_config):
    config = small_config.override({"model.name": "kwt", "model.options": {"width": 8, "depth": 1, "heads": 1}})
    keras.utils.set_random_seed(1)
    weights = build_classifier(config, 10).get_weights()
    model = averaged_classifier(config, 10, weights, iter([]))
    for found, given in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, given)


def test_a_killed_run_resumes_to_the_same_mean(config, data, finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        # Of five steps an epoch: in the last, when the mean is begun.
        patch.setattr(trainer, "Progress", lambda epochs, log: _Watch(kill_at=17))
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", data=data, log=_quiet)
    resumed = train(config, tmp_path / "run", data=data, resume=True, progress=False, log=_quiet)
    for found, expected in zip(resumed.classifier.weights, finished[0].classifier.weights, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=expected.path)


def test_a_run_killed_before_its_weights_were_written_finds_the_mean_again(
    config, data, finished, tmp_path, monkeypatch
):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "averaged_classifier", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", data=data, progress=False, log=_quiet)
    resumed = train(config, tmp_path / "run", data=data, resume=True, progress=False, log=_quiet)
    for found, expected in zip(resumed.classifier.weights, finished[0].classifier.weights, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=expected.path)


def test_the_mean_takes_the_place_of_the_epoch_that_validation_would_choose(config, data, tmp_path):
    validated = config.override({"data.validation_fraction": 0.2})
    run = train(validated, tmp_path / "run", data=data, progress=False, log=_quiet)
    assert "val_loss" in next(csv.DictReader((run.path / bundle.HISTORY).open()))
    best = bundle.load_bundle(run.path)
    best.classifier.load_weights(run.path / bundle.CHECKPOINTS / "best.weights.h5")
    pairs = zip(best.classifier.get_weights(), run.classifier.get_weights(), strict=True)
    assert any((one != other).any() for one, other in pairs)


def test_the_rate_is_held_at_the_end():
    settings = TrainingConfig(learning_rate=1e-2, warmup_fraction=0.1, epochs=10, swa_fraction=0.4, swa_rate=0.25)
    optimizer = make_optimizer(settings, total_steps=100)
    rates = [float(optimizer._learning_rate(step)) for step in range(101)]
    assert rates[10] == pytest.approx(1e-2)
    assert rates[35] == pytest.approx((1e-2 + 2.5e-3) / 2, rel=1e-3)  # half way down
    np.testing.assert_allclose(rates[60:], 2.5e-3, rtol=1e-5)
    assert np.all(np.diff(rates[10:61]) < 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.swa_fraction": 1.0}, r"training\.swa_fraction must be in \[0, 1\)"),
        ({"training.swa_fraction": 0.95}, "leave no epoch between them"),
        ({"training.swa_rate": 0.0}, r"training\.swa_rate must be in \(0, 1\]"),
        (
            {"training.swa_fraction": 0.2, "training.early_stopping_patience": 3, "data.validation_fraction": 0.2},
            "exclude each other",
        ),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(TfaudioError, match=message):
        RunConfig().override(settings)


def test_the_keeper_averages_nothing_unasked(tmp_path):
    assert RunKeeper(tmp_path).averaged_weights() == []


def test_statistics_inside_a_network_over_patches_are_found():
    model = build_model(ModelConfig(name="yamnet"), input_shape=(None, 64), num_classes=2)
    means = [weight for weight in model.weights if weight.path.endswith("moving_mean")]
    assert len(list(averaging._batch_normalizations(model))) == len(means) > 0
