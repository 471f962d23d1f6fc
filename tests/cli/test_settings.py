"""From flags, files and stopped runs to settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from tfaudio import bundle
from tfaudio.cli import pretrain, train
from tfaudio.cli.main import main
from tfaudio.cli.settings import parse_candidate, settings_from
from tfaudio.config import RunConfig
from tfaudio.errors import TfaudioError


def settings(*arguments: str) -> RunConfig:
    """The settings that `tfaudio train` takes from its flags."""
    flag_values = flags.FlagValues()
    train.define_flags(flag_values)
    flag_values(["train", "--output_dir=unused", *arguments])
    return settings_from(flag_values)


@pytest.mark.parametrize(
    "argument",
    [
        *("--class_weights", "--early_stopping=3", "--shuffle_labels", "--teacher=runs/large"),
        *("--initial_weights=weights", "--initial_weights_saw_test"),
    ],
)
def test_pretrain_has_no_flag_of_what_only_a_classifier_heeds(argument: str) -> None:
    flag_values = flags.FlagValues()
    pretrain.define_flags(flag_values)
    with pytest.raises(flags.UnrecognizedFlagError):
        flag_values(["pretrain", "--output_dir=unused", argument])
    validated = "--validation_fraction=0.2"  # without it, nothing could be stopped early
    assert settings(validated, argument) != settings(validated)


def test_an_object_changes_what_it_names_and_an_empty_one_clears() -> None:
    changed = settings("--dataset=esc10", '--set=model.options={"head": "attention"}')
    assert changed.model.options == {"frame_stride": 4, "head": "attention"}  # the recipe's, as its fine frames need
    cleared = settings("--dataset=esc10", "--set=model.options={}", '--set=model.options={"head": "max"}')
    assert cleared.model.options == {"head": "max"}
    set_again = settings("--dataset=esc10", "--set=model.options={}", '--set=model.options={"frame_stride": 2}')
    assert set_again.model.options == {"frame_stride": 2}
    slower = settings("--dataset=esc10", '--set=augment.speed={"probability": 0.2}').augment.speed
    assert (slower.probability, slower.factor) == (0.2, (0.8, 1.25))
    assert parse_candidate('model.options={"head": "max"}') == {"model.options.head": "max"}


def test_set_counts_over_a_file_and_that_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(settings("--dataset=esc10", "--epochs=7").to_dict()))
    config = settings(
        f"--config={file}", "--set=augment.between_class.probability=0", '--set=model.options={"frame_stride": 2}'
    )
    assert (config.training.epochs, config.augment.between_class.probability) == (7, 0)
    assert config.model.options == {"frame_stride": 2}


def test_flags_change_a_recipe() -> None:
    config = settings("--dataset=fsdd", "--epochs=3")
    assert (config.front_end.sample_rate, config.training.epochs) == (8000, 3)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--clip_seconds=inf", "clip.seconds must be a finite number"),
        ("--set=clip.seconds=1e12", "clip.seconds must be positive and at most"),
        ("--set=augment.gain_db=Infinity", "augment.gain_db must be a finite number"),
        ("--learning_rate=nan", "training.learning_rate must be a finite number"),
        ("--seed=4294967296", "training.seed must be"),
        ("--batch_size=100000000000000000000", "training.batch_size must be"),
        ("--set=training=5", "training must be a mapping"),
        ("--set=front_end.num_mel_bins=4000", "front_end.num_mel_bins must be"),
        ("--set=front_end.num_mel_bins=500", "mel bands are narrower than a Fourier bin"),
        ("--set=training.epochs=" + "9" * 5000, "training.epochs must be of type int"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(
    argument: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--dataset=synthetic", f"--output_dir={tmp_path / 'run'}", argument]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"config": [1]}, "has no settings"),
        ({"config": None}, "has no settings"),
        ({"format": 1}, "has no settings"),
        ({"format": 99, "config": {}}, "upgrade tfaudio"),
        ({"format": None, "config": {}}, "has no run format"),
        ({"training": 3}, "'training' must be an object"),
        ([1], "JSON object"),
    ],
)
def test_a_file_of_another_form_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(document))
    with pytest.raises(TfaudioError, match=message) as error:
        settings(f"--config={file}")
    assert f"--config {file}" in str(error.value)


def test_a_file_of_sections_and_a_runs_own_are_both_taken(tmp_path: Path) -> None:
    stored = RunConfig().override({"training.epochs": 7})
    bundle.write_config(tmp_path, stored)
    (tmp_path / "sections.json").write_text(json.dumps({"training": {"epochs": 7}}))
    assert settings(f"--config={tmp_path / 'config.json'}") == stored
    assert settings(f"--config={tmp_path / 'sections.json'}") == stored


def test_resuming_takes_the_settings_of_the_run(tmp_path: Path) -> None:
    stored = RunConfig().override({"data.dataset": "fsdd", "training.epochs": 7, "model.options": {"filters": [8]}})
    bundle.write_config(tmp_path, stored)
    assert settings("--resume", f"--output_dir={tmp_path}") == stored
    assert settings("--resume", f"--output_dir={tmp_path}", "--seed=1") == stored.override({"training.seed": 1})
    assert settings(f"--output_dir={tmp_path}") == RunConfig()
    assert settings("--resume", f"--output_dir={tmp_path / 'new'}") == RunConfig()
    (tmp_path / "other.json").write_text(json.dumps({"training": {"epochs": 3}}))
    config = settings("--resume", f"--output_dir={tmp_path}", f"--config={tmp_path / 'other.json'}")
    assert config == RunConfig().override({"training.epochs": 3})


def test_resuming_folds_takes_the_settings_they_share(tmp_path: Path) -> None:
    stored = RunConfig().override({"training.epochs": 7})
    for fold in (2, 3):
        bundle.write_config(tmp_path / f"fold_{fold}", stored.override({"data.test_fold": fold}))
    assert settings("--resume", "--folds=2,3", f"--output_dir={tmp_path}") == stored
    assert settings("--resume", f"--output_dir={tmp_path / 'fold_3'}").data.test_fold == 3


def test_help_says_where_a_setting_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.endswith("--set=VALUE Any other setting, as --set=augment.mixup_alpha=0; may be given again.")
    assert "repeat this option" not in text
    assert text.count("tfaudio/recipes.py") == 1
