"""The run folder: all that evaluate, predict and export need.

config.json            format version and RunConfig
labels.txt             class names, one a line, in the order of the outputs
normalization.json     mean and deviation of each feature bin
vocabulary.txt         of a model that takes text: the word of each token, one a line
split.json             which recordings were trained on, validated on and tested on
model.weights.h5       the weights to use
history.csv            one row an epoch
skipped.csv            recordings that were not used, and why
metrics.json           scores on the test recordings
calibration.json       temperature and thresholds, where `tfaudio calibrate` found them
checkpoints/           what resuming needs
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tfaudio
from tfaudio.config import RunConfig
from tfaudio.errors import TfaudioError, first_line
from tfaudio.files import write_atomically, write_json
from tfaudio.labels import LabelMap
from tfaudio.text import Tokenizer

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
VOCABULARY = "vocabulary.txt"
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
# Of a cross-validation: what its runs have in common, and, of a nested one, the runs that its choices were made by.
SHARED_CONFIG, CANDIDATES = "shared_config.json", "candidates"
CHOICE = "choice.json"  # of a run whose settings a nested protocol chose: among which, and why
PREDICTIONS, RESULT, CALIBRATION = "predictions.csv", "result.json", "calibration.json"
SCORE_COLUMN = "score:"  # of a tagger's predictions, before the label of each class
RECOGNIZER = "recognizer.json"  # of `tfaudio transcribe`, whose folders have the same weights and result
_FILES = (
    *(CONFIG, LABELS, NORMALIZATION, SPLIT, WEIGHTS, HISTORY, SKIPPED, METRICS, PREDICTIONS, RESULT),
    *("metrics.txt", "confusion.csv", "confusion.png", SHARED_CONFIG, CALIBRATION, VOCABULARY),
    *(RECOGNIZER, CHOICE),
)
_SPLIT_KEYS = {"fingerprint": str, "rule": str, "train": list, "validation": list, "test": list}


@dataclass(frozen=True)
class Bundle:
    """A trained run.

    Args:
      path: the run folder.
      config: every setting of the run.
      labels: class names in the order of the outputs.
      normalization: of the features.
      classifier: Keras model from features [batch, frames, bins] to logits; with a mask as well if
        config.clip.seconds is None, and tokens if there is a tokenizer.
      tokenizer: of the texts that the model takes beside the sound; None if it takes none.
    """

    path: Path
    config: RunConfig
    labels: LabelMap
    normalization: Normalization
    classifier: keras.Model
    tokenizer: Tokenizer | None = None

    def moved_data(self, data_dir: str | None) -> Bundle:
        """Returns the run with its data set in another place; None leaves it where it was."""
        if data_dir is None:
            return self
        return replace(self, config=self.config.override({"data.data_dir": data_dir}))

    def check_can_be_tested(self) -> None:
        """Raises TfaudioError if the run held no recordings out to test on."""
        if self.config.data.train_on_all:
            joined = self.config.model.name == "ensemble"
            how = "joins the runs of several folds" if joined else "was trained with data.train_on_all"
            raise TfaudioError(
                f"{self.path} {how}, so there are no recordings to test it on; name the runs of a cross-validation "
                "(`tfaudio train --folds=all`), which tell what to expect of it."
            )

    def unmasked_classifier(self) -> keras.Model:
        """Returns the classifier with no mask input, for export and for batches of equal length."""
        from tfaudio.models.backbone import set_weights
        from tfaudio.models.classifier import build_classifier, takes_mask

        if not takes_mask(self.config):
            return self.classifier
        twin = build_classifier(self.config, len(self.labels), masked=False, read_weights=False)
        set_weights(twin, self.classifier.get_weights())
        return twin

    def front_end(self, num_samples: int | None = None) -> keras.Model:
        """Returns the Keras model from waveform [batch, num_samples] to the features that `body` takes."""
        from tfaudio.models.classifier import front_end_model

        return front_end_model(self.config, self.normalization, self.unmasked_classifier(), num_samples=num_samples)

    def body(self) -> keras.Model:
        """Returns the classifier behind the whole front end, its learnt part too, with no mask: features to logits."""
        from tfaudio.models.classifier import body

        return body(self.unmasked_classifier())

    def end_to_end(self, num_samples: int | None = None) -> keras.Model:
        """Returns the Keras model from waveform [batch, num_samples] to scores [batch, classes]; see `inputs`."""
        from tfaudio.models.classifier import end_to_end

        return end_to_end(self.config, self.normalization, self.unmasked_classifier(), num_samples=num_samples)

    def inputs(self, waveforms: Any, texts: Sequence[str | None] | None = None) -> Any:
        """Returns what `end_to_end` takes: waveforms, or a dict of them and their tokens.

        Args:
          waveforms: float32 [batch, num_samples].
          texts: one each, None or "" where there is none; None: there are none. Of a run without text, not looked at.
        """
        if self.tokenizer is None:
            return waveforms
        return {"waveform": waveforms, "tokens": self.tokenizer.tokens(texts or [None] * len(waveforms))}


def is_run_folder(path: Path) -> bool:
    """Whether a folder looks like one that training wrote."""
    return (path / CONFIG).is_file()


def clear(path: Path) -> None:
    """Removes a run's files, and the folds of a cross-validation, so that none of them passes for the next run's.

    What else lies in the folder is left alone.
    """
    for name in _FILES:
        (path / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, TENSORBOARD, CANDIDATES):
        shutil.rmtree(path / name, ignore_errors=True)
    for fold in fold_folders(path):
        clear(fold)


def was_chosen(path: Path) -> bool:
    """Whether a run's settings were chosen inside its training folds, by a nested protocol."""
    return (path / CHOICE).is_file()


