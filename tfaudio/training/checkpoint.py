"""What is kept while training: the state to resume from, the best weights, one row of history an epoch."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfaudio import bundle
from tfaudio.errors import TfaudioError, first_line


class RunKeeper(keras.callbacks.Callback):
    """Saves all state after every epoch, keeps the best weights, and stops early if asked to.

    Best is the lowest validation loss; without validation examples the last epoch counts as the best, so that
    nothing is ever chosen by training loss.

    Args:
      run_dir: the run folder.
      patience: epochs without a better validation loss before stopping; 0 never stops.
      average_from: finished epochs from which on the weights after each further one enter a mean; None keeps none.
    """

    def __init__(self, run_dir: Path, *, patience: int = 0, average_from: int | None = None) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.patience = patience
        self.average_from = average_from
        self.history: list[dict[str, float]] = []
        self._finished_epochs = tf.Variable(0, dtype=tf.int64)
        self._best = tf.Variable(math.inf, dtype=tf.float64)
        self._waited = tf.Variable(0, dtype=tf.int64)
        self._average: list[tf.Variable] = []
        self._manager: tf.train.CheckpointManager | None = None

    @property
    def best_weights(self) -> Path:
        return self.run_dir / bundle.CHECKPOINTS / "best.weights.h5"

    def averaged_weights(self) -> list[np.ndarray]:
        """Returns the mean of the weights so far, in the order of the model's."""
        return [mean.numpy() for mean in self._average]

    def attach(self, model: keras.Model, *, resume: bool) -> int:
        """Starts keeping a compiled model; with `resume`, first brings back the state of the last whole epoch.

        Returns:
          the number of epochs that are done.
        """
        model.optimizer.build(model.trainable_variables)
        # Keras leaves the state of dropout's seeds out of model.weights; without it a resumed run draws other masks.
        seeds = [v.value for v in model.non_trainable_variables if v.path.endswith("seed_generator_state")]
        averaged: dict[str, Any] = {}
        if self.average_from is not None:
            self._average = [tf.Variable(weight) for weight in model.get_weights()]
            averaged = {"average": self._average}
        checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=model.optimizer,
            seeds=seeds,
            finished_epochs=self._finished_epochs,
            best=self._best,
            waited=self._waited,
            **averaged,
        )
        folder = str(self.run_dir / bundle.CHECKPOINTS)
        self._manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
        if resume and self._manager.latest_checkpoint:
            self._restore(checkpoint, self._manager.checkpoints)
            self.history = read_history(self.run_dir)[: int(self._finished_epochs.numpy())]
        return int(self._finished_epochs.numpy())

    def _restore(self, checkpoint: tf.train.Checkpoint, kept: Sequence[str]) -> None:
        """Brings back the newest state that can be read."""
        for path in reversed(kept):
            try:
                checkpoint.restore(path).assert_existing_objects_matched()
                return
            except (tf.errors.OpError, ValueError, LookupError, RuntimeError, AssertionError) as error:
                reason = first_line(error)
        raise TfaudioError(
            f"The state of training in {self.run_dir / bundle.CHECKPOINTS} cannot be read ({reason}); train again with "
            "--overwrite."
        )

    @staticmethod
    def check_folder(run_dir: Path) -> None:
        """Raises TfaudioError if TensorFlow would not find again what is kept in a folder of that name.

        It takes the path for a pattern.
        """
        unfit = "[" if os.sep == "\\" else "[\\"
        if found := [sign for sign in unfit if sign in os.path.abspath(run_dir)]:
            raise TfaudioError(
                f"The state of training cannot be read back from {run_dir}, whose path holds '{found[0]}'; choose "
                "another output folder."
            )

    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return bool(self.patience) and int(self._waited.numpy()) >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"epoch": float(epoch + 1), **{key: float(value) for key, value in (logs or {}).items()}}
        self.history.append(row)
        header = list(self.history[0])
        bundle.write_csv(
            self.run_dir / bundle.HISTORY, header, [[f"{r.get(k, math.nan):.6g}" for k in header] for r in self.history]
        )
        loss = row.get("val_loss")
        if loss is not None:
            if loss < float(self._best.numpy()):
                self._best.assign(loss)
                self._waited.assign(0)
                bundle.write_weights(self.best_weights, self.model)
            else:
                self._waited.assign_add(1)
        if self.average_from is not None and epoch >= self.average_from:
            for mean, weight in zip(self._average, self.model.get_weights(), strict=True):
                before = mean.numpy()
                mean.assign(before + (weight - before) / (epoch + 1 - self.average_from))
        self._finished_epochs.assign(epoch + 1)
        assert self._manager is not None
        try:
            self._manager.save(checkpoint_number=epoch + 1)
        except tf.errors.OpError as error:
            reason = error.message.strip().splitlines()[0]
            raise TfaudioError(
                f"The state of training cannot be written to {self.run_dir / bundle.CHECKPOINTS} ({reason}); make "
                "room, and go on with --resume."
            ) from error
        if self.should_stop():
            self.model.stop_training = True


def read_history(run_dir: Path) -> list[dict[str, float]]:
    """Reads history.csv; empty if there is none."""
    path = run_dir / bundle.HISTORY
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
