"""Training a classifier on a data set, into a run folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfaudio import bundle
from tfaudio.bundle import Bundle
from tfaudio.config import RunConfig
from tfaudio.data.augmentation import augmentation_sounds, check_backgrounds
from tfaudio.data.labelled import LabelledData, fingerprint_of, read_labelled_data, split_of, split_record
from tfaudio.data.pipeline import Pipeline
from tfaudio.data.spec import Clip, DatasetSpec
from tfaudio.data.split import Split
from tfaudio.data.vocabulary import build_tokenizer
from tfaudio.errors import TfaudioError
from tfaudio.features.family import check_features
from tfaudio.files import make_writable_folder, refuse_existing, write_json
from tfaudio.models.backbone import backbone_variables
from tfaudio.models.classifier import build_classifier, takes_mask
from tfaudio.text import Tokenizer
from tfaudio.training.averaging import averaged_classifier
from tfaudio.training.checkpoint import RunKeeper
from tfaudio.training.distillation import find_teachers, load_teachers, taught
from tfaudio.training.loss import make_loss
from tfaudio.training.optimizer import make_optimizer
from tfaudio.training.pretrained import find_pretrained, load_pretrained
from tfaudio.training.strategy import check_batch, make_strategy, precision_policy


def train(
    config: RunConfig,
    output_dir: str | Path,
    *,
    data: LabelledData | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Bundle:
    """Trains a classifier and writes its run folder.

    Without validation examples the last epoch's weights are kept; with them, those of the lowest validation loss; with
    training.swa_fraction, in both cases, the mean of the last epochs' weights.
    Test recordings are not looked at.

    Args:
      config: every setting.
      output_dir: the run folder.
      data: the data set, if it was read already.
      overwrite: replace what stands in output_dir.
      resume: continue a run that was stopped, from its last whole epoch, with the very result that it would have
        had (on a CPU); one that is finished is loaded.
      progress: show a bar.
      tensorboard: write event files into output_dir/tensorboard.
      log: takes lines about what was skipped and found.

    Raises:
      TfaudioError: if data, folder or settings do not allow it.
    """
    run_dir = Path(output_dir)
    if not resume:
        refuse_existing(run_dir, overwrite=overwrite)
    data = data or read_labelled_data(config, progress=progress)
    config = config.for_labels(multi_label=data.spec.multi_label)
    if resume:
        check_same_settings(run_dir, bundle.read_config(run_dir), config)
        _check_same_data(run_dir, config, data.spec)
        if not bundle.missing_part(run_dir, config):
            return bundle.load_bundle(run_dir, calibrated=False)
    split = split_of(config, data.spec)
    check_validation(config, split)
    labels, recordings = data.spec.labels, data.recordings
    targets = data.targets(labels, multi_hot=config.multi_label)
    chosen = recordings.select(split.train)
    validation = recordings.select(split.validation)
    if config.training.early_stopping_patience and not len(validation):
        raise TfaudioError(
            "training.early_stopping_patience (--early_stopping) needs recordings to validate on, and none of those "
            "that are kept for it can be used; repair them (`tfaudio datasets audit` lists them), or keep others."
        )
    if config.training.shuffle_labels:
        targets = shuffled_labels(targets, (chosen, validation), config.training.seed)
    strategy = check_settings(config, len(labels))
    check_batch(min(config.training.batch_size, len(chosen)), strategy)  # few recordings are one smaller batch
    check_inputs_stay(run_dir, config)
    check_backgrounds(config, split)
    teachers = find_teachers(config, data.spec, split)
    pretrained = find_pretrained(config, data.spec)
    tokenizer = _tokenizer(config, data, chosen)
    if config.training.initial_weights_saw_test:
        log("warning: the weights to start from may know test recordings; the result is no measure of unknown ones.")
    _report(log, data, split, targets[chosen])
    if not resume:
        bundle.clear(run_dir)
    make_writable_folder(run_dir)
    bundle.write_config(run_dir, config)  # first: it is what --resume looks for
    _write_split(run_dir, config, data, split)

    keras.utils.clear_session()
    # Threads otherwise sum gradients in any order, and two runs of one seed part ways after some epochs.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy(precision_policy(strategy, mixed=config.training.mixed_precision))
    bar = Progress(config.training.epochs, log)
    try:
        normalization = Pipeline(recordings, targets, len(labels), config).fit_normalization(chosen)
        tokens = None if tokenizer is None else tokenizer.tokens(clip.text for clip in recordings.clips)
        pipeline = Pipeline(recordings, targets, len(labels), config, normalization, tokens)
        steps = pipeline.steps_per_epoch(len(chosen))
        with strategy.scope():
            classifier = build_classifier(config, len(labels), masked=takes_mask(config))
            if pretrained is not None:
                load_pretrained(pretrained, classifier)
            slow = backbone_variables(classifier)
            if teachers:  # after the student, who draws the weights to start from that it would draw by itself
                classifier = taught(classifier, load_teachers(teachers, labels), config)
            classifier.compile(
                optimizer=make_optimizer(config.training, total_steps=steps * config.training.epochs, slow=slow),
                loss=make_loss(config),
                metrics=[] if config.multi_label else ["accuracy"],
            )
        averaged = config.training.averaged_epochs
        average_from = config.training.epochs - averaged if averaged else None
        keeper = RunKeeper(run_dir, patience=config.training.early_stopping_patience, average_from=average_from)
        with strategy.scope():  # the optimiser's variables are made here
            first_epoch = keeper.attach(classifier, resume=resume)
        if first_epoch < config.training.epochs and not keeper.should_stop():
            weights = class_weights(targets[chosen], len(labels)) if config.training.class_weights else None
            classifier.fit(
                pipeline.training(chosen, first_epoch=first_epoch, class_weights=weights),
                initial_epoch=first_epoch,
                epochs=config.training.epochs,
                steps_per_epoch=steps,
                validation_data=pipeline.evaluation(validation, with_targets=True) if len(validation) else None,
                verbose=0,
                shuffle=False,  # the pipeline does; Keras warns otherwise
                callbacks=[
                    keeper,
                    *([bar] if progress else []),
                    *([keras.callbacks.TensorBoard(str(run_dir / bundle.TENSORBOARD))] if tensorboard else []),
                ],
            )
        if keeper.best_weights.is_file():
            classifier.load_weights(keeper.best_weights)
    finally:
        bar.close()
        keras.config.set_dtype_policy("float32")
    if averaged:
        last = pipeline.training(chosen, first_epoch=config.training.epochs - 1)
        classifier = averaged_classifier(config, len(labels), keeper.averaged_weights(), last)
    bundle.write_model(run_dir, labels, normalization, classifier, tokenizer)
    return bundle.load_bundle(run_dir)  # what is returned is what is on disk, in full precision


def check_inputs_stay(output_dir: Path, config: RunConfig) -> None:
    """Refuses to write a run over what it learns from, or where it could not be resumed.

    Raises:
      TfaudioError: if the folder's path is none for checkpoints, or a teacher, or the folder of weights to start from,
        lies in the output folder or around it.
    """
    RunKeeper.check_folder(output_dir)
    training, output = config.training, output_dir.resolve()
    for name in (*training.teacher, *([training.initial_weights] if training.initial_weights else [])):
        folder = Path(name).resolve()
        if output in (folder, *folder.parents) or folder in output.parents:
            raise TfaudioError(
                f"{output_dir} would replace {name}, which this run is to learn from; name another folder."
            )


def check_validation(config: RunConfig, split: Split) -> None:
    """Raises TfaudioError if training is to stop early, and the split has nothing to stop by."""
    if config.training.early_stopping_patience and not split.validation:
        raise TfaudioError(
            "training.early_stopping_patience (--early_stopping) needs recordings to validate on, or it would stop on "
            "the test set and flatter the result; set data.validation_fraction (--validation_fraction) above 0."
        )


def check_settings(config: RunConfig, num_classes: int) -> tf.distribute.Strategy:
    """Finds what is wrong with devices, filter banks or the model's options before an earlier run is replaced.

    Returns:
      the strategy to train under.

    Raises:
      TfaudioError: if the devices or the recordings of augmentation are not there, or the front end or the model
        cannot be built.
    """
    strategy = make_strategy(config.training.strategy)
    check_batch(config.training.batch_size, strategy)
    check_features(config.front_end)
    augmentation_sounds(config)
    classifier = build_classifier(config, num_classes)
    if config.training.backbone_rate != 1.0 and not backbone_variables(classifier):
        raise TfaudioError(
            f"training.backbone_rate has nothing to slow in model '{config.model.name}': it is for the network inside "
            "'backbone' or 'yamnet', of which model.options.trained_stages are trained."
        )
    return strategy


class Progress(keras.callbacks.Callback):
    """One bar over the epochs with the latest figures; on no terminal, a line at every tenth of the way."""

    def __init__(self, epochs: int, log: Callable[[str], None]) -> None:
        super().__init__()
        self._epochs, self._log = epochs, log
        self._bar: tqdm | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._bar is None:
            self._bar = tqdm(total=self._epochs, initial=epoch, desc="training", unit="epoch", disable=None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        figures = {key: f"{value:.3f}" for key, value in (logs or {}).items()}
        if self._bar is None or self._bar.disable:
            if (epoch + 1) * 10 // self._epochs > epoch * 10 // self._epochs:
                told = ", ".join(f"{key} {value}" for key, value in figures.items())
                self._log(f"epoch {epoch + 1} of {self._epochs}: {told}")
            return
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leaves the bar's line, however the training ended."""
        if self._bar is not None:
            self._bar.close()


