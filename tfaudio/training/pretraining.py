"""Self-supervised pre-training: two views of one recording are made to lie closer than those of others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tfaudio.bundle import HISTORY, clear, write_weights
from tfaudio.config import RunConfig
from tfaudio.config.base import Config, check, check_range
from tfaudio.data.pipeline import Pipeline
from tfaudio.data.recordings import read_recordings
from tfaudio.data.spec import Clip, Skipped
from tfaudio.errors import TfaudioError
from tfaudio.files import make_writable_folder, refuse_existing
from tfaudio.models.classifier import body, build_classifier, learnt_front_end
from tfaudio.training.checkpoint import RunKeeper, read_history
from tfaudio.training.optimizer import make_optimizer
from tfaudio.training.pretrained import (
    ENCODER,
    NUM_OUTPUTS,
    PRETRAINING,
    hashes_heard,
    read_pretraining,
    write_pretraining,
)
from tfaudio.training.strategy import check_batch, precision_policy
from tfaudio.training.trainer import Progress, check_settings


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(Config):
    """How views are made and compared.

    Args:
      crop: length of a view, as a share of the clip.
      temperature: by which cosines are divided.
      width: of the projection in which views are compared.
    """

    section = "contrastive"

    crop: float = 0.5
    temperature: float = 0.1
    width: int = 128

    def check(self) -> None:
        check(0 < self.crop <= 1, f"contrastive.crop must be in (0, 1], not {self.crop}.")
        check_range("contrastive.temperature", self.temperature, 0.001, 100)
        check_range("contrastive.width", self.width, 2, 4096)


def pretrain(
    config: RunConfig,
    settings: ContrastiveConfig,
    clips: Sequence[Clip],
    output_dir: str | Path,
    *,
    skipped: Sequence[Skipped] = (),
    overwrite: bool = False,
    resume: bool = False,
    before_writing: Callable[[], None] | None = None,
    progress: bool = True,
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> list[dict[str, float]]:
    """Finds weights to start from on recordings whose labels play no part, and writes them into a folder.

    The encoder is the classifier of `config` up to its logits. Each recording of a batch gives two views, cut
    anywhere and augmented by themselves; a projection of each has to tell the other view of its recording from those
    of all others.

    Args:
      config: every setting; examples are not mixed.
      settings: of views and loss.
      clips: the recordings.
      output_dir: the folder.
      skipped: files left out earlier, to be listed.
      overwrite: replace what stands in output_dir.
      resume: continue a training that was stopped, from its last whole epoch; one that is finished stays.
      before_writing: called once settings and recordings have been found to serve, before anything is written.
      progress: show a bar.
      log: takes lines about what was skipped and found.

    Returns:
      One row an epoch: "epoch" and "loss".

    Raises:
      TfaudioError: if recordings, folder or settings do not allow it.

    Source: T. Chen et al., A Simple Framework for Contrastive Learning of Visual Representations (2020),
    https://arxiv.org/abs/2002.05709; A. Saeed et al., Contrastive Learning of General-Purpose Audio Representations
    (2021), https://arxiv.org/abs/2010.10915.
    """
    run_dir = Path(output_dir)
    details = {"contrastive": settings.to_dict()}
    if not resume:
        refuse_existing(run_dir, overwrite=overwrite)
    RunKeeper.check_folder(run_dir)
    config.training.check_plain("pre-training")
    if config.clip.seconds is None:
        raise TfaudioError("Views are of one length, so clip.seconds may not be null; set --clip_seconds.")
    if config.model.name == "ensemble":
        raise TfaudioError("The members of an 'ensemble' have nothing but scores in common; pre-train each by itself.")
    if config.text.length:
        raise TfaudioError("Views are of sounds alone, so text.length must be 0; choose a model that takes no text.")
    if config.model.options.get("head") == "class_attention":
        raise TfaudioError(
            "model.options.head 'class_attention' makes no vector of a view that could be compared with another; "
            "choose another head."
        )
    strategy = check_settings(config, NUM_OUTPUTS)
    if config.training.batch_size < 2 * strategy.num_replicas_in_sync:
        raise TfaudioError(
            f"training.batch_size (--batch_size) {config.training.batch_size} leaves a replica one recording at a "
            "time, with no other to tell its views from; take a larger one."
        )
    recordings = read_recordings(
        clips, sample_rate=config.front_end.sample_rate, config=config.data, skipped=skipped, progress=progress
    )
    for left_out in recordings.skipped:
        log(f"skipped {left_out.path}: {left_out.reason}")
    if len(recordings.clips) < 2:
        raise TfaudioError("One recording alone has none to be told from; add recordings.")
    if resume:
        _check_same(run_dir, config, recordings.clips, details)
        if (run_dir / ENCODER).is_file():  # written last
            return read_history(run_dir)
    if before_writing is not None:
        before_writing()
    if not resume:
        clear_pretraining(run_dir)
    make_writable_folder(run_dir)
    write_pretraining(run_dir, config, recordings.clips, details)

    keras.utils.clear_session()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy(precision_policy(strategy, mixed=config.training.mixed_precision))
    everything, targets = np.arange(len(recordings.clips)), np.zeros(len(recordings.clips), np.int64)
    bar = Progress(config.training.epochs, log)
    try:
        normalization = Pipeline(recordings, targets, NUM_OUTPUTS, config).fit_normalization(everything)
        pipeline = Pipeline(recordings, targets, NUM_OUTPUTS, config, normalization)
        check_batch(pipeline.batch_size(len(everything)), strategy)
        steps = pipeline.steps_per_epoch(len(everything))
        with strategy.scope():
            classifier = build_classifier(config, NUM_OUTPUTS, masked=False)
            model = _projected(classifier, settings)
            model.compile(
                optimizer=make_optimizer(config.training, total_steps=steps * config.training.epochs),
                loss=PairLoss(settings.temperature),
            )
            keeper = RunKeeper(run_dir)
            first_epoch = keeper.attach(model, resume=resume)
        length = max(1, round(settings.crop * config.clip.num_samples(config.front_end.sample_rate)))
        if first_epoch < config.training.epochs:
            model.fit(
                pipeline.pairs(everything, num_samples=length, first_epoch=first_epoch),
                initial_epoch=first_epoch,
                epochs=config.training.epochs,
                steps_per_epoch=steps,
                verbose=0,
                shuffle=False,
                callbacks=[keeper, *([bar] if progress else [])],
            )
    finally:
        bar.close()
        keras.config.set_dtype_policy("float32")
    write_weights(run_dir / ENCODER, classifier)
    return keeper.history


def _check_same(run_dir: Path, config: RunConfig, clips: Sequence[Clip], details: dict[str, Any]) -> None:
    before = read_pretraining(run_dir, finished=False)
    now = {"config": config, "recordings": set(hashes_heard(config, clips)), **details}
    if changed := [key for key, value in now.items() if before.get(key) != value]:
        raise TfaudioError(
            f"{run_dir} was begun with other {' and '.join(changed)}; give the same to --resume, or start anew with "
            "--overwrite."
        )


def clear_pretraining(run_dir: Path) -> None:
    """Removes what `pretrain` wrote into a folder, and into its folders for folds or groups."""
    for folder in (run_dir, *(file.parent for file in run_dir.glob(f"*/{PRETRAINING}"))):
        clear(folder)
        for name in (PRETRAINING, ENCODER, HISTORY):
            (folder / name).unlink(missing_ok=True)


def _projected(classifier: keras.Model, settings: ContrastiveConfig) -> keras.Model:
    """Returns the model from features to projections of length one, float32 [batch, width]; it shares its layers.

    Raises:
      TfaudioError: if the architecture does not sum a recording up before its logits.
    """
    architecture = body(classifier)
    embeddings = architecture.get_layer("logits").input
    if len(embeddings.shape) != 2:
        raise TfaudioError(
            f"Model '{architecture.name}' has no one vector for a recording ahead of its logits; choose another model."
        )
    encoder = keras.Model(architecture.input, embeddings, name="encoder")
    learnt_part = learnt_front_end(classifier)
    x = encoder(classifier.input if learnt_part is None else learnt_part(classifier.input))
    x = layers.Dense(settings.width, activation="relu", dtype="float32")(x)
    x = layers.Dense(settings.width, use_bias=False, dtype="float32")(x)
    return keras.Model(classifier.input, layers.UnitNormalization(dtype="float32")(x))


@keras.saving.register_keras_serializable(package="tfaudio")
class PairLoss(keras.losses.Loss):
    """Cross-entropy of finding, for each view, the other view of its recording among all others of the batch.

    Args:
      temperature: by which cosines are divided.

    Call arguments: targets, which are not looked at; projections float32 [2 * pairs, width] of length one, of which
    rows 2 i and 2 i + 1 are a pair.

    Source: the NT-Xent loss of T. Chen et al. (2020), https://arxiv.org/abs/2002.05709, equation 1.
    """

    def __init__(self, temperature: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        del y_true
        cosines = ops.matmul(y_pred, ops.transpose(y_pred)) / self.temperature
        itself = ops.eye(ops.shape(y_pred)[0], dtype=cosines.dtype)
        width = y_pred.shape[-1]
        partners = ops.reshape(ops.flip(ops.reshape(y_pred, (-1, 2, width)), axis=1), (-1, width))
        found = ops.sum(y_pred * partners, axis=-1) / self.temperature
        return ops.logsumexp(cosines - 1e9 * itself, axis=-1) - found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
