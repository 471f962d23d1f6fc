"""Scoring a trained run on its own test recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfaudio.bundle import SCORE_COLUMN, Bundle, load_bundle, read_calibration, read_split, write_csv
from tfaudio.config import RunConfig
from tfaudio.data.labelled import LabelledData, read_labelled_data, split_of
from tfaudio.data.pipeline import Pipeline
from tfaudio.data.recordings import Recordings
from tfaudio.data.spec import LABEL_SEPARATOR, Clip, Skipped
from tfaudio.data.split import Split
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import Metrics, check_scores, compute_metrics
from tfaudio.evaluation.protocol import FoldResult
from tfaudio.evaluation.tagging import TagMetrics, TagResult, compute_tag_metrics
from tfaudio.model_settings import tags_of
from tfaudio.models.classifier import with_scores

# What a model of sound and text is given: both, one of them, or with each sound another's text. What a text is worth
# shows in the second; whether the model reads it at all, in the last.
Inputs = Literal["audio_and_text", "audio", "text", "audio_and_shuffled_text"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)


@dataclass(frozen=True)
class Evaluation:
    """What a run did on its test recordings.

    Args:
      metrics: the figures; of a tagger `TagMetrics`.
      clips: the recordings, n of them.
      targets: int64 [n]; of a tagger float32 [n, classes].
      scores: float32 [n, classes].
      skipped: test recordings that could not be scored, and why.
      by_inputs: of a run that takes text, the figures by what it was given, in the order of INPUTS; otherwise empty.
    """

    metrics: Metrics | TagMetrics
    clips: tuple[Clip, ...]
    targets: np.ndarray
    scores: np.ndarray
    skipped: tuple[Skipped, ...] = ()
    by_inputs: Mapping[str, Metrics] = field(default_factory=dict)

    @property
    def correct(self) -> tuple[bool, ...]:
        """Whether the class of each recording was found; not of a tagger."""
        return tuple(bool(c) for c in self.scores.argmax(axis=1) == self.targets)

    def result(self, fold: str, config: RunConfig) -> FoldResult | TagResult:
        """Returns what a protocol takes of it.

        Args:
          fold: name of the fold or of the group that was tested on.
          config: of the run.
        """
        seed, of_group = config.training.seed, config.data.test_group is not None
        if isinstance(self.metrics, TagMetrics):
            return TagResult(fold, self.targets > 0, self.scores, seed=seed, of_group=of_group)
        details: dict[str, Any] = {"support": {row["label"]: row["support"] for row in self.metrics.per_class}}
        if self.by_inputs:
            details["by_inputs"] = {name: found.accuracy for name, found in self.by_inputs.items()}
        return FoldResult(fold, self.correct, seed=seed, details=details, of_group=of_group)

    def write_predictions(self, path: Path, bundle: Bundle) -> None:
        """Writes one row a recording: where it is, what it is, what was heard, how surely; of a tagger all scores."""
        names = bundle.labels.names
        if isinstance(self.metrics, TagMetrics):
            cuts = {row["label"]: row["threshold"] for row in self.metrics.per_class}
            header = ["path", "labels", "predicted", "scores", "start", "end", *(SCORE_COLUMN + name for name in names)]
            tagged = [
                [
                    *(clip.path, clip.label_text, *_texts(tags_of(scores, bundle.labels, cuts)), clip.start, clip.end),
                    *(f"{score:.9g}" for score in scores),  # as many digits as give the very float32 back
                ]
                for clip, scores in zip(self.clips, self.scores, strict=True)
            ]
            write_csv(path, header, tagged)
            return
        rows = [
            [clip.path, clip.label, names[int(scores.argmax())], f"{scores.max():.4f}", clip.start, clip.end]
            for clip, scores in zip(self.clips, self.scores, strict=True)
        ]
        write_csv(path, ["path", "label", "predicted", "score", "start", "end"], rows)


def _texts(tags: list[tuple[str, float]]) -> tuple[str, str]:
    """Names and scores of the classes that were given to a recording, the surest first, as two cells of a table."""
    return LABEL_SEPARATOR.join(name for name, _ in tags), LABEL_SEPARATOR.join(f"{score:.4f}" for _, score in tags)


def read_part(
    bundle: Bundle,
    part: Literal["train", "validation", "test"],
    *,
    progress: bool = True,
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> tuple[LabelledData, np.ndarray]:
    """Reads the recordings of one part of a run's data, as it was split in training; `log` takes what is left out.

    Returns:
      the data set, of which only that part is decoded; the indices of the part's usable recordings, int64 [n].

    Raises:
      TfaudioError: if the data cannot be read, or have changed since training.
    """
    config = bundle.config
    if part == "test":
        bundle.check_can_be_tested()

    def clips_of(split: Split) -> tuple[Clip, ...]:
        clips: tuple[Clip, ...] = getattr(split, part)
        return clips

    fingerprint = read_split(bundle.path)["fingerprint"]
    data = read_labelled_data(config, clips=clips_of, expect_fingerprint=fingerprint, progress=progress)
    clips = clips_of(split_of(config, data.spec))
    for skipped in data.skipped_of(clips):
        log(f"not scored: {skipped.path}: {skipped.reason}")
    return data, data.recordings.select(clips)


def evaluate(
    run: str | Path | Bundle, *, data: LabelledData | None = None, calibrated: bool = True, progress: bool = True
) -> Evaluation:
    """Scores a run on the test recordings of its own split.

    Args:
      run: a run folder, or one that is loaded.
      data: its data set, if it was read already.
      calibrated: of a run that `tfaudio calibrate` found thresholds and a temperature for, take them; a bundle that is
        given has its temperature or has it not, as it was loaded.
      progress: show a bar while recordings are read.

    Raises:
      TfaudioError: if the run or its data cannot be read, or the data have changed since training.
    """
    bundle = run if isinstance(run, Bundle) else load_bundle(run, calibrated=calibrated)
    if data is None:
        data, indices = read_part(bundle, "test", progress=progress)
    else:
        indices = data.recordings.select(split_of(bundle.config, data.spec).test)
    if not len(indices):
        raise TfaudioError("None of the test recordings can be used; mend them, or change the split.")
    targets = data.targets(bundle.labels, multi_hot=bundle.config.multi_label)[indices]
    model = with_scores(bundle.classifier, bundle.config.model.score_activation)  # one for all: each would be compiled
    scores = _mean_scores(model, bundle, data.recordings, indices)
    clips = tuple(data.recordings.clips[index] for index in indices)
    metrics: Metrics | TagMetrics
    if bundle.config.multi_label:
        found_by_calibration = read_calibration(bundle.path) if calibrated else None
        thresholds = (found_by_calibration or {}).get("thresholds")
        metrics = compute_tag_metrics(targets, scores, bundle.labels, thresholds)
    else:
        metrics = compute_metrics(targets, scores, bundle.labels)
    skipped = data.skipped_of(split_of(bundle.config, data.spec).test)
    by_inputs: dict[str, Metrics] = {}
    if bundle.tokenizer is not None and isinstance(metrics, Metrics):
        by_inputs[INPUTS[0]] = metrics
        for inputs in INPUTS[1:]:
            found = _mean_scores(model, bundle, data.recordings, indices, inputs=inputs)
            by_inputs[inputs] = compute_metrics(targets, found, bundle.labels)
    return Evaluation(metrics, clips, targets, scores, skipped, by_inputs)


def score_clips(
    bundle: Bundle,
    recordings: Recordings,
    indices: np.ndarray,
    *,
    progress: str | None = None,
    inputs: Inputs = "audio_and_text",
) -> np.ndarray:
    """Scores recordings whole: the mean over the windows of each, as the device does it.

    Args:
      bundle: the trained run.
      recordings: at the run's sample rate.
      indices: which of them, int64 [n].
      progress: what a bar is called; None shows none.
      inputs: what a model that takes text is given; texts are shuffled by the run's seed, among the n recordings.

    Returns:
      float32 [n, classes].

    Raises:
      TfaudioError: if scores are not finite.
    """
    model = with_scores(bundle.classifier, bundle.config.model.score_activation)
    return _mean_scores(model, bundle, recordings, indices, progress, inputs)


def _mean_scores(
    model: keras.Model,
    bundle: Bundle,
    recordings: Recordings,
    indices: np.ndarray,
    progress: str | None = None,
    inputs: Inputs = "audio_and_text",
) -> np.ndarray:
    outputs, positions = _predict(model, bundle, recordings, indices, progress, inputs)
    total = np.zeros((len(indices), len(bundle.labels)), np.float64)
    np.add.at(total, positions, outputs)
    scores = total / np.bincount(positions, minlength=len(indices))[:, None]
    check_scores(scores)
    return scores.astype(np.float32)


def window_logits(bundle: Bundle, recordings: Recordings, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the classifier says of each window before it is made a score.

    Args:
      bundle: the trained run.
      recordings: at the run's sample rate.
      indices: which of them, int64 [n].

    Returns:
      logits float32 [windows, classes]; which of the n recordings each window is of, int64 [windows].

    Raises:
      TfaudioError: if logits are not finite.
    """
    logits, positions = _predict(bundle.classifier, bundle, recordings, indices, None)
    check_scores(logits)
    return logits, positions


