"""Distillation: a small model learns from what larger ones say of the very examples that it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from tfaudio.bundle import WEIGHTS, load_bundle, read_config, read_split, run_folders
from tfaudio.config import RunConfig
from tfaudio.data.labelled import split_record
from tfaudio.data.spec import DatasetSpec
from tfaudio.data.split import Split
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.models.classifier import scores_of


def find_teachers(config: RunConfig, spec: DatasetSpec, split: Split) -> list[Path]:
    """Returns the run folders of the teachers that a run may have: those of its own split.

    A teacher that was trained on another one may have learnt the student's test recordings, and would hand them on.

    Args:
      config: training.teacher names run folders, or those of cross-validations, whose runs of this split are taken;
        front end and clip must be the teachers' too, who are given the student's features.
      spec: the data set.
      split: of the run.

    Raises:
      TfaudioError: if a folder holds no run, none of this split, or one that hears otherwise.
    """
    own = split_record(config, spec, split)  # by its rule too: parts of one recording share its name
    found: list[Path] = []
    for name in config.training.teacher:
        fitting = [folder for folder in run_folders(Path(name)) if own.items() <= read_split(folder).items()]
        if not fitting and config.data.left_out_fold is not None:
            raise TfaudioError(
                "training.teacher (--teacher): a nested choice leaves two folds out, and no run of another kind was "
                "trained without both; leave out the teacher, or --protocol=nested."
            )
        if not fitting:
            raise TfaudioError(
                f"training.teacher (--teacher): {name} holds no run that was trained and tested on the very recordings "
                f"of this one ({split.rule}), and another may know its test recordings; train the teacher on the same "
                "data, with the same --folds, --protocol and --validation_fraction."
            )
        found += fitting
    for folder in found:
        _check_hears_the_same(folder, config)
    return found


def _check_hears_the_same(folder: Path, config: RunConfig) -> None:
    teacher = read_config(folder)
    if teacher.training.shuffle_labels:
        raise TfaudioError(
            f"training.teacher (--teacher): {folder} is a control that learnt shuffled labels; name another."
        )
    if teacher.training.initial_weights_saw_test:
        raise TfaudioError(
            f"training.teacher (--teacher): {folder} started from weights that were found on test recordings, and "
            "would hand on what it knows of them; name another."
        )
    if not (folder / WEIGHTS).is_file():
        raise TfaudioError(
            f"training.teacher (--teacher): {folder} has no {WEIGHTS}, so its training did not finish; finish it first."
        )
    if teacher.model.options.get("own_scales"):
        raise TfaudioError(
            f"training.teacher (--teacher): {folder} joins runs of several folds, each of which standardises features "
            "in its own way; name runs that were trained on all recordings, or those of one fold."
        )
    ours, theirs = config.to_dict(), teacher.to_dict()
    alike = [(s, k) for s in ("front_end", "clip", "text") for k in ours[s]] + [("model", "score_activation")]
    differing = [f"{s}.{k}" for s, k in alike if ours[s][k] != theirs[s][k]]
    if differing:
        raise TfaudioError(
            f"training.teacher (--teacher): {folder} has another {', '.join(differing)} than this run, whose features "
            "it is to score; give both the same settings."
        )


def load_teachers(folders: Sequence[Path], labels: LabelMap) -> list[keras.Model]:
    """Loads the classifiers of run folders, as they were trained: no calibration enters.

    Raises:
      TfaudioError: if one is damaged, not finished, or has other labels.
    """
    teachers = []
    for folder in folders:
        bundle = load_bundle(folder, calibrated=False)
        if bundle.labels != labels:
            raise TfaudioError(f"training.teacher (--teacher): {folder} has other labels than this run; name another.")
        teachers.append(bundle.classifier)
    return teachers


def taught(classifier: keras.Model, teachers: Sequence[keras.Model], config: RunConfig) -> keras.Model:
    """Returns the classifier, of the same layers and weights, with a loss that its teachers have a part in.

    The loss of a training step is (1 - w) * hard + w * T^2 * soft: `hard` is the loss that the model is compiled with;
    `soft` is the cross-entropy between the mean of the teachers' scores and the student's, the logits of both divided
    by T; with sigmoid scores it is the mean over the classes of the binary cross-entropy of each. The factor T^2 keeps
    the sizes of the two gradients in proportion. Validation measures `hard` alone.

    Args:
      classifier: from inputs to logits; not compiled.
      teachers: from the same inputs to logits of the same classes; their weights are no part of the result.
      config: training.distillation_weight (w), training.distillation_temperature (T) and model.score_activation are
        used.

    Source: G. Hinton et al., Distilling the Knowledge in a Neural Network (2015), https://arxiv.org/abs/1503.02531.
    """
    temperature, activation = config.training.distillation_temperature, config.model.score_activation

    def soft_targets(inputs: Any) -> Any:
        scores = [scores_of(teacher(inputs, training=False) / temperature, activation) for teacher in teachers]
        return ops.stop_gradient(ops.mean(ops.stack(scores), axis=0))

    student = _Student(classifier.input, classifier.output, name=classifier.name)
    kind = keras.losses.BinaryCrossentropy if config.multi_label else keras.losses.CategoricalCrossentropy
    student.be_taught(
        soft_targets, kind(from_logits=True), weight=config.training.distillation_weight, temperature=temperature
    )
    return student


class _Student(keras.Model):
    """A functional model whose training loss compares it with teachers."""

    def be_taught(
        self, soft_targets: Callable[[Any], Any], soft_loss: keras.losses.Loss, *, weight: float, temperature: float
    ) -> None:
        # Kept as a function: models set as attributes would become layers, and be saved with the student.
        self._soft_targets, self._soft_loss = soft_targets, soft_loss
        self._soft_weight, self._temperature = weight, temperature

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        hard = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        if not training:
            return hard
        soft = self._soft_loss(self._soft_targets(x), y_pred / self._temperature, sample_weight)
        return (1 - self._soft_weight) * hard + self._soft_weight * self._temperature**2 * soft