def class_weights(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns float32 [classes], inverse to each class's share and of mean 1 over the examples.

    Args:
      targets: int [examples], or 0 and 1 [examples, classes], where an example's weight is the mean over its classes.
      num_classes: their number.

    >>> class_weights(np.array([0, 0, 0, 1]), 2)
    array([0.6666667, 2.       ], dtype=float32)
    """
    counts = class_counts(targets, num_classes)
    if targets.ndim == 1:
        present = np.count_nonzero(counts)
        return (len(targets) / (present * np.maximum(counts, 1))).astype(np.float32)
    weights = 1.0 / np.maximum(counts, 1)
    return (weights / np.mean(targets @ weights / targets.sum(axis=1))).astype(np.float32)


def class_counts(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns how many examples have each class, int64 [classes].

    Args:
      targets: int [examples], or 0 and 1 [examples, classes].
      num_classes: their number.
    """
    if targets.ndim == 1:
        return np.bincount(targets, minlength=num_classes)
    return targets.sum(axis=0, dtype=np.float64).round().astype(np.int64)


def shuffled_labels(targets: np.ndarray, parts: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Deals the labels of each part out anew among its recordings; how many have each label stays as it is.

    Args:
      targets: int64 [clips], or [clips, classes], of which whole rows are dealt.
      parts: indices of the clips of each.
      seed: the same one deals alike.

    Returns:
      As `targets`; the labels outside of the parts are the true ones.
    """
    rng, shuffled = np.random.default_rng(seed), targets.copy()
    for part in parts:
        shuffled[part] = rng.permutation(targets[part])
    return shuffled


def check_same_settings(run_dir: Path, before: RunConfig, config: RunConfig) -> None:
    """Raises TfaudioError if a run that is resumed was begun with other settings."""
    if before != config:
        old, new = before.to_dict(), config.to_dict()
        changed = [f"{s}.{k}" for s in new for k in new[s] if new[s][k] != old[s][k]]
        raise TfaudioError(
            f"{run_dir} was trained with other settings ({', '.join(changed)}); give the same ones to --resume, or "
            "start anew with --overwrite."
        )


def _check_same_data(run_dir: Path, config: RunConfig, spec: DatasetSpec) -> None:
    """A recording more or less would move others between training and test, whatever was learnt from them already."""
    if not (run_dir / bundle.SPLIT).is_file():
        return  # stopped before it had begun to train
    if bundle.read_split(run_dir)["fingerprint"] != fingerprint_of(config, spec):
        raise TfaudioError(
            f"The data set '{spec.name}' has changed since {run_dir} was begun, so the run cannot be resumed; restore "
            "the data, or start anew with --overwrite."
        )


def _write_split(run_dir: Path, config: RunConfig, data: LabelledData, split: Split) -> None:
    bundle.write_csv(
        run_dir / bundle.SKIPPED, ["path", "reason"], [[s.path, s.reason] for s in data.recordings.skipped]
    )
    write_json(run_dir / bundle.SPLIT, split_record(config, data.spec, split))


def check_learnable(config: RunConfig, data: LabelledData) -> None:
    """Raises TfaudioError if nothing can be trained on: no recording of the training part, or none with a text."""
    _tokenizer(config, data, data.recordings.select(split_of(config, data.spec).train))


def _tokenizer(config: RunConfig, data: LabelledData, chosen: np.ndarray) -> Tokenizer | None:
    """What reads the texts of the recordings to train on, of which there have to be some; None for sound alone."""
    if not len(chosen):
        raise TfaudioError("There is no usable recording to train on; add recordings or change the split.")
    if not config.text.length:
        return None
    return build_tokenizer((data.recordings.clips[i].text for i in chosen), config.text, data.spec.labels)


def _report(log: Callable[[str], None], data: LabelledData, split: Split, targets: np.ndarray) -> None:
    labels = data.spec.labels

    def usable(clips: tuple[Clip, ...]) -> int:
        return len(data.recordings.select(clips))

    counts = class_counts(targets, len(labels))
    log(
        f"{data.spec.name}: {len(data.recordings.clips)} recordings of {len(labels)} classes; "
        f"{usable(split.train)} to train on, {usable(split.validation)} to validate, {usable(split.test)} to test "
        f"({split.rule})."
    )
    for skipped in data.recordings.skipped:
        log(f"skipped {skipped.path}: {skipped.reason}")
    for name, count in zip(labels, counts, strict=True):
        if count < 2:
            log(f"warning: class '{name}' has {count} recording(s) to train on; it will hardly be learnt.")
