"""From flags to a RunConfig: recipe, then --config, then the flags, then --set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from tfaudio.bundle import FORMAT_VERSION, SHARED_CONFIG, fold_folders, is_run_folder, read_config, settings_of
from tfaudio.cli import UsageError
from tfaudio.config import RunConfig, TrainingConfig
from tfaudio.errors import TfaudioError
from tfaudio.recipes import recipe

# Flags with a name of their own, and the setting that each stands for. No flag has a default: settings have.
_SETTINGS = {
    "dataset": "data.dataset",
    "data_dir": "data.data_dir",
    "model": "model.name",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "learning_rate": "training.learning_rate",
    "seed": "training.seed",
    "strategy": "training.strategy",
    "mixed_precision": "training.mixed_precision",
    "class_weights": "training.class_weights",
    "early_stopping": "training.early_stopping_patience",
    "validation_fraction": "data.validation_fraction",
    "clip_seconds": "clip.seconds",
    "sample_rate": "front_end.sample_rate",
    "engine": "data.engine",
    "strict": "data.strict",
    "shuffle_labels": "training.shuffle_labels",
    "teacher": "training.teacher",
    "initial_weights": "training.initial_weights",
    "initial_weights_saw_test": "training.initial_weights_saw_test",
}


def define_settings(flag_values: flags.FlagValues, *, of_classifier: bool = True) -> None:
    """Defines the flags of a training run's settings; without `of_classifier`, those that any training heeds."""

    def kind(define: Any, name: str, text: str) -> None:
        if of_classifier or _SETTINGS.get(name, "").removeprefix("training.") not in TrainingConfig.OF_CLASSIFIERS:
            define(name, None, text, flag_values=flag_values)

    kind(flags.DEFINE_string, "dataset", "Data set: a name that `tfaudio datasets` lists, `folder` or `manifest`.")
    kind(flags.DEFINE_string, "data_dir", "Its folder; for `manifest`, the CSV file.")
    kind(flags.DEFINE_string, "model", "Architecture; `tfaudio models` lists them.")
    kind(flags.DEFINE_integer, "epochs", "Passes over the training recordings.")
    kind(flags.DEFINE_integer, "batch_size", "Examples a step, over all replicas.")
    kind(flags.DEFINE_float, "learning_rate", "Peak rate of AdamW.")
    kind(flags.DEFINE_integer, "seed", "Every random choice follows from it.")
    kind(flags.DEFINE_string, "strategy", "Where to train: auto, cpu, mirrored, multi_worker or tpu.")
    kind(flags.DEFINE_boolean, "mixed_precision", "Compute in half precision.")
    kind(flags.DEFINE_boolean, "class_weights", "Weigh classes by the inverse of their frequency.")
    kind(flags.DEFINE_integer, "early_stopping", "Epochs without a better validation loss before stopping.")
    kind(flags.DEFINE_float, "validation_fraction", "Share of the training groups held out to choose an epoch by.")
    kind(flags.DEFINE_float, "clip_seconds", "Length of audio that the classifier sees at a time.")
    kind(flags.DEFINE_integer, "sample_rate", "Hz; recordings are resampled to it.")
    kind(flags.DEFINE_string, "engine", "Decoding: auto, graph (no Python in the pipeline) or soundfile.")
    kind(flags.DEFINE_boolean, "strict", "Stop at the first recording that cannot be used.")
    kind(
        flags.DEFINE_boolean,
        "shuffle_labels",
        "A control: train on shuffled labels. The accuracy must fall to that of a guess, or test recordings leak into "
        "training.",
    )
    kind(
        flags.DEFINE_list,
        "teacher",
        "Runs, or cross-validations (then each fold learns from the teacher of that very fold), whose scores are "
        "learnt beside the labels; several are averaged. They must have the front end and the split of this run.",
    )
    kind(flags.DEFINE_string, "initial_weights", "Folder of `tfaudio pretrain` whose weights to start from.")
    kind(
        flags.DEFINE_boolean,
        "initial_weights_saw_test",
        "Take them even where they were found on this run's test recordings, which it then no longer measures by.",
    )
    define_recipe(flag_values)
    kind(
        flags.DEFINE_string,
        "config",
        "JSON file of settings, as a run folder's config.json. What neither it nor a flag sets comes from the recipe "
        "of the data set and the model (tfaudio/recipes.py), or else from the defaults of tfaudio/config/.",
    )
    define_set(flag_values, example="augment.mixup_alpha=0")


def define_recipe(flag_values: flags.FlagValues) -> None:
    """Defines --recipe, which names the settings to start from."""
    flags.DEFINE_string(
        "recipe",
        None,
        "Task whose settings to start from, in place of those of the data set; `tfaudio recipes` lists them.",
        flag_values=flag_values,
    )