def fold_folders(path: Path) -> list[Path]:
    """Returns the run folders of the folds, groups and seeds inside the folder of a cross-validation, by name."""
    kinds = ("fold", "group", "seed")
    return sorted(file.parent for kind in kinds for file in path.glob(f"{kind}_*/{CONFIG}"))


def run_folders(path: Path, *, finished: bool = False) -> list[Path]:
    """Returns a run folder as it is, or those of a cross-validation's folder.

    Args:
      path: of either.
      finished: each must have all that `load_bundle` takes: found now, not after hours of work on those before it.

    Raises:
      TfaudioError: if it is neither, or a run's settings cannot be read, or one is not finished and should be.
    """
    found = [] if is_run_folder(path) else fold_folders(path)
    for folder in found or [path]:
        config = read_config(folder)
        if finished:
            check_finished(folder, config)
    if finished and found:
        check_whole(path)
    return found or [path]


def read_config(path: Path) -> RunConfig:
    """Reads a run's settings.

    Raises:
      TfaudioError: if the folder is no run folder or was written by a later version.
    """
    if not path.is_dir():
        raise TfaudioError(f"There is no run folder {path}; train one with `tfaudio train --output_dir={path}`.")
    if not (path / CONFIG).is_file():
        folds = fold_folders(path)
        if folds:
            raise TfaudioError(
                f"{path} holds the folds of a cross-validation, and its folds are runs each: name one of them, such as "
                f"{folds[0]}."
            )
        raise TfaudioError(
            f"{path} is not a run folder: it holds no config.json; name the folder that `tfaudio train` wrote."
        )
    with _damage_told(path / CONFIG):
        document = json.loads((path / CONFIG).read_text("utf-8"))
    settings = settings_of(document, source=str(path / CONFIG))
    with _damage_told(path / CONFIG):
        return RunConfig.from_dict(settings)


def settings_of(document: Any, *, source: str) -> dict[str, Any]:
    """Returns the settings, by section, in what a run's config.json holds.

    Args:
      document: its content, parsed.
      source: what messages call the file.

    Raises:
      TfaudioError: if it has another form, or was written by a later version.
    """
    version = document.get("format") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise TfaudioError(f"{source} has no run format and is no run's settings; restore it or train again.")
    if version > FORMAT_VERSION:
        raise TfaudioError(
            f"{source} has run format {version}, this tfaudio {tfaudio.__version__} reads up to {FORMAT_VERSION}; "
            "upgrade tfaudio."
        )
    settings = document.get("config")
    if not isinstance(settings, dict):
        raise TfaudioError(f"{source} has no settings ('config' is no object); restore it or train again.")
    return settings


