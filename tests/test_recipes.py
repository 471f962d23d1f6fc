"""Recipes: settings that fit, commands that parse, figures that a stored result backs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from absl import flags

from tfaudio.bundle import write_config
from tfaudio.cli import transcribe
from tfaudio.cli.main import COMMANDS, _parse, main
from tfaudio.cli.settings import settings_from
from tfaudio.config import AugmentConfig, RunConfig
from tfaudio.data.catalog import DATASETS
from tfaudio.errors import TfaudioError
from tfaudio.models import MODELS
from tfaudio.recipes import NOT_MEASURED, RECIPES, recipe


def _parsed(command: str) -> tuple[str, flags.FlagValues]:
    _, name, *arguments = shlex.split(command)
    flag_values = flags.FlagValues()
    COMMANDS[name].load().define_flags(flag_values)
    assert _parse(f"tfaudio {name}", flag_values, arguments) == []
    return name, flag_values


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_the_settings_and_its_command_takes_it(name):
    found = RECIPES[name]
    for model in MODELS:
        RunConfig().override(recipe("folder", model, name=name))
    assert set(found.datasets) <= set(DATASETS)
    command, flag_values = _parsed(found.command)
    config = settings_from(flag_values) if command == "train" else transcribe._settings(flag_values)[0]
    expected = RunConfig().override(recipe("folder", config.model.name, name=name))
    for section in ("front_end", "clip", "augment", "training"):
        assert getattr(config, section) == getattr(expected, section), section


def test_no_data_set_takes_two_recipes():
    taken = [dataset for name in RECIPES for dataset in RECIPES[name].datasets]
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("name", RECIPES)
def test_every_figure_has_its_result(name, repository):
    found = RECIPES[name]
    if not found.result:
        assert found.minutes is None
        assert NOT_MEASURED in found.accuracy
        return
    result = json.loads((repository / "tools" / "benchmark" / "results" / f"{found.result}.json").read_text())
    figure = result["accuracy"] if "accuracy" in result else result["word_error_rate"]["beam"]
    assert found.accuracy.startswith(f"{100 * figure:.1f} % ")
    assert found.minutes == round(result["duration_seconds"] / 60)
    # The stored figure is of these very settings, as far as they were known then, and of that command.
    stored = RunConfig().override({f"{s}.{k}": v for s, values in result["config"].items() for k, v in values.items()})
    ours = RunConfig().override(recipe("folder", stored.model.name, name=name))
    assert (stored.front_end, stored.clip, stored.augment) == (ours.front_end, ours.clip, ours.augment)
    assert stored.model.options == ours.model.options
    flags_of_result = set(re.findall(r"--(?:dataset|model|test_speakers|protocol)=\S+", result["command"]))
    assert set(re.findall(r"--(?:dataset|model|test_speakers|protocol)=\S+", found.command)) == flags_of_result


def test_stored_commands_still_ask_for_the_stored_settings(repository):
    results = [json.loads(path.read_text()) for path in (repository / "tools" / "benchmark" / "results").glob("*.json")]
    trainings = [result for result in results if str(result.get("command")).startswith("tfaudio train ")]
    assert len(trainings) >= 6
    for result in trainings:
        _, flag_values = _parsed(result["command"])
        ours = settings_from(flag_values)
        stored = {f"{s}.{k}": v for s, values in result["config"].items() for k, v in values.items()}
        theirs = RunConfig().override(stored)
        for section in ("front_end", "clip", "model", "text", "training"):
            assert getattr(ours, section) == getattr(theirs, section), result["command"]
        assert _what_is_on(ours.augment) == _what_is_on(theirs.augment), result["command"]


def _what_is_on(augment: AugmentConfig) -> dict[str, object]:
    return {name: value for name, value in vars(augment).items() if getattr(value, "probability", 1)}


def test_the_defaults_of_data_sets_are_those_that_stored_figures_were_reached_with():
    environmental = {
        "clip.seconds": 5.0, "augment.time_shift": 0.5, "augment.time_masks": 0, "augment.frequency_masks": 0,
        "augment.speed.probability": 0.7, "augment.speed.factor": [0.8, 1.25],
        "augment.mixup_alpha": 0.0, "augment.between_class.probability": 1.0,
        "training.weight_decay": 0.3, "training.epochs": 500,
    }  # fmt: skip
    assert recipe("esc10", "cnn") == recipe("esc50", "cnn") == {
        **environmental, "front_end.frame_length": 512, "front_end.frame_step": 256, "model.options.frame_stride": 4
    }  # fmt: skip
    assert recipe("esc10", "attention") == {
        **environmental, "training.learning_rate": 1e-3, "training.weight_decay": 0.05
    }  # fmt: skip
    assert recipe("fsdd", "cnn") == RECIPES["spoken_words"].settings
    assert recipe("synthetic", "cnn")["training.epochs"] == 20
    assert recipe("folder", "cnn") == {}
    for name in ("speech_commands_v1", "speech_commands_v1_12", "speech_commands_v2", "speech_commands_v2_12"):
        assert recipe(name, "cnn")["clip.seconds"] == 1.0
    assert recipe("urbansound8k", "cnn")["clip.seconds"] == 4.0


def test_a_recipe_is_chosen_by_name():
    _, flag_values = _parsed("tfaudio train --dataset=fsdd --output_dir=out --recipe=new_speakers --epochs=3")
    config = settings_from(flag_values)
    assert (config.augment.speed.probability, config.front_end.sample_rate, config.training.epochs) == (0.7, 8000, 3)
    with pytest.raises(TfaudioError, match="Did you mean 'genre'"):
        recipe("folder", "cnn", name="genra")


def test_they_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main(["recipes", "--format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(RECIPES)
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    for name in RECIPES:
        assert f"\n{name}\n" in f"\n{text}"
        assert f"  command     {RECIPES[name].command}\n" in text
    assert text.count("not measured") >= 3
    assert main(["recipes", "cnn"]) == 2


def test_resuming_a_recipe_with_a_model_of_its_own_settings_changes_nothing(tmp_path: Path):
    line = (
        f"tfaudio train --recipe=environmental --dataset=folder --data_dir=x --model=attention --output_dir={tmp_path}"
    )
    _, flag_values = _parsed(line)
    begun = settings_from(flag_values)
    write_config(tmp_path, begun)
    _, flag_values = _parsed(f"{line} --resume")
    assert settings_from(flag_values) == begun
