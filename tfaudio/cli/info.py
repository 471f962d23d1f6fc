"""`tfaudio info`: what a run folder or an exported model holds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from tfaudio.cli import UsageError
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.model_settings import CHANNELS, SCORE_RANGE, SETTINGS_FILE, ModelMetadata

USAGE = """tfaudio info MODEL [--json]

Shows what a .tflite file, a SavedModel or a run folder says of itself: labels, sample rate, window, front end,
model, and for a run its data and figures.
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_boolean("json", False, "Print JSON.", flag_values=flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Prints what is there."""
    if len(arguments) != 1:
        raise UsageError("Name one .tflite file, SavedModel or run folder.")
    facts = describe(Path(arguments[0]))
    if flag_values.json:
        print(json.dumps(facts, ensure_ascii=False))
        return 0
    for key, value in facts.items():
        if key == "normalization":
            value = f"mean and deviation of {len(value['mean'])} bins" if value["mean"] else ""
        elif isinstance(value, dict):
            value = ", ".join(f"{k}={v}" for k, v in value.items() if v not in (None, {}))
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        print(f"{key:<14} {value}")
    return 0


def describe(path: Path) -> dict[str, Any]:
    """Returns what a model says of itself, ready for JSON; takes no TensorFlow.

    Raises:
      TfaudioError: if nothing usable lies there.
    """
    from tfaudio.bundle import is_run_folder
    from tfaudio.cli.models import find_saved_model, no_model_message

    if not path.exists():
        raise TfaudioError(f"There is no model {path}; name a .tflite file, a SavedModel or a run folder.")
    if path.is_file():
        from tfaudio.runtime.metadata import read_metadata

        return {"kind": "tflite", "bytes": path.stat().st_size, **_of_metadata(read_metadata(path))}
    saved_model = find_saved_model(path)
    if saved_model is not None:
        from tfaudio.runtime.metadata import read_settings_folder

        return {"kind": "saved_model", **_of_metadata(read_settings_folder(saved_model / "assets"))}
    if is_run_folder(path):
        return _of_run(path)
    if (path / SETTINGS_FILE).is_file():
        from tfaudio.runtime.metadata import read_settings_folder

        return {"kind": "microcontroller", **_of_metadata(read_settings_folder(path))}
    raise TfaudioError(no_model_message(path))


def _of_metadata(metadata: ModelMetadata) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "model": metadata.model,
        "variant": metadata.variant,
        "labels": list(metadata.labels),
        "sample_rate": metadata.sample_rate,
        "channels": CHANNELS,
        "num_samples": None if metadata.clip.seconds is None else metadata.num_samples,
        "clip": metadata.clip.to_dict(),
        "front_end": metadata.front_end.to_dict(),
        "normalization": {"mean": list(metadata.feature_mean), "stddev": list(metadata.feature_stddev)},
        "scores": metadata.score_activation,
        "score_range": list(SCORE_RANGE),
        "thresholds": dict(metadata.thresholds),
        "unknown_below": metadata.unknown_below,
        "dataset": metadata.dataset,
        "fingerprint": metadata.dataset_fingerprint,
        "tfaudio": metadata.tfaudio_version,
    }
    if metadata.calibration is not None:
        facts["calibration"] = vars(metadata.calibration)
    if metadata.streaming is not None:
        facts["streaming"] = metadata.streaming.to_dict()
    if metadata.tokenizer is not None:
        facts["text"] = metadata.tokenizer.settings()
    return facts


def _of_run(path: Path) -> dict[str, Any]:
    from tfaudio import bundle

    config = bundle.read_config(path)
    facts: dict[str, Any] = {"kind": "run", "trained": (path / bundle.WEIGHTS).is_file(), **config.to_dict()}
    if (path / bundle.LABELS).is_file():
        with _damage_told(path / bundle.LABELS):
            facts["labels"] = list(LabelMap.from_text((path / bundle.LABELS).read_text("utf-8")))
    with _damage_told(path / bundle.SPLIT):
        split = bundle.read_split(path) if (path / bundle.SPLIT).is_file() else {}
        if split:
            counts = {part: len(split[part]) for part in ("train", "validation", "test")}
            facts["split"] = {"rule": split["rule"], **counts}
    if (path / bundle.METRICS).is_file():
        with _damage_told(path / bundle.METRICS):
            metrics = json.loads((path / bundle.METRICS).read_text("utf-8"))
            tags = ("mean_average_precision", "lwlrap", "macro_f1", "micro_f1")
            classes = ("accuracy", "balanced_accuracy", "macro_f1", "mean_average_precision")
            facts["metrics"] = {key: metrics[key] for key in (tags if config.multi_label else classes)}
    return facts


@contextlib.contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    """Names the file of a run that does not hold what training wrote."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        if str(file) in str(error):
            raise
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise TfaudioError(f"{file} is damaged ({reason}); restore it or train again.") from error