@contextlib.contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    """Names the file of a run that cannot be read, or does not hold what training wrote."""
    try:
        yield
    except OSError as error:
        raise TfaudioError(f"Cannot read {file}: {error.strerror}; mend that or train again.") from error
    except (TfaudioError, ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{file} ").rstrip(".")
        raise TfaudioError(f"{file} is damaged ({reason}); restore it or train again.") from error


def write_config(path: Path, config: RunConfig) -> None:
    """Writes the settings into a run folder."""
    write_json(path / CONFIG, {"format": FORMAT_VERSION, "tfaudio": tfaudio.__version__, "config": config.to_dict()})


def write_model(
    path: Path,
    labels: LabelMap,
    normalization: Normalization,
    classifier: keras.Model,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Writes labels, normalisation, vocabulary and weights into a run folder, each whole or not at all."""
    write_atomically(path / LABELS, labels.to_text())
    if tokenizer is not None:
        write_atomically(path / VOCABULARY, tokenizer.to_text())
    write_atomically(path / NORMALIZATION, normalization.to_json())
    write_weights(path / WEIGHTS, classifier)
    (path / CALIBRATION).unlink(missing_ok=True)  # of other weights


def write_weights(path: Path, model: keras.Model) -> None:
    """Writes a model's weights, whole or not at all."""
    try:
        with tempfile.TemporaryDirectory() as folder:  # Keras insists on the ending .weights.h5
            temporary = Path(folder) / "model.weights.h5"
            model.save_weights(temporary)
            content = temporary.read_bytes()
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise TfaudioError(
            f"Cannot write {path} by way of {tempfile.gettempdir()}: {reason}; make room there or set TMPDIR."
        ) from error
    write_atomically(path, content)


def read_weights(path: Path, model: keras.Model, fault: str = "cannot be used") -> None:
    """Reads what `write_weights` wrote into a model.

    Raises:
      TfaudioError: if the file is damaged or of another model; it names the file, and calls that its `fault`.
    """
    try:
        model.load_weights(path)
    except (ValueError, OSError, LookupError, RuntimeError, TypeError) as error:  # as h5py meets the damage
        reason = first_line(error)
        raise TfaudioError(f"{path} {fault} ({reason}); restore the file or train again.") from error


def check_whole(path: Path) -> None:
    """Raises TfaudioError if a cross-validation was stopped between its runs: figures would be of some folds alone."""
    if (path / SHARED_CONFIG).is_file() and not (path / RESULT).is_file():
        raise TfaudioError(
            f"{path} has no {RESULT}: its training did not finish, and runs may be missing; continue it with `tfaudio "
            f"train --resume --output_dir={path}` and the flags it was begun with, or name its runs one by one."
        )


def missing_part(path: Path, config: RunConfig) -> str | None:
    """Returns the first part that a run of these settings lacks, as one does whose training did not finish, or None."""
    parts = (WEIGHTS, LABELS, NORMALIZATION, *([VOCABULARY] if config.text.length else []))
    return next((name for name in parts if not (path / name).is_file()), None)


def check_finished(path: Path, config: RunConfig) -> None:
    """Raises TfaudioError if a run of these settings lacks a part."""
    if name := missing_part(path, config):
        raise TfaudioError(
            f"The run folder {path} has no {name}: its training did not finish; "
            f"continue it with `tfaudio train --resume --output_dir={path}`."
        )


def load_bundle(path: str | Path, *, calibrated: bool = True) -> Bundle:
    """Loads a run folder.

    Args:
      path: the folder.
      calibrated: divide the logits by the temperature that `tfaudio calibrate` found, if it did.

    Raises:
      TfaudioError: if a part is missing, unreadable or does not fit the others; the message says what to do.
    """
    from tfaudio.features.normalization import Normalization
    from tfaudio.models.classifier import build_classifier, divide_logits

    path = Path(path)
    config = read_config(path)
    check_finished(path, config)
    with _damage_told(path / LABELS):
        labels = LabelMap.from_text((path / LABELS).read_text("utf-8"))
    tokenizer = None
    if config.text.length:
        with _damage_told(path / VOCABULARY):
            tokenizer = Tokenizer.from_text((path / VOCABULARY).read_text("utf-8"), config.text, labels)
    file, num_bins = path / NORMALIZATION, config.front_end.num_bins if config.front_end.standardized else 0
    with _damage_told(file):
        normalization = Normalization.from_json(file.read_text("utf-8"), source=str(file))
    if len(normalization.mean) != num_bins:
        raise TfaudioError(
            f"{file} has {len(normalization.mean)} bins, but the front end of {path / CONFIG} takes {num_bins}; "
            "restore the file or train again."
        )
    classifier = build_classifier(config, len(labels), read_weights=False)
    read_weights(path / WEIGHTS, classifier, f"does not fit the model '{config.model.name}' of {path / CONFIG}")
    calibration = read_calibration(path) if calibrated else None
    if calibration is not None:
        # In the weights of the last layer, so that every export has it, and those that take the softmax themselves.
        divide_logits(classifier, calibration["temperature"])
    return Bundle(path, config, labels, normalization, classifier, tokenizer)


def read_calibration(path: Path) -> dict[str, Any] | None:
    """Reads what `tfaudio calibrate` found: "temperature", and "thresholds" by label; None if it did not run.

    Raises:
      TfaudioError: if the file is damaged.
    """
    file = path / CALIBRATION
    if not file.is_file():
        return None
    with _damage_told(file):
        found = json.loads(file.read_text("utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("thresholds"), dict):
            raise TfaudioError("'thresholds' is missing or of another type.")
        temperature = found.get("temperature")
        if not isinstance(temperature, float) or not 0 < temperature < math.inf:
            raise TfaudioError("'temperature' is no positive number.")
    return found


def read_split(path: Path) -> dict[str, Any]:
    """Reads which recordings a run was trained, validated and tested on, by which rule, of which data.

    Raises:
      TfaudioError: if the file is missing or damaged: without its fingerprint nobody could tell that the data have
        changed since training, and figures would be of other recordings.
    """
    file = path / SPLIT
    if not file.is_file():
        raise TfaudioError(
            f"The run folder {path} has no {SPLIT}, so that nothing tells whether the data are still those it was "
            "trained on; restore the file or train again."
        )
    with _damage_told(file):
        split = json.loads(file.read_text("utf-8"))
        if not isinstance(split, dict):
            raise TfaudioError("it is no object.")
        for key, kind in _SPLIT_KEYS.items():
            if not isinstance(split.get(key), kind):
                raise TfaudioError(f"'{key}' is missing or of another type.")
    return split


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes a table, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
