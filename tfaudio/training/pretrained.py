"""Weights to start from: what `tfaudio pretrain` leaves behind, and who may begin with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras

import tfaudio
from tfaudio.bundle import read_weights
from tfaudio.config import RunConfig
from tfaudio.data.augmentation import background_files
from tfaudio.data.labelled import split_of
from tfaudio.data.spec import Clip, DatasetSpec
from tfaudio.errors import TfaudioError
from tfaudio.files import write_json
from tfaudio.golden import sha256
from tfaudio.models.classifier import body, build_classifier

PRETRAINING, ENCODER = "pretraining.json", "encoder.weights.h5"
# Of the output that is thrown away; the layers before it do not depend on it.
NUM_OUTPUTS = 2
_FORMAT_VERSION = 1


def file_hashes(paths: Iterable[str | Path]) -> list[str]:
    """Returns the sha256 of each recording's file, sorted: it is known again under another name."""
    return sorted({sha256(Path(path).read_bytes()) for path in set(map(str, paths))})


def hashes_heard(config: RunConfig, clips: Iterable[Clip]) -> list[str]:
    """Returns the `file_hashes` of what pre-training hears: its recordings, and what augmentation mixes in."""
    return file_hashes([*(clip.path for clip in clips), *background_files(config)])


def write_pretraining(folder: Path, config: RunConfig, clips: Sequence[Clip], details: dict[str, Any]) -> None:
    """Writes what weights were found by, and on which recordings; the weights themselves are written after it."""
    document = {
        "format": _FORMAT_VERSION,
        "tfaudio": tfaudio.__version__,
        "config": config.to_dict(),
        "recordings": hashes_heard(config, clips),
        **details,
    }
    write_json(folder / PRETRAINING, document)


def read_pretraining(folder: Path, *, finished: bool = True) -> dict[str, Any]:
    """Reads what `write_pretraining` wrote; "config" is a RunConfig.

    Args:
      folder: that `tfaudio pretrain` wrote.
      finished: ask for the weights too.

    Raises:
      TfaudioError: if the folder is none of `tfaudio pretrain`, its training did not finish, or the file is damaged.
    """
    file = folder / PRETRAINING
    if not file.is_file():
        raise TfaudioError(
            f"training.initial_weights (--initial_weights): {folder} holds no {PRETRAINING}; name a folder that "
            "`tfaudio pretrain` wrote."
        )
    try:
        document = json.loads(file.read_text("utf-8"))
        config = RunConfig.from_dict(document["config"])
        recordings = set(document["recordings"])
        version = int(document["format"])
    except (OSError, ValueError, LookupError, TypeError, TfaudioError) as error:
        raise TfaudioError(f"{file} is damaged ({error}); restore it or pre-train again.") from error
    if version > _FORMAT_VERSION:
        raise TfaudioError(f"{file} has format {version}, which this tfaudio does not know; upgrade tfaudio.")
    if finished and not (folder / ENCODER).is_file():
        raise TfaudioError(
            f"{folder} has no {ENCODER}: its training did not finish; give the same `tfaudio pretrain` with --resume."
        )
    return {**document, "config": config, "recordings": recordings}


def find_pretrained(config: RunConfig, spec: DatasetSpec) -> Path | None:
    """Returns the folder of the weights that a run starts from; None if it draws its own.

    Args:
      config: training.initial_weights names the folder, or one that holds a folder for each fold or group, of which the
        one without this run's test recordings is taken.
      spec: the data set of the run.

    Raises:
      TfaudioError: if there are no such weights, they are of another model or front end, or they were found on test
        recordings of this run, which config.training.initial_weights_saw_test does not allow.
    """
    if config.training.initial_weights is None:
        return None
    root = Path(config.training.initial_weights)
    folders = [] if (root / PRETRAINING).is_file() else [file.parent for file in sorted(root.glob(f"*/{PRETRAINING}"))]
    found = {folder: read_pretraining(folder) for folder in folders or [root]}
    tested = (config.data.test_fold, config.data.test_group)
    of_this = [
        folder
        for folder, document in found.items()
        if (document["config"].data.test_fold, document["config"].data.test_group) == tested
    ]
    folder = (of_this or list(found))[0]
    before = found[folder]["config"]
    # What the scores are made by comes after the layers whose weights are taken.
    before = before.replace(model=before.model.replace(score_activation=config.model.score_activation))
    if (before.model, before.front_end) != (config.model, config.front_end):
        ours, theirs = config.to_dict(), before.to_dict()
        differing = [f"{s}.{k}" for s in ("model", "front_end") for k in ours[s] if ours[s][k] != theirs[s][k]]
        raise TfaudioError(
            f"training.initial_weights (--initial_weights): {folder} was trained with another {', '.join(differing)}; "
            "give both the same model and front end."
        )
    # The fold that a nested protocol leaves out is the one that its choice is tested on.
    left_out = [] if config.data.left_out_fold is None else spec.clips
    left_out = [clip for clip in left_out if clip.fold == config.data.left_out_fold]
    unknown = (clip.path for clip in (*split_of(config, spec).test, *left_out))
    known = found[folder]["recordings"].intersection(file_hashes(unknown))
    way_out = "pre-train with the same --dataset and --folds"
    if left_out:
        way_out = "pre-train for a nested choice, which leaves two folds out, on other recordings (--data_dir alone)"
    if known and not config.training.initial_weights_saw_test:
        raise TfaudioError(
            f"training.initial_weights (--initial_weights): {folder} was trained on {len(known)} of this run's test "
            f"recordings, which would no longer be unknown; {way_out}, or pass --initial_weights_saw_test."
        )
    return folder


def load_pretrained(folder: Path, classifier: keras.Model) -> None:
    """Gives a classifier the weights that were found, of all its layers before the logits.

    Args:
      folder: as `find_pretrained` returns it.
      classifier: of the same model and front end, for any number of classes.

    Raises:
      TfaudioError: if the weights cannot be read.
    """
    config = read_pretraining(folder)["config"]
    source = build_classifier(config, NUM_OUTPUTS, read_weights=False)
    read_weights(folder / ENCODER, source)
    drawn = {id(weight) for weight in body(classifier).get_layer("logits").weights}
    for target, weight in zip(classifier.weights, source.weights, strict=True):
        if id(target) not in drawn:
            target.assign(weight)