def define_set(flag_values: flags.FlagValues, *, example: str) -> None:
    """Defines --set, which reaches every setting; `assignments` reads it."""
    flags.DEFINE_multi_string(
        "set", [], f"Any other setting, as --set={example}; may be given again.", flag_values=flag_values
    )


def assignments(flag_values: flags.FlagValues) -> dict[str, Any]:
    """Returns what --set gives, as dotted keys and values.

    Raises:
      UsageError: if one has not the form section.name=value.
    """
    return joined(*(_assignment("set", text) for text in flag_values.set))


def parse_candidate(text: str) -> dict[str, Any]:
    """Returns the settings of one --candidate, as dotted keys and values; none of an empty one.

    Raises:
      UsageError: if it has not the form section.name=value,section.name=value.

    >>> parse_candidate('model.options={"filters": [8, 16]},training.epochs=3')
    {'model.options.filters': [8, 16], 'training.epochs': 3}
    """
    # A comma inside a list or an object is not followed by the name of a setting and an equals sign.
    parts = re.split(r",(?=\s*\w+(?:\.\w+)+\s*=)", text) if text.strip() else []
    return joined(*(_assignment("candidate", part) for part in parts))


def joined(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Joins settings by dotted key, in the order in which `Config.override` is to take them: of equals the last.

    >>> joined({"model.options.a": 1}, {"model.options": {}}, {"model.options.a": 2})
    {'model.options': {}, 'model.options.a': 2}
    """
    found: dict[str, Any] = {}
    for of_one in settings:
        for key, value in of_one.items():
            found.pop(key, None)  # in its old place, what is said of its section in between would wipe it out
            found[key] = value
    return found


def _parts(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """An object's settings: it changes what it names and leaves the recipe the rest; {} clears all."""
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, part in value.items():
        yield from _parts(f"{key}.{name}", part)


def _assignment(flag: str, text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--{flag}={text} needs the form --{flag}=section.name=value.")
    return dict(_parts(key.strip(), _parse_value(value)))


def settings_from(flag_values: flags.FlagValues) -> RunConfig:
    """Returns the settings that the flags describe.

    With --resume and no --config they start from those of the run, so that the folder is all one has to name. A flag
    that differs is left for the trainer to refuse.

    Raises:
      TfaudioError: on an unknown setting or a value that does not fit.
    """
    chosen: dict[str, Any] = settings_in_file(flag_values.config) if flag_values.config else {}
    given = {key: flag_values[name].value for name, key in _SETTINGS.items() if name in flag_values}
    given = {key: value for key, value in given.items() if value is not None}
    chosen = joined(chosen, given, assignments(flag_values))
    stored = _of_stopped_run(flag_values)
    if stored is not None:
        if flag_values.recipe:
            chosen = joined(recipe(stored.data.dataset, stored.model.name, name=flag_values.recipe), chosen)
        config = stored.override(chosen)
    else:
        default = RunConfig()
        dataset = str(chosen.get("data.dataset", default.data.dataset))
        model = str(chosen.get("model.name", default.model.name))
        config = default.override(joined(recipe(dataset, model, name=flag_values.recipe), chosen))
    return config


def _of_stopped_run(flag_values: flags.FlagValues) -> RunConfig | None:
    """Returns the settings of the run that --resume continues; None if there is none, or --config gives them."""
    if "resume" not in flag_values or not flag_values.resume or flag_values.config:
        return None
    run_dir = Path(flag_values.output_dir)
    if is_run_folder(run_dir):
        return read_config(run_dir)
    shared = shared_settings(run_dir)
    if shared is not None:
        return shared
    folds = fold_folders(run_dir)
    if folds:
        return read_config(folds[0]).override({"data.test_fold": None})  # --folds gives it
    return None


def shared_settings(run_dir: Path) -> RunConfig | None:
    """Returns what the runs of a cross-validation have in common; None of a folder that does not say so."""
    file = run_dir / SHARED_CONFIG
    return RunConfig().override(settings_in_file(str(file))) if file.is_file() else None


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # a bare word, such as a name


def of_section(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a section, by their names in it, of settings by dotted key."""
    prefix = f"{section}."
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}


def settings_in_file(path: str) -> dict[str, Any]:
    """Reads settings as dotted keys from the file that --config names: a configuration, or a run folder's.

    Raises:
      TfaudioError: if it cannot be read or is no configuration.
    """
    try:
        document = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise TfaudioError(f"Cannot read --config {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise TfaudioError(f"--config {path} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise TfaudioError(f"--config {path} must hold a JSON object of sections.")
    sections = document
    if "format" in document or "config" in document:
        sections = settings_of({"format": FORMAT_VERSION, **document}, source=f"--config {path}")
    keys: dict[str, Any] = {}
    for section, values in sections.items():
        if not isinstance(values, dict):
            raise TfaudioError(f"--config {path}: '{section}' must be an object of settings.")
        keys |= {f"{section}.{name}": value for name, value in values.items()}
    return keys
