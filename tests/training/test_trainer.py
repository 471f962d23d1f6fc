"""Training: reproducible, resumable, and honest about what it chose by."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfaudio import bundle
from tfaudio.bundle import load_bundle
from tfaudio.config import TrainingConfig
from tfaudio.data.labelled import read_labelled_data, split_of
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.evaluate import evaluate
from tfaudio.files import write_json
from tfaudio.training import trainer
from tfaudio.training.optimizer import make_optimizer
from tfaudio.training.strategy import check_batch, make_strategy, precision_policy
from tfaudio.training.trainer import check_settings, class_weights, train


def _weights(run: bundle.Bundle) -> list[np.ndarray]:
    return [np.array(w) for w in run.classifier.weights]


def _assert_same(left: bundle.Bundle, right: bundle.Bundle) -> None:
    for a, b, variable in zip(_weights(left), _weights(right), left.classifier.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=variable.path)


def _quiet(line: str) -> None:
    del line


class _Killed(BaseException):
    """Stands for a process that ends in the middle of an epoch."""


@pytest.fixture(scope="module")
def data(small_config):
    return read_labelled_data(small_config, progress=False)


@pytest.fixture(scope="module")
def finished(small_config, data, tmp_path_factory):
    return train(small_config, tmp_path_factory.mktemp("run") / "run", data=data, progress=False, log=_quiet)


def test_a_seed_makes_two_runs_equal_whatever_the_parallelism(small_config, data, finished, tmp_path):
    config = small_config.override({"data.parallel_calls": 1})
    _assert_same(train(config, tmp_path / "again", data=data, progress=False, log=_quiet), finished)


def test_a_finished_run_that_lost_a_part_is_mended_by_resuming(small_config, data, finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "copy")
    (tmp_path / "copy" / "labels.txt").unlink()
    again = train(small_config, tmp_path / "copy", data=data, resume=True, progress=False, log=_quiet)
    _assert_same(again, finished)
    assert again.labels == finished.labels


def test_what_cannot_be_trained_leaves_the_run_before(small_config, data, finished, tmp_path, monkeypatch):
    class Three:
        num_replicas_in_sync = 3

    shutil.copytree(finished.path, tmp_path / "copy")
    monkeypatch.setattr(trainer, "check_settings", lambda *_: Three())
    few = len(data.recordings.select(split_of(small_config, data.spec).train))
    config = small_config.override({"training.batch_size": 3 * few})
    assert few % 3
    with pytest.raises(TfaudioError, match=f"batch_size {few} does not divide among 3 replicas"):
        train(config, tmp_path / "copy", data=data, overwrite=True, progress=False, log=_quiet)
    _assert_same(load_bundle(tmp_path / "copy"), finished)


def test_validation_that_cannot_be_used_stops_nothing_early(small_config, data, tmp_path):
    config = small_config.override({"training.early_stopping_patience": 2, "data.validation_fraction": 0.3})
    validation = set(split_of(config, data.spec).validation)
    usable = tuple(clip for clip in data.recordings.clips if clip not in validation)
    assert 0 < len(usable) < len(data.recordings.clips)
    damaged = replace(data, recordings=replace(data.recordings, clips=usable))
    with pytest.raises(TfaudioError, match="none of those that are kept for it can be used"):
        train(config, tmp_path / "run", data=damaged, progress=False, log=_quiet)
    assert not (tmp_path / "run").exists()


def test_another_seed_makes_another_run(small_config, data, finished, tmp_path):
    config = small_config.override({"training.seed": 1})
    other = train(config, tmp_path / "other", data=data, progress=False, log=_quiet)
    assert any((a != b).any() for a, b in zip(_weights(other), _weights(finished), strict=True))


def _train_until_killed(config, run_dir, data, monkeypatch, steps):
    class Killer(keras.callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done == steps:
                raise _Killed

        def close(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "Progress", lambda epochs, log: Killer())
        with pytest.raises(_Killed):
            train(config, run_dir, data=data, log=_quiet)


@pytest.mark.parametrize("killed_after_steps", [2, 5, 9])
def test_a_killed_run_resumes_to_the_same_weights(
    small_config, data, finished, tmp_path, monkeypatch, killed_after_steps
):
    _train_until_killed(small_config, tmp_path / "run", data, monkeypatch, killed_after_steps)
    with pytest.raises(TfaudioError, match="--resume"):
        load_bundle(tmp_path / "run")
    resumed = train(small_config, tmp_path / "run", data=data, resume=True, progress=False, log=_quiet)
    _assert_same(resumed, finished)
    rows = list(csv.DictReader((tmp_path / "run" / bundle.HISTORY).open()))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3]


def test_resuming_a_finished_run_changes_nothing(small_config, data, finished):
    again = train(small_config, finished.path, data=data, resume=True, progress=False, log=_quiet)
    _assert_same(again, finished)


def test_resuming_a_finished_run_gives_it_as_it_was_trained(small_config, data, finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished.path, copy)
    write_json(copy / bundle.CALIBRATION, {"temperature": 3.0, "thresholds": {}, "unknown_below": None})
    again = train(small_config, copy, data=data, resume=True, progress=False, log=_quiet)
    _assert_same(again, finished)
    assert np.any(bundle.load_bundle(copy).classifier.get_weights()[-1] != finished.classifier.get_weights()[-1])


def test_a_disk_that_is_full_is_told(small_config, data, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", refuse)
    with pytest.raises(TfaudioError, match=r"cannot be written to .*\(No space left on device\); make room"):
        train(small_config, tmp_path / "run", data=data, progress=False, log=_quiet)


def test_a_damaged_state_gives_way_to_the_one_before(small_config, data, finished, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    _train_until_killed(small_config, run_dir, data, monkeypatch, 13)
    states = sorted((run_dir / bundle.CHECKPOINTS).glob("ckpt-*.data*"))
    assert len(states) == 2
    states[-1].write_bytes(states[-1].read_bytes()[:100])
    _assert_same(train(small_config, run_dir, data=data, resume=True, progress=False, log=_quiet), finished)
    _train_until_killed(small_config, tmp_path / "other", data, monkeypatch, 13)
    for state in (tmp_path / "other" / bundle.CHECKPOINTS).glob("ckpt-*.data*"):
        state.write_bytes(b"")
    with pytest.raises(TfaudioError, match=r"state of training in .* cannot be read .*; train again with --overwrite"):
        train(small_config, tmp_path / "other", data=data, resume=True, progress=False, log=_quiet)


def test_resuming_with_other_settings_is_refused(small_config, data, finished):
    config = small_config.override({"training.learning_rate": 0.5})
    with pytest.raises(TfaudioError, match=r"training\.learning_rate"):
        train(config, finished.path, data=data, resume=True, log=_quiet)


def test_resuming_on_changed_data_is_refused(small_config, small_data, tmp_path):
    # One recording less moves others between training and test: what was learnt from would be tested on.
    lines = (small_data / "manifest.csv").read_text().splitlines()
    (small_data / "changing.csv").write_text("\n".join(lines) + "\n")
    config = small_config.override(
        {"data.data_dir": str(small_data / "changing.csv"), "data.test_fold": None, "training.epochs": 1}
    )
    train(config, tmp_path / "run", progress=False, log=_quiet)
    split = (tmp_path / "run" / bundle.SPLIT).read_text()
    (small_data / "changing.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(TfaudioError, match="has changed since"):
        train(config, tmp_path / "run", resume=True, progress=False, log=_quiet)
    assert (tmp_path / "run" / bundle.SPLIT).read_text() == split


def test_a_mistake_in_the_settings_leaves_the_run_that_stands(small_config, data, tmp_path):
    config = small_config.override({"training.epochs": 1})
    train(config, tmp_path / "run", data=data, progress=False, log=_quiet)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    wrongs = (
        {"training.strategy": "multi_worker"},
        {"model.options": {"filterz": [8]}},
        {"front_end.num_mel_bins": 200},
    )
    for wrong in wrongs:
        with pytest.raises(TfaudioError):
            train(config.override(wrong), tmp_path / "run", data=data, overwrite=True, progress=False, log=_quiet)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def test_off_a_terminal_progress_is_told_in_lines(small_config, data, tmp_path):
    lines: list[str] = []
    train(small_config.override({"training.epochs": 2}), tmp_path / "run", data=data, log=lines.append)
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == ["epoch 1 of 2", "epoch 2 of 2"]


def test_nothing_is_overwritten_unasked(small_config, data, finished):
    with pytest.raises(TfaudioError, match="--overwrite"):
        train(small_config, finished.path, data=data, log=_quiet)


def test_the_run_folder_says_what_was_trained_on(small_config, data, finished):
    split = json.loads((finished.path / bundle.SPLIT).read_text())
    assert split["fingerprint"] == data.spec.fingerprint()
    assert len(split["train"]) == 80
    assert len(split["test"]) == 20
    assert not set(split["train"]) & set(split["test"])
    again = load_bundle(finished.path)
    assert again.config == small_config
    assert again.labels == data.spec.labels
    features = np.random.default_rng(0).normal(size=(2, 30, 32)).astype(np.float32)
    np.testing.assert_array_equal(again.classifier(features), finished.classifier(features))


def test_evaluation_reads_its_own_data_and_agrees(data, finished):
    fresh = evaluate(finished.path, progress=False)
    np.testing.assert_allclose(fresh.scores, evaluate(finished, data=data).scores, atol=1e-6)
    assert fresh.metrics.num_clips == 20
    expected = np.mean(
        [finished.labels[i] == clip.label for i, clip in zip(fresh.scores.argmax(1), fresh.clips, strict=True)]
    )
    assert fresh.metrics.accuracy == pytest.approx(expected)


def test_changed_data_are_noticed(small_config, small_data, finished, tmp_path):
    lines = (small_data / "manifest.csv").read_text().splitlines()
    (small_data / "shorter.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(TfaudioError, match="has changed since this run was trained"):
        evaluate(finished.moved_data(str(small_data / "shorter.csv")), progress=False)


def test_validation_chooses_the_epoch_and_stops_early(small_config, data, tmp_path):
    config = small_config.override(
        {"data.validation_fraction": 0.2, "training.early_stopping_patience": 2, "training.epochs": 12,
         "training.learning_rate": 0.05, "training.warmup_fraction": 0.0}
    )  # fmt: skip
    run = train(config, tmp_path / "run", data=data, progress=False, log=_quiet)
    losses = [float(r["val_loss"]) for r in csv.DictReader((run.path / bundle.HISTORY).open())]
    best = int(np.argmin(losses))
    assert len(losses) == min(12, best + 1 + 2)
    twin = load_bundle(run.path)
    twin.classifier.load_weights(run.path / bundle.CHECKPOINTS / "best.weights.h5")
    _assert_same(twin, run)


def test_recordings_of_any_length_train_under_a_mask(small_config, data, tmp_path):
    config = small_config.override({"clip.seconds": None, "training.epochs": 1})
    run = train(config, tmp_path / "run", data=data, progress=False, log=_quiet)
    assert set(run.classifier.input) == {"features", "mask"}
    scores = evaluate(run, data=data).scores
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        {"training.class_weights": True},
        {"training.mixed_precision": True},
        {"training.strategy": "cpu", "data.memory_gigabytes": 0.0, "model.name": "attention", "model.options": {}},
    ],
)
def test_other_settings_train(small_config, data, tmp_path, overrides):
    config = small_config.override({"training.epochs": 1, **overrides})
    if "data.memory_gigabytes" in overrides:
        data = read_labelled_data(config, progress=False)
        assert data.recordings.samples is None
    run = train(config, tmp_path / "run", data=data, progress=False, tensorboard=True, log=_quiet)
    assert keras.config.dtype_policy().name == "float32"
    assert np.isfinite(evaluate(run, data=data).scores).all()
    assert list((run.path / bundle.TENSORBOARD).rglob("events.*"))


def test_mirrored_training_equals_that_on_one_device(small_config, tmp_path):
    """Two logical CPUs against one, in a process of their own: devices cannot be split later.

    Without dropout, whose masks depend on the number of replicas. Compared by their losses: Adam turns the last digit
    of a gradient near zero into a whole step.
    """
    config = small_config.override({"training.epochs": 2, "model.options.dropout": 0.0})
    (tmp_path / "config.json").write_text(config.to_json())
    script = textwrap.dedent(
        """
        import sys, numpy as np, tensorflow as tf
        from tfaudio.config import RunConfig
        from tfaudio.training.trainer import train
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        config = RunConfig.from_json(open(sys.argv[1] + "/config.json").read())
        runs = [
            train(config.override({"training.strategy": name}), f"{sys.argv[1]}/{name}", progress=False, log=print)
            for name in ("cpu", "mirrored")
        ]
        one, two = (np.loadtxt(run.path / "history.csv", delimiter=",", skiprows=1) for run in runs)
        print("histories", one, two)
        assert len(tf.config.list_logical_devices("CPU")) == 2
        np.testing.assert_allclose(one, two, rtol=2e-3)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "histories" in done.stdout


