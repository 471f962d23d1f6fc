"""Learning from teachers: the loss that is meant, no teacher that knows the test recordings, no trace of it saved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace

import keras
import numpy as np
import pytest
import scipy.special

from tfaudio import bundle
from tfaudio.bundle import load_bundle, read_config, write_config
from tfaudio.config import RunConfig, TrainingConfig
from tfaudio.data.labelled import read_labelled_data, split_of, split_record
from tfaudio.errors import TfaudioError
from tfaudio.files import write_json
from tfaudio.training import trainer
from tfaudio.training.distillation import find_teachers, load_teachers, taught
from tfaudio.training.trainer import train


def _quiet(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.override({"training.epochs": 2})


@pytest.fixture(scope="module")
def data(config):
    return read_labelled_data(config, progress=False)


@pytest.fixture(scope="module")
def teachers(config, data, tmp_path_factory):
    """A cross-validation of two folds."""
    root = tmp_path_factory.mktemp("teachers")
    for fold in (1, 2):
        train(config.override({"data.test_fold": fold}), root / f"fold_{fold}", data=data, progress=False, log=_quiet)
    return root


@pytest.fixture(scope="module")
def student_config(config, teachers):
    return config.override({"training.teacher": [str(teachers)], "model.options.filters": [8]})


def _dense(seed: int) -> keras.Model:
    inputs = keras.Input((6,))
    initial = keras.initializers.RandomNormal(seed=seed)
    return keras.Model(inputs, keras.layers.Dense(4, kernel_initializer=initial)(inputs))


@pytest.mark.parametrize("weighed", [False, True])
def test_the_loss_is_hintons(weighed):
    rng = np.random.default_rng(0)
    student, teachers = _dense(0), [_dense(1), _dense(2)]
    features = rng.normal(size=(5, 6)).astype(np.float32)
    targets = rng.dirichlet(np.ones(4), size=5).astype(np.float32)
    weights = rng.uniform(0.5, 2, size=5).astype(np.float32) if weighed else None
    settings = TrainingConfig(distillation_weight=0.3, distillation_temperature=2.5)
    model = taught(student, teachers, RunConfig(training=settings))
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1))
    logits = student(features).numpy().astype(np.float64)
    soft_targets = np.mean([scipy.special.softmax(t(features).numpy() / 2.5, axis=1) for t in teachers], axis=0)
    each = np.ones(5) if weights is None else weights
    hard = -np.mean(each * np.sum((0.9 * targets + 0.025) * scipy.special.log_softmax(logits, axis=1), axis=1))
    soft = -np.mean(each * np.sum(soft_targets * scipy.special.log_softmax(logits / 2.5, axis=1), axis=1))
    found = model.train_on_batch(features, targets, sample_weight=weights)
    assert found == pytest.approx(0.7 * hard + 0.3 * 2.5**2 * soft, rel=1e-5)


def test_the_loss_of_tags_is_of_each_class_by_itself():
    rng = np.random.default_rng(0)
    student, teachers = _dense(0), [_dense(1), _dense(2)]
    features = rng.normal(size=(5, 6)).astype(np.float32)
    targets = rng.integers(2, size=(5, 4)).astype(np.float32)
    settings = RunConfig(training=TrainingConfig(distillation_weight=0.3, distillation_temperature=2.5))
    model = taught(student, teachers, settings.for_labels(multi_label=True))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    logits = student(features).numpy().astype(np.float64)

    def cross_entropy(wanted, given):
        chosen, others = scipy.special.log_expit(given), scipy.special.log_expit(-given)
        return -np.mean(wanted * chosen + (1 - wanted) * others)

    soft_targets = np.mean([scipy.special.expit(t(features).numpy() / 2.5) for t in teachers], axis=0)
    expected = 0.7 * cross_entropy(targets, logits) + 0.3 * 2.5**2 * cross_entropy(soft_targets, logits / 2.5)
    assert model.train_on_batch(features, targets) == pytest.approx(expected, rel=1e-5)


def test_validation_measures_the_labels_alone_and_no_teacher_is_saved(tmp_path):
    rng = np.random.default_rng(0)
    student = _dense(0)
    features, targets = rng.normal(size=(5, 6)).astype(np.float32), np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]
    logits = student(features).numpy().astype(np.float64)
    model = taught(student, [_dense(1)], RunConfig())
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    expected = -np.mean(np.sum(targets * scipy.special.log_softmax(logits, axis=1), axis=1))
    assert model.evaluate(features, targets, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert [w.path for w in model.weights] == [w.path for w in student.weights]
    bundle.write_weights(tmp_path / "model.weights.h5", model)
    again = _dense(3)
    bundle.read_weights(tmp_path / "model.weights.h5", again)
    np.testing.assert_array_equal(again(features), student(features))


def test_a_student_comes_to_say_what_its_teacher_says():
    teacher, student = _dense(1), _dense(2)
    features = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    useless = np.full((64, 4), 0.25, np.float32)
    teacher.layers[-1].set_weights([3 * weight for weight in teacher.layers[-1].get_weights()])
    model = taught(student, [teacher], RunConfig(training=TrainingConfig(distillation_weight=1.0)))
    model.compile(keras.optimizers.Adam(0.05), keras.losses.CategoricalCrossentropy(from_logits=True))
    before = teacher.get_weights()
    model.fit(features, useless, epochs=60, verbose=0)
    scores = [scipy.special.softmax(m(features).numpy(), axis=1) for m in (teacher, student)]
    np.testing.assert_allclose(*scores, atol=0.02)
    for found, expected in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_each_fold_has_its_own_teacher(student_config, teachers, data):
    for fold in (1, 2):
        config = student_config.override({"data.test_fold": fold})
        assert find_teachers(config, data.spec, split_of(config, data.spec)) == [teachers / f"fold_{fold}"]
    assert find_teachers(RunConfig(), data.spec, split_of(student_config, data.spec)) == []


def test_folds_that_cut_the_same_recordings_are_told_apart(student_config, teachers, data, tmp_path):
    # Each fold has a part of each recording, so the names of its clips are those of the other.
    clips = [
        replace(clip, path=f"/sounds/{number // 2}.wav", start=5.0 * fold, end=5.0 * fold + 5.0, fold=fold, group=None)
        for number, clip in enumerate(data.spec.clips[:8])
        for fold in (1, 2)
    ]
    spec = replace(data.spec, clips=tuple(clips))
    folder = tmp_path / "cv"
    shutil.copytree(teachers, folder)
    configs = {
        fold: student_config.override({"data.test_fold": fold, "training.teacher": [str(folder)]}) for fold in (1, 2)
    }
    splits = {fold: split_of(config, spec) for fold, config in configs.items()}
    assert splits[1].names(spec) == splits[2].names(spec)
    for fold, config in configs.items():
        write_json(folder / f"fold_{fold}" / "split.json", split_record(config, spec, splits[fold]))
    for fold, config in configs.items():
        assert find_teachers(config, spec, splits[fold]) == [folder / f"fold_{fold}"]


def test_a_taught_run_is_one_like_any_other_and_resumes_as_one(student_config, teachers, data, tmp_path, monkeypatch):
    class Killer(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 7:
                raise KeyboardInterrupt

        def close(self):
            pass

    finished = train(student_config, tmp_path / "run", data=data, progress=False, log=_quiet)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "Progress", lambda epochs, log: Killer())
        with pytest.raises(KeyboardInterrupt):
            train(student_config, tmp_path / "killed", data=data, log=_quiet)
    resumed = train(student_config, tmp_path / "killed", data=data, resume=True, progress=False, log=_quiet)
    for found, expected in zip(resumed.classifier.weights, finished.classifier.weights, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=expected.path)
    shutil.copytree(finished.path, tmp_path / "elsewhere")  # it needs no teacher any more
    assert load_bundle(tmp_path / "elsewhere").classifier.count_params() < 5_000
    alone = train(
        student_config.override({"training.teacher": []}), tmp_path / "alone", data=data, progress=False, log=_quiet
    )
    assert any(
        (a != b).any() for a, b in zip(alone.classifier.get_weights(), finished.classifier.get_weights(), strict=True)
    )


def test_a_teacher_that_may_know_the_test_recordings_is_refused(student_config, teachers, data, tmp_path):
    other = student_config.override({"training.teacher": [str(teachers / "fold_2")]})
    with pytest.raises(TfaudioError, match=r"fold_2 holds no run .* official fold 1"):
        train(other, tmp_path / "run", data=data, progress=False, log=_quiet)
    assert not (tmp_path / "run").exists()
    copy = tmp_path / "copy"
    shutil.copytree(teachers / "fold_1", copy)
    split = json.loads((copy / "split.json").read_text())
    split["train"].append(split["test"][0])
    (copy / "split.json").write_text(json.dumps(split))
    other = student_config.override({"training.teacher": [str(copy)]})
    with pytest.raises(TfaudioError, match="may know its test recordings"):
        find_teachers(other, data.spec, split_of(other, data.spec))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"front_end.num_mel_bins": 24}, r"another front_end\.num_mel_bins than this run"),
        ({"clip.seconds": 0.4}, r"another clip\.seconds than this run"),
        ({"model.score_activation": "sigmoid"}, r"another model\.score_activation than this run"),
    ],
)
def test_a_teacher_who_hears_otherwise_is_refused(student_config, data, settings, message):
    config = student_config.override(settings)
    with pytest.raises(TfaudioError, match=message):
        find_teachers(config, data.spec, split_of(config, data.spec))


def test_teachers_that_cannot_teach_are_refused(student_config, teachers, data, tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        config = student_config.override({"training.teacher": [str(folder)]})
        with pytest.raises(TfaudioError, match="run folder"):
            find_teachers(config, data.spec, split_of(config, data.spec))
    copy = tmp_path / "copy"
    shutil.copytree(teachers / "fold_1", copy)
    (copy / bundle.LABELS).write_text("\n".join(map(str, range(10))) + "\n")
    with pytest.raises(TfaudioError, match="other labels"):
        load_teachers([copy], data.spec.labels)
    write_config(copy, read_config(copy).override({"training.shuffle_labels": True}))
    config = student_config.override({"training.teacher": [str(copy)]})
    with pytest.raises(TfaudioError, match="shuffled labels"):
        find_teachers(config, data.spec, split_of(config, data.spec))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.distillation_weight": 0.0}, r"distillation_weight must be in \(0, 1\]"),
        ({"training.distillation_temperature": 0.0}, r"distillation_temperature must be 0\.1 to 100"),
        ({"training.teacher": ["run"], "training.shuffle_labels": True}, "is a control"),
        ({"training.teacher": "run"}, r"training\.teacher must be a list"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(TfaudioError, match=message):
        RunConfig().override(settings)


def test_teacher_and_averaged_weights_are_the_same_under_a_strategy(student_config, tmp_path):
    """Two logical CPUs against one, in a process of their own; without dropout, whose masks depend on the replicas."""
    config = student_config.override({"model.options.dropout": 0.0, "training.swa_fraction": 0.5})
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
        np.testing.assert_allclose(one, two, rtol=2e-3)
        features = np.random.default_rng(0).normal(size=(4, 30, 32)).astype(np.float32)
        one, two = (run.classifier(features).numpy() for run in runs)
        np.testing.assert_allclose(one, two, atol=0.05)
        assert len(tf.config.list_logical_devices("CPU")) == 2
        print("equal")
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "equal" in done.stdout


def test_a_teacher_that_knows_test_recordings_or_is_not_finished_is_refused(student_config, teachers, data, tmp_path):
    for name, change, message in (
        ("saw", {"training.initial_weights_saw_test": True}, "would hand on what it knows"),
        ("unfinished", {}, "its training did not finish"),
    ):
        folder = tmp_path / name
        shutil.copytree(teachers / "fold_1", folder)
        write_config(folder, read_config(folder).override(change))
        if name == "unfinished":
            (folder / bundle.WEIGHTS).unlink()
        config = student_config.override({"data.test_fold": 1, "training.teacher": [str(folder)]})
        with pytest.raises(TfaudioError, match=message):
            find_teachers(config, data.spec, split_of(config, data.spec))


@pytest.mark.parametrize("place", [".", "fold_1"])
def test_a_run_does_not_replace_its_teacher(student_config, teachers, data, place):
    config = student_config.override({"data.test_fold": 1})
    with pytest.raises(TfaudioError, match="which this run is to learn from; name another folder"):
        train(config, teachers / place, data=data, overwrite=True, progress=False, log=_quiet)
    assert (teachers / "fold_1" / bundle.WEIGHTS).is_file()
