"""Pre-training without labels: the loss that is meant, pairs that are pairs, weights that arrive, no leak unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.special

from tfaudio.bundle import load_bundle
from tfaudio.cli.main import main
from tfaudio.data.labelled import read_labelled_data, split_of
from tfaudio.data.pipeline import Pipeline
from tfaudio.errors import TfaudioError
from tfaudio.models.classifier import build_classifier
from tfaudio.training import pretraining
from tfaudio.training.pretrained import (
    ENCODER,
    PRETRAINING,
    file_hashes,
    find_pretrained,
    load_pretrained,
    write_pretraining,
)
from tfaudio.training.pretraining import ContrastiveConfig, PairLoss, clear_pretraining, pretrain
from tfaudio.training.trainer import train

_SETTINGS = ContrastiveConfig(width=16)


def _quiet(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.override({"training.epochs": 2})


@pytest.fixture(scope="module")
def data(config):
    return read_labelled_data(config, progress=False)


@pytest.fixture(scope="module")
def weights(config, data, tmp_path_factory):
    """Found on the training recordings of fold 1."""
    folder = tmp_path_factory.mktemp("weights") / "weights"
    clips = split_of(config, data.spec).train
    pretrain(config, _SETTINGS, clips, folder, progress=False, log=_quiet)
    return folder


def test_the_loss_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    projections = rng.normal(size=(8, 5))
    projections /= np.linalg.norm(projections, axis=1, keepdims=True)
    expected = []
    for i in range(8):
        cosines = projections @ projections[i] / 0.2
        others = [k for k in range(8) if k != i]
        partner = i + 1 if i % 2 == 0 else i - 1
        expected.append(-cosines[partner] + scipy.special.logsumexp(cosines[others]))
    found = PairLoss(0.2)(np.zeros(8, np.float32), projections.astype(np.float32))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_rows_are_pairs_of_views_of_one_recording(config, data):
    still = {
        **{f"augment.{name}": 0 for name in ("time_masks", "frequency_masks", "gain_db", "time_shift")},
        "augment.noise_probability": 0.0,
    }
    indices = np.arange(8)
    targets = np.zeros(len(data.recordings.clips), np.int64)

    def batches(changes, crop):
        pipeline = Pipeline(data.recordings, targets, 2, config.override({**changes, "training.batch_size": 4}))
        return list(pipeline.pairs(indices, num_samples=crop).as_numpy_iterator())

    whole = config.clip.num_samples(config.front_end.sample_rate)
    # Whole and unchanged, the two views are one; otherwise they differ.
    for features, zeros in batches(still, whole):
        assert features.shape[0] == zeros.shape[0] == 8
        np.testing.assert_array_equal(features[0::2], features[1::2])
        assert (features[0] != features[2]).any()
    cropped = batches(still, whole // 2)
    assert len(cropped) == 2 * config.training.epochs
    assert cropped[0][0].shape[1] == config.front_end.num_frames(whole // 2)
    assert all((f[0::2] != f[1::2]).any() for f, _ in cropped)
    again = batches(still, whole // 2)
    for (one, _), (other, _) in zip(cropped, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (cropped[0][0] != cropped[2][0]).any()  # other epochs, other views


def test_it_learns_to_find_the_other_view(config, data, tmp_path):
    longer = config.override({"training.epochs": 8, "training.learning_rate": 5e-3})
    clips = split_of(config, data.spec).train
    history = pretrain(longer, _SETTINGS, clips, tmp_path / "weights", progress=False, log=_quiet)
    losses = [row["loss"] for row in history]
    assert len(losses) == 8
    guess = np.log(2 * 16 - 1)  # among the others of a batch of 16 pairs
    assert losses[-1] < 0.93 * guess < losses[0]


def test_a_training_starts_from_the_weights(config, data, weights, tmp_path):
    known = config.override({"training.initial_weights": str(weights)})
    assert find_pretrained(known, data.spec) == weights
    source, target = build_classifier(config, 2), build_classifier(config, 10)
    source.load_weights(weights / ENCODER)
    drawn = target.get_layer("logits").get_weights()
    load_pretrained(weights, target)
    for ours, theirs in zip(target.layers, source.layers, strict=True):
        for a, b in zip(ours.get_weights(), drawn if ours.name == "logits" else theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=ours.name)
    # A rate of next to nothing leaves the weights where they were: the trainer did take them.
    still = known.override({"training.learning_rate": 1e-12, "training.epochs": 1})
    run = train(still, tmp_path / "run", data=data, progress=False, log=_quiet)
    for trained, found in zip(run.classifier.trainable_weights, target.trainable_weights, strict=True):
        if "logits" not in trained.path:
            np.testing.assert_allclose(trained, found, atol=1e-6, err_msg=trained.path)


def test_a_killed_pretraining_resumes_to_the_same_weights(config, data, weights, tmp_path, monkeypatch):
    class Killer(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == 8:  # of five an epoch
                raise KeyboardInterrupt

        def close(self):
            pass

    clips = split_of(config, data.spec).train
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "Progress", lambda epochs, log: Killer())
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, _SETTINGS, clips, tmp_path / "weights", log=_quiet)
    other = config.override({"training.initial_weights": str(tmp_path / "weights")})
    with pytest.raises(TfaudioError, match="did not finish"):
        find_pretrained(other, data.spec)
    with pytest.raises(TfaudioError, match="begun with other config"):
        pretrain(config.override({"training.seed": 5}), _SETTINGS, clips, tmp_path / "weights", resume=True, log=_quiet)
    with pytest.raises(TfaudioError, match="begun with other recordings"):
        pretrain(config, _SETTINGS, clips[1:], tmp_path / "weights", resume=True, log=_quiet)
    for _ in range(2):  # the second time it is done
        rows = pretrain(config, _SETTINGS, clips, tmp_path / "weights", resume=True, progress=False, log=_quiet)
        assert [row["epoch"] for row in rows] == [1, 2]
    found, expected = build_classifier(config, 2), build_classifier(config, 2)
    found.load_weights(tmp_path / "weights" / ENCODER)
    expected.load_weights(weights / ENCODER)
    for a, b in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_know_the_test_recordings_are_refused(config, data, weights, tmp_path):
    of_two = config.override({"training.initial_weights": str(weights), "data.test_fold": 2})
    split = split_of(of_two, data.spec)
    known = set(file_hashes(clip.path for clip in split.test)) & set(
        json.loads((weights / PRETRAINING).read_text())["recordings"]
    )
    assert len(known) == 20
    with pytest.raises(TfaudioError, match="trained on 20 of this run's test recordings"):
        find_pretrained(of_two, data.spec)
    assert find_pretrained(of_two.override({"training.initial_weights_saw_test": True}), data.spec) == weights
    # What a nested protocol tries for this fold is tested on another, but chooses for this one.
    own = find_pretrained(of_two.override({"data.test_fold": 1}), data.spec)
    assert own == weights
    with pytest.raises(TfaudioError, match=r"test recordings.*which leaves two folds out, on other recordings"):
        find_pretrained(of_two.override({"data.test_fold": 1, "data.left_out_fold": 2}), data.spec)
    # Under other names they are the same recordings.
    copies = tmp_path / "recordings"
    copies.mkdir()
    for number, clip in enumerate(split.test):
        shutil.copy(clip.path, copies / f"{number}.wav")
    flags = ["--model=cnn", "--epochs=1", "--set=model.options.filters=[8,16]", f"--config={tmp_path / 'c.json'}"]
    (tmp_path / "c.json").write_text(config.to_json())
    out = tmp_path / "unlabelled"
    command = ["pretrain", "--dataset=unlabelled", f"--data_dir={copies}", f"--output_dir={out}", *flags]
    assert main(command) == 0
    with pytest.raises(TfaudioError, match="trained on 20 of this run's test recordings"):
        find_pretrained(of_two.override({"training.initial_weights": str(out)}), data.spec)
    of_one = config.override({"training.initial_weights": str(out)})
    with pytest.raises(TfaudioError, match="trained on") as error:
        find_pretrained(of_two.override({"training.initial_weights": str(out)}), data.spec)
    assert "--initial_weights_saw_test" in str(error.value)
    assert find_pretrained(of_one, data.spec) == out


def test_what_augmentation_mixed_in_is_known_too(config, data, weights, tmp_path):
    split = split_of(config, data.spec)
    (tmp_path / "street").mkdir()
    shutil.copy(split.test[0].path, tmp_path / f"street/somewhere{Path(split.test[0].path).suffix}")
    mixed = config.override({"augment.background.probability": 0.5, "augment.background.dir": str(tmp_path / "street")})
    shutil.copytree(weights, tmp_path / "weights")
    write_pretraining(tmp_path / "weights", mixed, split.train, {})
    known = config.override({"training.initial_weights": str(tmp_path / "weights")})
    with pytest.raises(TfaudioError, match="was trained on 1 of this run's test recordings"):
        find_pretrained(known, data.spec)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.name": "dense", "model.options": {}}, r"another model\.name, model\.options"),
        ({"model.options": {"filters": [8, 8]}}, r"another model\.options"),
        ({"front_end.num_mel_bins": 24}, r"another front_end\.num_mel_bins"),
    ],
)
def test_weights_of_another_model_or_front_end_are_refused(config, data, weights, settings, message):
    other = config.override({**settings, "training.initial_weights": str(weights)})
    with pytest.raises(TfaudioError, match=message):
        find_pretrained(other, data.spec)


def test_folders_that_hold_no_weights_are_named(config, data, weights, tmp_path):
    other = config.override({"training.initial_weights": str(tmp_path)})
    with pytest.raises(TfaudioError, match=f"holds no {PRETRAINING}"):
        find_pretrained(other, data.spec)
    (tmp_path / PRETRAINING).write_text("{")
    with pytest.raises(TfaudioError, match="is damaged"):
        find_pretrained(other, data.spec)
    document = json.loads((weights / PRETRAINING).read_text())
    (tmp_path / PRETRAINING).write_text(json.dumps({**document, "format": 9}))
    with pytest.raises(TfaudioError, match="upgrade tfaudio"):
        find_pretrained(other, data.spec)


def test_what_cannot_be_pretrained_is_refused(config, data, weights, tmp_path, capsys):
    clips = split_of(config, data.spec).train
    with pytest.raises(TfaudioError, match=r"clip\.seconds may not be null"):
        pretrain(config.override({"clip.seconds": None}), _SETTINGS, clips, tmp_path / "w", log=_quiet)
    averaging = config.override({"training.swa_fraction": 0.2})
    with pytest.raises(TfaudioError, match=r"training\.swa_fraction has no part in pre-training"):
        pretrain(averaging, _SETTINGS, clips, tmp_path / "w", log=_quiet)
    with pytest.raises(TfaudioError, match=r"--batch_size\) 1 leaves"):
        pretrain(config.override({"training.batch_size": 1}), _SETTINGS, clips, tmp_path / "out", log=_quiet)
    with pytest.raises(TfaudioError, match=r"training\.class_weights has no part in pre-training"):
        pretrain(config.override({"training.class_weights": True}), _SETTINGS, clips, tmp_path / "out", log=_quiet)
    with pytest.raises(TfaudioError, match=r"path holds '\['"):
        pretrain(config, _SETTINGS, clips, tmp_path / "out[1]", log=_quiet)
    with pytest.raises(TfaudioError, match="One recording alone"):
        pretrain(config, _SETTINGS, clips[:1], tmp_path / "w", progress=False, log=_quiet)
    with pytest.raises(TfaudioError, match="--overwrite"):
        pretrain(config, _SETTINGS, clips, weights, log=_quiet)
    with pytest.raises(TfaudioError, match=r"contrastive\.crop must be in \(0, 1\]"):
        ContrastiveConfig(crop=0.0)
    out = f"--output_dir={tmp_path / 'out'}"
    assert main(["pretrain", f"--data_dir={tmp_path}", out, "--folds=all"]) == 2
    assert "--folds and --protocol go with --dataset" in capsys.readouterr().err
    assert main(["pretrain", f"--data_dir={tmp_path}", out, "--validation_fraction=0.5"]) == 2
    assert "--validation_fraction goes with --dataset" in capsys.readouterr().err
    assert main(["pretrain", out]) == 2
    assert "--data_dir is needed" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["pretrain", f"--data_dir={tmp_path / 'empty'}", out]) == 1
    assert "holds no usable recordings" in capsys.readouterr().err
    assert main(["pretrain", f"--data_dir={tmp_path / 'none'}", out]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert main(["pretrain", f"--data_dir={tmp_path}", out, "--set=contrastive.temprature=1"]) == 1
    assert "Did you mean 'contrastive.temperature'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_each_fold_has_its_own_weights(config, data, tmp_path):
    (tmp_path / "c.json").write_text(config.override({"data.test_fold": None, "training.epochs": 1}).to_json())
    settings = f"--config={tmp_path / 'c.json'}"
    out = tmp_path / "weights"
    assert main(["pretrain", settings, "--folds=1,2", f"--output_dir={out}", "--set=contrastive.width=8"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert {name: row["recordings"] for name, row in result["folders"].items()} == {"fold_1": 80, "fold_2": 80}
    assert result["contrastive"]["width"] == 8
    for fold in (1, 2):
        of_fold = config.override({"data.test_fold": fold, "training.initial_weights": str(out)})
        assert find_pretrained(of_fold, data.spec) == out / f"fold_{fold}"
    of_three = config.override({"data.test_fold": 3, "training.initial_weights": str(out)})
    with pytest.raises(TfaudioError, match="this run's test recordings"):
        find_pretrained(of_three, data.spec)
    run = tmp_path / "run"
    command = ["train", settings, "--folds=1,2", f"--initial_weights={out}", f"--output_dir={run}"]
    assert main(command) == 0
    assert load_bundle(run / "fold_2").config.training.initial_weights == str(out)
    assert main([*command[:2], "--folds=3", *command[3:4], f"--output_dir={tmp_path / 'three'}"]) == 1
    assert not (tmp_path / "three").exists()


def test_a_head_that_makes_no_vector_of_a_view_is_refused(config, data, tmp_path):
    other = config.override({"model.name": "cnn", "model.options": {"head": "class_attention"}})
    with pytest.raises(TfaudioError, match="makes no vector of a view"):
        pretrain(other, ContrastiveConfig(), data.recordings.clips, tmp_path / "out")


def test_members_of_an_ensemble_are_pretrained_by_themselves(config, data, tmp_path):
    other = config.override({"model.name": "ensemble", "model.options": {}})
    with pytest.raises(TfaudioError, match="pre-train each by itself"):
        pretrain(other, ContrastiveConfig(), data.recordings.clips, tmp_path / "out")


def test_a_refused_pretraining_leaves_the_weights_of_before(config, data, weights, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(weights, out)
    (tmp_path / "c.json").write_text(config.to_json())
    command = ["pretrain", f"--config={tmp_path / 'c.json'}", f"--output_dir={out}", "--overwrite"]
    for mistake in ("--set=training.class_weights=true", "--batch_size=1", "--set=clip.seconds=null"):
        assert main([*command, mistake]) == 1
        capsys.readouterr()
        assert (out / ENCODER).read_bytes() == (weights / ENCODER).read_bytes()
    shutil.copytree(weights, out / "fold_9")
    assert main([*command, "--epochs=1"]) == 0
    assert (out / ENCODER).is_file()
    assert not (out / "fold_9" / ENCODER).exists()


def test_overwriting_leaves_no_weights_of_before(weights, tmp_path):
    for place in ("", "fold_9"):
        shutil.copytree(weights, tmp_path / "out" / place, dirs_exist_ok=True)
    clear_pretraining(tmp_path / "out")
    assert not [*(tmp_path / "out").rglob(PRETRAINING), *(tmp_path / "out").rglob(ENCODER)]