def test_strategies_that_cannot_work_say_so():
    strategy = make_strategy("mirrored")
    check_batch(8 * strategy.num_replicas_in_sync, strategy)
    with pytest.raises(TfaudioError, match="one host"):
        make_strategy("multi_worker")

    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(TfaudioError, match="multiple of 3"):
        check_batch(32, Three())


def test_a_cpu_that_is_asked_for_computes_in_bfloat16_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["GPU:0"] if kind == "GPU" else ["CPU:0"])
    assert precision_policy(tf.distribute.OneDeviceStrategy("/cpu:0"), mixed=True) == "mixed_bfloat16"
    assert precision_policy(tf.distribute.get_strategy(), mixed=True) == "mixed_float16"


def test_a_training_of_one_step_has_a_rate():
    optimizer = make_optimizer(TrainingConfig(learning_rate=1e-2, warmup_fraction=0.1), total_steps=1)
    assert float(optimizer._learning_rate(0)) == pytest.approx(1e-2)


def test_the_rate_rises_and_falls():
    optimizer = make_optimizer(TrainingConfig(learning_rate=1e-2, warmup_fraction=0.1), total_steps=100)
    rates = [float(optimizer._learning_rate(step)) for step in range(101)]
    assert rates[0] == 0
    assert rates[10] == pytest.approx(1e-2)
    assert rates[55] == pytest.approx(5e-3, rel=1e-3)
    assert rates[100] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(rates[:11]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)