def _predict(
    model: keras.Model,
    bundle: Bundle,
    recordings: Recordings,
    indices: np.ndarray,
    progress: str | None,
    inputs: Inputs = "audio_and_text",
) -> tuple[np.ndarray, np.ndarray]:
    unused_targets = np.zeros(len(recordings.clips), np.int64)
    tokens = _tokens(bundle, recordings, indices, inputs)
    pipeline = Pipeline(recordings, unused_targets, len(bundle.labels), bundle.config, bundle.normalization, tokens)
    outputs, positions = [], []
    bar = tqdm(total=len(indices), desc=progress, unit="clip", disable=None if progress else True, leave=False)
    with bar:
        for given, position in pipeline.evaluation(indices):
            if inputs == "text":
                given["features"] = tf.zeros_like(given["features"])
            outputs.append(model.predict_on_batch(given))
            positions.append(position.numpy())
            bar.update(int(positions[-1][-1]) + 1 - bar.n)
    return np.concatenate(outputs), np.concatenate(positions)


def _tokens(bundle: Bundle, recordings: Recordings, indices: np.ndarray, inputs: Inputs) -> np.ndarray | None:
    """The tokens of all recordings as a model is to be given them, int32 [clips, length]; None if it takes none."""
    if bundle.tokenizer is None:
        return None
    tokens = bundle.tokenizer.tokens(clip.text for clip in recordings.clips)
    if inputs == "audio":
        tokens[:] = 0
    elif inputs == "audio_and_shuffled_text":
        # Round a circle of all in random order, so that none keeps its own.
        order = np.random.default_rng(bundle.config.training.seed).permutation(indices)
        tokens[order] = tokens[np.roll(order, 1)]
    return tokens
