"""Scoring a trained run on its own test recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfaudio.bundle import Bundle, load_bundle, read_split, write_csv
from tfaudio.data.labelled import LabelledData, read_labelled_data, split_of
from tfaudio.data.pipeline import Pipeline
from tfaudio.data.recordings import Recordings
from tfaudio.data.spec import Clip, Skipped
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import Metrics, compute_metrics
from tfaudio.models.classifier import with_scores


@dataclass(frozen=True)
class Evaluation:
    """What a run did on its test recordings.

    Args:
      metrics: the figures.
      clips: the recordings, n of them.
      targets: int64 [n].
      scores: float32 [n, classes].
      skipped: test recordings that could not be scored, and why.
    """

    metrics: Metrics
    clips: tuple[Clip, ...]
    targets: np.ndarray
    scores: np.ndarray
    skipped: tuple[Skipped, ...] = ()

    @property
    def correct(self) -> tuple[bool, ...]:
        return tuple(bool(c) for c in self.scores.argmax(axis=1) == self.targets)

    def write_predictions(self, path: Path, bundle: Bundle) -> None:
        """Writes one row a recording: where it is, what it is, what was heard and how surely."""
        names = bundle.labels.names
        rows = [
            [clip.path, clip.label, names[int(scores.argmax())], f"{scores.max():.4f}"]
            for clip, scores in zip(self.clips, self.scores, strict=True)
        ]
        write_csv(path, ["path", "label", "predicted", "score"], rows)


def evaluate(run: str | Path | Bundle, *, data: LabelledData | None = None, progress: bool = True) -> Evaluation:
    """Scores a run on the test recordings of its own split.

    Args:
      run: a run folder, or one that is loaded.
      data: its data set, if it was read already.
      progress: show a bar while recordings are read.

    Raises:
      TfaudioError: if the run or its data cannot be read, or the data have changed since training.
    """
    bundle = run if isinstance(run, Bundle) else load_bundle(run)
    if data is None:
        fingerprint = read_split(bundle.path)["fingerprint"]
        data = read_labelled_data(
            bundle.config, clips=lambda split: split.test, expect_fingerprint=fingerprint, progress=progress
        )
    test = split_of(bundle.config, data.spec).test
    indices = data.recordings.select(test)
    if not len(indices):
        raise TfaudioError("None of the test recordings can be used; mend them, or change the split.")
    targets = data.targets(bundle.labels)[indices]
    scores = score_clips(bundle, data.recordings, indices)
    clips = tuple(data.recordings.clips[index] for index in indices)
    metrics = compute_metrics(targets, scores, bundle.labels)
    return Evaluation(metrics, clips, targets, scores, data.skipped_of(test))


def score_clips(bundle: Bundle, recordings: Recordings, indices: np.ndarray) -> np.ndarray:
    """Scores recordings whole: the mean over the windows of each, as the device does it.

    Args:
      bundle: the trained run.
      recordings: at the run's sample rate.
      indices: which of them, int64 [n].

    Returns:
      float32 [n, classes].
    """
    unused_targets = np.zeros(len(recordings.clips), np.int64)
    pipeline = Pipeline(recordings, unused_targets, len(bundle.labels), bundle.config, bundle.normalization)
    scorer = with_scores(bundle.classifier)
    total = np.zeros((len(indices), len(bundle.labels)), np.float64)
    count = np.zeros(len(indices), np.int64)
    for inputs, positions in pipeline.evaluation(indices):
        np.add.at(total, positions.numpy(), scorer.predict_on_batch(inputs))
        np.add.at(count, positions.numpy(), 1)
    return (total / count[:, None]).astype(np.float32)
