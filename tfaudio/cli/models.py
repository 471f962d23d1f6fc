"""Opening whatever `--model` names: a .tflite file, a SavedModel or a run folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfaudio.bundle import RECOGNIZER, fold_folders, is_run_folder, load_bundle, read_calibration, read_config
from tfaudio.cli import load_tensorflow
from tfaudio.config import ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.model_settings import SETTINGS_FILE, tag_thresholds
from tfaudio.runtime.classifier import TAKES_NO_TEXT
from tfaudio.text import Tokenizer


@dataclass(frozen=True)
class OpenModel:
    """A classifier of waveforms, whatever it runs on.

    Args:
      labels: of the scores.
      sample_rate: Hz, of the waveforms.
      clip: how recordings are cut into windows.
      score_batch: float32 [batch, samples] to scores [batch, classes].
      batch_size: windows to score at a time.
      unknown_below: highest score below which a recording is of none of the labels; None where nothing tells.
      thresholds: of a tagger, by label; None of what gives one class.
    """

    labels: LabelMap
    sample_rate: int
    clip: ClipConfig
    score_batch: Callable[[np.ndarray], np.ndarray]
    batch_size: int
    unknown_below: float | None = None
    thresholds: Mapping[str, float] | None = None


_BATCH_SIZE = 16


def find_saved_model(path: Path) -> Path | None:
    """Returns the SavedModel that a folder is, or holds in a numbered subfolder as servers want it; None if neither."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = sorted((p.parent for p in path.glob("*/saved_model.pb") if p.parent.name.isdecimal()), key=_version)
    return versions[-1] if versions else None


def _version(path: Path) -> int:
    return int(path.name)


def no_model_message(path: Path) -> str:
    """Says of a folder that it is no model, and names those that lie in it, as of an export or a cross-validation."""
    if (path / SETTINGS_FILE).is_file():
        return f"{path} is what a microcontroller runs; name the run, or a file of another format, which says the same."
    inside = sorted(path.glob("*.tflite"))
    if find_saved_model(path / "saved_model") is not None:
        inside.append(path / "saved_model")
    inside += fold_folders(path) or sorted(fold for fold in path.glob("fold_*") if any(fold.glob("*.tflite")))
    if inside:
        return f"{path} is no model itself but holds some; name one of them: {', '.join(map(str, inside))}."
    if (path / RECOGNIZER).is_file():
        return f"{path} is a recogniser of words; use `tfaudio transcribe --run_dir={path}`."
    return f"{path} holds neither a run (config.json) nor a SavedModel (saved_model.pb); name one."


def open_model(name: str, *, threads: int = 1, text: str | None = None) -> OpenModel:
    """Opens a model by what lies at its path. A .tflite file takes no TensorFlow.

    Args:
      name: the path.
      threads: of a TFLite interpreter.
      text: that all recordings are to be scored with, by a model that takes text; None or "" is none.

    Raises:
      TfaudioError: if nothing usable lies there, or a text is given to a model that takes none.
    """

    def check_text(tokenizer: Tokenizer | None) -> None:
        if text and tokenizer is None:
            raise TfaudioError(f"{name} {TAKES_NO_TEXT}")

    path = Path(name)
    if not path.exists():
        raise TfaudioError(f"There is no model {path}; name a .tflite file, a SavedModel or a run folder.")
    if path.is_file():
        from tfaudio.runtime.classifier import Classifier

        classifier = Classifier(path, num_threads=threads)
        about = classifier.metadata
        check_text(about.tokenizer)
        return OpenModel(
            about.labels,
            about.sample_rate,
            about.clip,
            functools.partial(classifier.score_batch, text=text),
            batch_size=1,
            unknown_below=about.unknown_below,
            thresholds=about.tag_thresholds,
        )
    saved_model = find_saved_model(path)
    if saved_model is not None:
        load_tensorflow()
        from tfaudio.export.saved_model import load_score
        from tfaudio.runtime.metadata import read_settings_folder

        metadata = read_settings_folder(saved_model / "assets")
        check_text(metadata.tokenizer)
        batch_size = 1 if metadata.clip.seconds is None else _BATCH_SIZE
        served = load_score(saved_model)
        return OpenModel(
            metadata.labels,
            metadata.sample_rate,
            metadata.clip,
            lambda waveforms: served(waveforms, [text or ""] * len(waveforms)),
            batch_size,
            unknown_below=metadata.unknown_below,
            thresholds=metadata.tag_thresholds,
        )
    if not is_run_folder(path):
        raise TfaudioError(no_model_message(path))

    read_config(path)
    load_tensorflow()
    bundle = load_bundle(path)
    check_text(bundle.tokenizer)
    clip, rate = bundle.config.clip, bundle.config.front_end.sample_rate
    model = bundle.end_to_end(None if clip.seconds is None else clip.num_samples(rate))
    batch_size = 1 if clip.seconds is None else _BATCH_SIZE
    calibration = read_calibration(path) or {}
    thresholds = tag_thresholds(bundle.labels, calibration.get("thresholds", {})) if bundle.config.multi_label else None

    def score(waveforms: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict_on_batch(bundle.inputs(waveforms, [text] * len(waveforms))))

    return OpenModel(
        bundle.labels,
        rate,
        clip,
        score,
        batch_size,
        unknown_below=calibration.get("unknown_below"),
        thresholds=thresholds,
    )