def test_class_weights_even_out_the_classes():
    targets = np.array([0] * 6 + [2] * 2)
    weights = class_weights(targets, 3)
    assert weights[targets].mean() == pytest.approx(1.0)
    assert 6 * weights[0] == pytest.approx(2 * weights[2])


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_is_slowed_moves_by_its_share_of_the_rate(mirrored):
    """Adam's steps have the length of the rate as long as the gradient stays: at the first step the rate is 0."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"]) if mirrored else tf.distribute.get_strategy()
    settings = TrainingConfig(learning_rate=0.1, backbone_rate=0.2, warmup_fraction=0.0, weight_decay=0.0)
    with strategy.scope():
        inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="inner")])
        model = keras.Sequential([inner, keras.layers.Dense(2, name="outer")])
        model.build((None, 3))
        optimizer = make_optimizer(settings, total_steps=1_000_000, slow=inner.trainable_variables)
        model.compile(optimizer=optimizer, loss="mse")
    before = [weight.numpy() for weight in model.weights]
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(8, 3)), 5 + rng.normal(size=(8, 2)), batch_size=8, epochs=2, verbose=0)
    steps = [np.abs(weight.numpy() - old) for weight, old in zip(model.weights, before, strict=True)]
    for step, expected in zip(steps, (0.02, 0.02, 0.1, 0.1), strict=True):
        np.testing.assert_allclose(step, expected, rtol=1e-3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_what_is_slowed_decays_by_its_share_of_the_rate(mirrored):
    """Without gradients, what decays shrinks by rate times decay at each step, but the first, whose rate is 0."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"]) if mirrored else tf.distribute.get_strategy()
    settings = TrainingConfig(learning_rate=0.1, backbone_rate=0.2, warmup_fraction=0.0, weight_decay=0.5)
    with strategy.scope():
        inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, bias_initializer="ones", name="inner")])
        model = keras.Sequential([inner, keras.layers.Dense(2, bias_initializer="ones", name="outer")])
        model.build((None, 3))
        optimizer = make_optimizer(settings, total_steps=1_000_000, slow=inner.trainable_variables)
        model.compile(optimizer=optimizer, loss=lambda true, found: 0.0 * keras.ops.sum(found))
    before = [weight.numpy() for weight in model.weights]
    model.fit(np.ones((8, 3)), np.ones((8, 2)), batch_size=8, epochs=2, verbose=0)
    for weight, old, left in zip(model.weights, before, (1 - 0.01, 1, 1 - 0.05, 1), strict=True):
        np.testing.assert_allclose(weight.numpy(), left * old, rtol=1e-5)


def test_a_rate_for_a_network_that_is_not_there_is_refused(small_config):
    slowed = small_config.override({"training.backbone_rate": 0.1})
    with pytest.raises(TfaudioError, match="has nothing to slow in model 'cnn'"):
        check_settings(slowed, 10)
    inside = {"model.name": "backbone", "model.options": {"patch_frames": 32, "image_size": [32, 32]}}
    check_settings(slowed.override(inside), 10)
