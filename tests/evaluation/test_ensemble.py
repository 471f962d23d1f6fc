"""The mean of runs: which may be averaged, what comes out, and that one model of them says the same."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tfaudio import bundle
from tfaudio.bundle import load_bundle, read_config, write_config
from tfaudio.cli.main import main
from tfaudio.config import ModelConfig, TextConfig
from tfaudio.data.labelled import read_labelled_data
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.compare import read_predictions
from tfaudio.evaluation.ensemble import check_across_folds, evaluate_ensemble, group_members, joined, why_apart
from tfaudio.evaluation.evaluate import evaluate
from tfaudio.models import build_model
from tfaudio.models.classifier import with_scores
from tfaudio.text import Tokenizer
from tfaudio.training.trainer import train

# Two classifiers that differ in all that may differ where one model is to hold both.
_OTHER = {"model.name": "dense", "model.options": {}, "training.seed": 1, "training.learning_rate": 1e-2}


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.override({"training.epochs": 1})


@pytest.fixture(scope="module")
def data(config):
    return read_labelled_data(config, progress=False)


@pytest.fixture(scope="module")
def runs(config, data, tmp_path_factory):
    """Cross-validations of two folds by each of two architectures."""
    root = tmp_path_factory.mktemp("runs")
    for name, settings in (("cnn", {}), ("dense", _OTHER)):
        for fold in (1, 2):
            of_fold = config.override({**settings, "data.test_fold": fold})
            run = train(of_fold, root / name / f"fold_{fold}", data=data, progress=False, log=lambda line: None)
            evaluate(run, data=data).write_predictions(run.path / bundle.PREDICTIONS, run)
    return root


def _scores(run, data):
    return evaluate(load_bundle(run), data=data).scores.astype(np.float64)


def test_the_mean_of_scores_is_taken_fold_by_fold(runs, data):
    groups = group_members([runs / "cnn", runs / "dense"])
    assert [(g.fold, g.folder, [run.parent.name for run in g.runs]) for g in groups] == [
        ("1", "fold_1", ["cnn", "dense"]),
        ("2", "fold_2", ["cnn", "dense"]),
    ]
    for group in groups:
        found = evaluate_ensemble([load_bundle(run) for run in group.runs], progress=False)
        expected = (_scores(group.runs[0], data) + _scores(group.runs[1], data)) / 2
        np.testing.assert_allclose(found.scores, expected, atol=1e-6)
        assert found.metrics.accuracy == pytest.approx(np.mean(expected.argmax(axis=1) == found.targets))
        assert {clip.fold for clip in found.clips} == {int(group.fold)}


def test_folders_are_named_by_what_is_tested(runs, tmp_path):
    for fold in (1, 2):
        for name in ("cnn", "dense"):
            shutil.copytree(runs / name / f"fold_{fold}", tmp_path / f"f{fold}" / name)
    groups = group_members([tmp_path / f"f{fold}" / name for fold in (1, 2) for name in ("cnn", "dense")])
    assert [group.folder for group in groups] == ["fold_1", "fold_2"]


def test_one_model_of_all_members_has_the_mean_of_their_scores(runs, tmp_path):
    members = [load_bundle(runs / name / "fold_1") for name in ("cnn", "dense")]
    assert why_apart(members) is None
    config, classifier = joined(members)
    features = np.random.default_rng(0).normal(size=(3, 30, 32)).astype(np.float32)
    scores = [with_scores(member.classifier, "softmax")(features).numpy().astype(np.float64) for member in members]
    np.testing.assert_allclose(with_scores(classifier, "softmax")(features), np.mean(scores, axis=0), atol=1e-6)
    # One score of all but zero, as of a member that is sure, must not turn into a logarithm of nothing.
    assert np.isfinite(classifier(1e4 * features).numpy()).all()
    assert config.model.options["members"] == [
        {"name": "cnn", "options": {"filters": [8, 16]}},
        {"name": "dense", "options": {}},
    ]


def test_the_command_writes_runs_that_others_take(runs, data, tmp_path, capsys):
    out = tmp_path / "both"
    arguments = ["ensemble", str(runs / "cnn"), str(runs / "dense"), f"--output_dir={out}"]
    assert main(arguments) == 0
    result = json.loads((out / "result.json").read_text())
    expected = []
    for fold in (1, 2):
        scores = np.mean([_scores(runs / name / f"fold_{fold}", data) for name in ("cnn", "dense")], axis=0)
        reread = evaluate(out / f"fold_{fold}", progress=False)
        np.testing.assert_allclose(reread.scores, scores, atol=1e-6)
        expected += list(scores.argmax(axis=1) == reread.targets)
    assert result["accuracy"] == pytest.approx(np.mean(expected))
    assert (result["protocol"], result["num_clips"], result["seeds"]) == ("folds", 40, [0, 1])
    assert result["model"] == "cnn+dense"
    low, high = result["interval"]
    assert low <= result["accuracy"] <= high
    by_fold = read_predictions(out)
    shutil.copy(out / "predictions.csv", tmp_path / "predictions.csv")
    assert read_predictions(tmp_path / "predictions.csv") == by_fold
    assert np.mean([p.correct for p in by_fold.values()]) == pytest.approx(result["accuracy"])
    assert main(["compare", str(runs / "cnn"), str(out)]) == 0
    assert "recordings" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert main([*arguments[:3], f"--output_dir={runs}", "--overwrite"]) == 2
    assert (runs / "cnn" / "fold_1" / bundle.WEIGHTS).is_file()


def test_a_joined_run_is_calibrated_as_any_other(runs, tmp_path):
    members = [load_bundle(runs / name / "fold_1") for name in ("cnn", "dense")]
    config, classifier = joined(members)
    write_config(tmp_path, config)
    bundle.write_model(tmp_path, members[0].labels, members[0].normalization, classifier)
    features = np.random.default_rng(0).normal(size=(2, 30, 32)).astype(np.float32)
    plain = load_bundle(tmp_path).classifier(features).numpy()
    (tmp_path / bundle.CALIBRATION).write_text('{"temperature": 2.0, "thresholds": {}}')
    np.testing.assert_allclose(load_bundle(tmp_path).classifier(features), plain / 2, rtol=1e-5)


def test_members_of_another_front_end_leave_predictions_alone(runs, config, data, tmp_path, capsys):
    other = config.override({"front_end.num_mel_bins": 24})
    train(other, tmp_path / "coarse", data=data, progress=False, log=lambda line: None)
    out = tmp_path / "out"
    assert main(["ensemble", str(runs / "cnn" / "fold_1"), str(tmp_path / "coarse"), f"--output_dir={out}"]) == 0
    assert "another front end or clip" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["predictions.csv", "result.json"]
    expected = (_scores(runs / "cnn" / "fold_1", data) + _scores(tmp_path / "coarse", data)) / 2
    right = expected.argmax(axis=1) == evaluate(runs / "cnn" / "fold_1", progress=False).targets
    assert json.loads((out / "result.json").read_text())["accuracy"] == pytest.approx(right.mean())
    assert [p.correct for p in read_predictions(out).values()] == right.tolist()


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path):
    with pytest.raises(TfaudioError, match="alone is no ensemble"):
        group_members([runs / "cnn" / "fold_1"])
    with pytest.raises(TfaudioError, match=r"of test set '2' there are 1 .* and of '1' 2"):
        group_members([runs / "cnn", runs / "dense" / "fold_1"])
    with pytest.raises(TfaudioError, match="given twice"):
        group_members([runs / "cnn", runs / "cnn"])
    with pytest.raises(TfaudioError, match="no run folder"):
        group_members([runs / "cnn", tmp_path / "none"])


@pytest.mark.parametrize(
    ("change", "message"),
    [("test", "other recordings"), ("fingerprint", "other recordings"), ("control", "control")],
)
def test_a_run_that_may_know_the_test_recordings_is_refused(runs, tmp_path, change, message):
    copy = tmp_path / "copy"
    shutil.copytree(runs / "dense" / "fold_1", copy)
    split = json.loads((copy / "split.json").read_text())
    if change == "test":
        split["test"], split["train"] = split["test"][1:], [*split["train"], split["test"][0]]
    elif change == "fingerprint":
        split["fingerprint"] = "0"
    else:
        write_config(copy, read_config(copy).override({"training.shuffle_labels": True}))
    (copy / "split.json").write_text(json.dumps(split))
    with pytest.raises(TfaudioError, match=message):
        group_members([runs / "cnn" / "fold_1", copy])


def test_a_member_that_cannot_be_loaded_leaves_the_ensemble_that_stands(runs, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(runs / "dense" / "fold_1", broken)
    (broken / bundle.WEIGHTS).unlink()
    standing = tmp_path / "standing"
    shutil.copytree(runs / "cnn" / "fold_1", standing)
    command = ["ensemble", str(runs / "cnn" / "fold_1"), str(broken), f"--output_dir={standing}", "--overwrite"]
    assert main(command) == 1
    assert "has no model.weights.h5" in capsys.readouterr().err
    assert (standing / bundle.WEIGHTS).is_file()


def test_what_saw_test_recordings_and_what_stands_alone_are_refused(runs, tmp_path):
    saw = tmp_path / "saw"
    shutil.copytree(runs / "dense" / "fold_1", saw)
    write_config(saw, read_config(saw).override({"training.initial_weights_saw_test": True}))
    with pytest.raises(TfaudioError, match="found on its test recordings; leave it out"):
        group_members([runs / "cnn" / "fold_1", saw])
    with pytest.raises(TfaudioError, match="alone is no ensemble; name a second run"):
        group_members([saw])


def test_files_that_members_once_started_from_are_not_asked_for():
    options = {"members": [{"name": "backbone", "options": {"weights": "gone.h5"}}, {"name": "dense"}]}
    config = ModelConfig(name="ensemble", options=options)
    with pytest.raises(TfaudioError, match=r"gone\.h5"):
        build_model(config, input_shape=(None, 32), num_classes=2)
    built = build_model(config, input_shape=(None, 32), num_classes=2, read_weights=False)
    assert built.output_shape == (None, 2)


@pytest.mark.parametrize("name", ["cnn", "dense"])
def test_runs_of_all_folds_are_one_model_for_new_recordings(runs, name, tmp_path, capsys):
    out = tmp_path / "final"
    assert main(["ensemble", str(runs / name), "--across_folds", f"--output_dir={out}"]) == 0
    assert "2 runs are one model, which was not scored" in capsys.readouterr().out
    members = [load_bundle(runs / name / f"fold_{fold}") for fold in (1, 2)]
    assert not np.allclose(members[0].normalization.mean, members[1].normalization.mean, atol=1e-3)
    waveforms = 0.1 * np.random.default_rng(0).normal(size=(4, 8_000)).astype(np.float32)
    scores = [member.end_to_end(8_000)(waveforms).numpy().astype(np.float64) for member in members]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
    whole = load_bundle(out)
    np.testing.assert_allclose(whole.end_to_end(8_000)(waveforms), np.mean(scores, axis=0), atol=1e-5)
    split = bundle.read_split(out)
    assert (len(split["train"]), split["test"]) == (100, [])
    assert main(["evaluate", f"--run_dir={out}"]) == 1
    assert "joins the runs of several folds" in capsys.readouterr().err


def test_padding_changes_nothing_where_members_have_their_own_scales():
    members = [{"name": "cnn", "options": {"filters": [4, 8]}}] * 2
    config = ModelConfig(name="ensemble", options={"members": members, "own_scales": True})
    model = build_model(config, input_shape=(None, 8), num_classes=3, masked=True)
    rng = np.random.default_rng(0)
    for index in range(2):
        model.get_layer(f"scale_{index}").set_weights([rng.normal(size=8), rng.uniform(0.5, 2, 8)])
    features = rng.normal(size=(1, 20, 8)).astype(np.float32)
    padded = np.pad(features, [(0, 0), (0, 80), (0, 0)])
    alone = model({"features": features, "mask": np.ones([1, 20], bool)})
    among = model({"features": padded, "mask": np.arange(100)[None] < 20})
    np.testing.assert_allclose(alone, among, atol=1e-5)


def test_what_cannot_be_one_model_across_folds_is_named(runs, config, data, tmp_path, capsys):
    def says(word, *arguments):
        code = main(["ensemble", *map(str, arguments), "--across_folds", f"--output_dir={tmp_path / 'out'}"])
        assert code != 0
        assert word in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    says("alone is no ensemble", runs / "cnn" / "fold_1")
    says("given twice", runs / "cnn" / "fold_1", runs / "cnn")
    says("--json", runs / "cnn", f"--json={tmp_path / 'r.json'}")
    train(config.override({"front_end.num_mel_bins": 24}), tmp_path / "coarse", data=data, progress=False)
    says("another front end or clip", runs / "cnn", tmp_path / "coarse")


def test_a_run_that_reads_texts_and_one_that_does_not_may_share_their_recordings(runs, tmp_path):
    heard, read = tmp_path / "heard", tmp_path / "read"
    for folder in (heard, read):
        shutil.copytree(runs / "cnn" / "fold_1", folder)
    write_config(read, read_config(read).override({"text.length": 16, "training.seed": 1}))
    (read / bundle.VOCABULARY).touch()
    split = json.loads((read / bundle.SPLIT).read_text())
    (read / bundle.SPLIT).write_text(json.dumps({**split, "fingerprint": "of the texts too"}))
    assert len(group_members([heard, read])[0].runs) == 2
    (read / bundle.SPLIT).write_text(json.dumps({**split, "test": split["test"][1:]}))
    with pytest.raises(TfaudioError, match="was trained or tested on other recordings"):
        group_members([heard, read])


@pytest.mark.parametrize("reads", [0, 1])
def test_a_run_that_reads_texts_is_part_of_no_model_wherever_it_is_named(runs, reads):
    members = [load_bundle(runs / name / "fold_1") for name in ("cnn", "dense")]
    tokenizer = Tokenizer.from_text("[PAD]\n[UNK]\nrain\n", TextConfig(), members[reads].labels)
    members[reads] = dataclasses.replace(members[reads], tokenizer=tokenizer)
    assert why_apart(members) == f"{members[reads].path} takes text beside the sound"


def test_runs_that_share_a_score_and_runs_that_do_not_have_no_mean(runs, tmp_path):
    sigmoid = tmp_path / "fold_1"
    shutil.copytree(runs / "dense" / "fold_1", sigmoid)
    write_config(sigmoid, read_config(sigmoid).override({"model.score_activation": "sigmoid"}))
    for pair in ([runs / "cnn" / "fold_1", sigmoid], [sigmoid, runs / "cnn" / "fold_1"]):
        for check in (group_members, check_across_folds):
            with pytest.raises(TfaudioError, match=r"differ in model\.score_activation"):
                check(pair)


def test_the_mean_is_of_scores_as_they_were_trained(runs, tmp_path):
    plain, calibrated = tmp_path / "plain", tmp_path / "calibrated"
    copies = []
    for name in ("cnn", "dense"):
        copies.append(tmp_path / name)
        shutil.copytree(runs / name / "fold_1", copies[-1])
    assert main(["ensemble", *map(str, copies), f"--output_dir={plain}"]) == 0
    (copies[0] / bundle.CALIBRATION).write_text('{"temperature": 50.0, "thresholds": {}}')
    assert main(["ensemble", *map(str, copies), f"--output_dir={calibrated}"]) == 0
    predictions = [(folder / bundle.PREDICTIONS).read_text() for folder in (plain, calibrated)]
    assert predictions[0] == predictions[1]
