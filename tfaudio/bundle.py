"""The run folder: all that evaluate, predict and export need.

config.json            format version and RunConfig
labels.txt             class names, one a line, in the order of the outputs
normalization.json     mean and deviation of each feature bin
split.json             which recordings were trained on, validated on and tested on
model.weights.h5       the weights to use
history.csv            one row an epoch
skipped.csv            recordings that were not used, and why
metrics.json           scores on the test recordings
checkpoints/           what resuming needs
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tfaudio
from tfaudio.config import RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.files import write_atomically, write_json
from tfaudio.labels import LabelMap

if TYPE_CHECKING:  # reading a run's settings takes no TensorFlow
    import keras

    from tfaudio.features.normalization import Normalization

FORMAT_VERSION = 1

CONFIG, LABELS, NORMALIZATION = "config.json", "labels.txt", "normalization.json"
SPLIT, WEIGHTS, HISTORY, SKIPPED, METRICS = (
    "split.json",
    "model.weights.h5",
    "history.csv",
    "skipped.csv",
    "metrics.json",
)
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
PREDICTIONS, RESULT = "predictions.csv", "result.json"
_FILES = (
    *(CONFIG, LABELS, NORMALIZATION, SPLIT, WEIGHTS, HISTORY, SKIPPED, METRICS, PREDICTIONS, RESULT),
    *("metrics.txt", "confusion.csv", "confusion.png"),
)


@dataclass(frozen=True)
class Bundle:
    """A trained run.

    Args:
      path: the run folder.
      config: every setting of the run.
      labels: class names in the order of the outputs.
      normalization: of the features.
      classifier: Keras model from features [batch, frames, bins] to logits; with a mask as well if
        config.clip.seconds is None.
    """

    path: Path
    config: RunConfig
    labels: LabelMap
    normalization: Normalization
    classifier: keras.Model

    def moved_data(self, data_dir: str) -> Bundle:
        """Returns the run with its data set in another place."""
        return replace(self, config=self.config.override({"data.data_dir": data_dir}))

    def unmasked_classifier(self) -> keras.Model:
        """Returns the classifier with no mask input, for export and for batches of equal length."""
        from tfaudio.models.classifier import build_classifier, takes_mask

        if not takes_mask(self.config):
            return self.classifier
        twin = build_classifier(self.config, len(self.labels), masked=False)
        twin.set_weights(self.classifier.get_weights())
        return twin

    def end_to_end(self, num_samples: int | None = None) -> keras.Model:
        """Returns the Keras model from waveform [batch, num_samples] to scores [batch, classes]."""
        from tfaudio.models.classifier import end_to_end

        return end_to_end(self.config, self.normalization, self.unmasked_classifier(), num_samples=num_samples)


def is_run_folder(path: Path) -> bool:
    """Whether a folder looks like one that training wrote."""
    return (path / CONFIG).is_file()


def clear(path: Path) -> None:
    """Removes a run's files, and the folds of a cross-validation, so that none of them passes for the next run's.

    What else lies in the folder is left alone.
    """
    for name in _FILES:
        (path / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, TENSORBOARD):
        shutil.rmtree(path / name, ignore_errors=True)
    for fold in fold_folders(path):
        clear(fold)


def fold_folders(path: Path) -> list[Path]:
    """Returns the run folders of the folds inside the folder of a cross-validation, by name."""
    return sorted(file.parent for file in path.glob(f"fold_*/{CONFIG}"))


def read_config(path: Path) -> RunConfig:
    """Reads a run's settings.

    Raises:
      TfaudioError: if the folder is no run folder or was written by a later version.
    """
    if not path.is_dir():
        raise TfaudioError(f"There is no run folder {path}; train one with `tfaudio train --output_dir={path}`.")
    if not (path / CONFIG).is_file():
        hint = "its folds are, each" if fold_folders(path) else "it holds no config.json"
        raise TfaudioError(f"{path} is not a run folder: {hint}; name the folder that `tfaudio train` wrote.")
    try:
        document = json.loads((path / CONFIG).read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TfaudioError(f"{path / CONFIG} is not valid JSON ({error}); restore it or train again.") from error
    version = document.get("format") if isinstance(document, dict) else None
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise TfaudioError(
            f"{path / CONFIG} has run format {version}, this tfaudio {tfaudio.__version__} reads up to "
            f"{FORMAT_VERSION}; upgrade tfaudio."
        )
    return RunConfig.from_dict(document["config"])


def write_config(path: Path, config: RunConfig) -> None:
    """Writes the settings into a run folder."""
    write_json(path / CONFIG, {"format": FORMAT_VERSION, "tfaudio": tfaudio.__version__, "config": config.to_dict()})


def write_model(path: Path, labels: LabelMap, normalization: Normalization, classifier: keras.Model) -> None:
    """Writes labels, normalisation and weights into a run folder, each whole or not at all."""
    write_atomically(path / LABELS, labels.to_text())
    write_atomically(path / NORMALIZATION, normalization.to_json())
    write_weights(path / WEIGHTS, classifier)


def write_weights(path: Path, model: keras.Model) -> None:
    """Writes a model's weights, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:  # Keras insists on the ending .weights.h5
        temporary = Path(folder) / "model.weights.h5"
        model.save_weights(temporary)
        write_atomically(path, temporary.read_bytes())


def load_bundle(path: str | Path) -> Bundle:
    """Loads a run folder.

    Raises:
      TfaudioError: if a part is missing, unreadable or does not fit the others; the message says what to do.
    """
    from tfaudio.features.normalization import Normalization
    from tfaudio.models.classifier import build_classifier

    path = Path(path)
    config = read_config(path)
    for name in (WEIGHTS, LABELS, NORMALIZATION):
        if not (path / name).is_file():
            raise TfaudioError(
                f"The run folder {path} has no {name}: its training did not finish; "
                f"continue it with `tfaudio train --resume --output_dir={path}`."
            )
    labels = LabelMap.from_text((path / LABELS).read_text("utf-8"))
    normalization = Normalization.from_json((path / NORMALIZATION).read_text("utf-8"), source=str(path / NORMALIZATION))
    classifier = build_classifier(config, len(labels))
    try:
        classifier.load_weights(path / WEIGHTS)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TfaudioError(
            f"{path / WEIGHTS} does not fit the model '{config.model.name}' of {path / CONFIG} ({reason}); "
            "restore the file or train again."
        ) from error
    return Bundle(path, config, labels, normalization, classifier)


def read_split(path: Path) -> dict[str, Any]:
    """Reads which recordings a run was trained, validated and tested on; empty if it does not say."""
    file = path / SPLIT
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes a table, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
