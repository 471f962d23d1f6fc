"""Ensembles: the mean of what several runs say of recordings that none of them was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfaudio.bundle import Bundle, read_config, read_split, run_folders
from tfaudio.config import ModelConfig, RunConfig
from tfaudio.data.labelled import LabelledData
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.evaluate import Evaluation, evaluate, read_part
from tfaudio.evaluation.metrics import compute_metrics
from tfaudio.evaluation.plan import folder_of
from tfaudio.evaluation.protocol import fold_of
from tfaudio.evaluation.tagging import compute_tag_metrics
from tfaudio.models.backbone import set_weights
from tfaudio.models.classifier import body, build_classifier
from tfaudio.models.registry import without_weights


@dataclass(frozen=True)
class Members:
    """The runs that are averaged on one test set.

    Args:
      fold: what they are tested on: the number of a fold, the name of a group, or "test".
      folder: name of the folder of their ensemble, below the output folder.
      runs: their folders, in the order given.
    """

    fold: str
    folder: str
    runs: tuple[Path, ...]


def group_members(paths: Sequence[Path]) -> list[Members]:
    """Sorts runs by what they are tested on: those of one test set make an ensemble, and no others.

    Args:
      paths: run folders, and folders of cross-validations, whose runs of all folds and seeds take part.

    Raises:
      TfaudioError: if a folder holds no run or is given twice, a test set has one run alone or fewer than another, or
        the runs of one were not trained and tested on the same recordings.
    """
    by_fold: dict[str, list[Path]] = {}
    for path in paths:
        for folder in run_folders(path, finished=True):
            by_fold.setdefault(fold_of(read_config(folder)), []).append(folder)
    counts = {fold: len(runs) for fold, runs in by_fold.items()}
    for fold, count in counts.items():
        if max(counts.values()) < 2:
            raise TfaudioError(
                f"{by_fold[fold][0]} alone is no ensemble; name a second run of the same test recordings."
            )
        if count < 2 or count != max(counts.values()):
            raise TfaudioError(
                f"An ensemble needs at least two runs of each test set, and as many of each, but of test set "
                f"'{fold}' there are {count} ({by_fold[fold][0]}) and of '{max(counts, key=lambda f: counts[f])}' "
                f"{max(counts.values())}; name runs of the same folds."
            )
    for runs in by_fold.values():
        _check_belong_together(runs)
    tested = {fold: read_config(runs[0]).data for fold, runs in by_fold.items()}
    return [
        Members(fold, folder_of(tested[fold].test_fold, tested[fold].test_group), tuple(runs))
        for fold, runs in by_fold.items()
    ]


def _check_belong_together(runs: Sequence[Path]) -> None:
    configs = _check_can_be_members(runs)
    for run, config in zip(runs, configs, strict=True):
        if config.training.initial_weights_saw_test:
            raise TfaudioError(f"{run} started from weights that were found on its test recordings; leave it out.")
        if config.data.dataset != configs[0].data.dataset or not _same_split(run, runs[0]):
            raise TfaudioError(
                f"{run} was trained or tested on other recordings than {runs[0]}, some of which it may know; average "
                "runs of the same data, with the same --folds, --protocol and --validation_fraction."
            )


def _same_split(run: Path, other: Path) -> bool:
    """Whether two runs know and test the same recordings; a run that reads texts has another fingerprint of them."""
    splits = [read_split(run), read_split(other)]
    if len({read_config(path).text.length > 0 for path in (run, other)}) > 1:
        splits = [{key: value for key, value in split.items() if key != "fingerprint"} for split in splits]
    return splits[0] == splits[1]


def evaluate_ensemble(members: Sequence[Bundle], *, progress: bool = True) -> Evaluation:
    """Scores the mean of several runs on their test recordings.

    The mean is of scores (softmax, of tags sigmoid), each recording's over its windows first; so members may differ in
    front end, rate and clip.

    Args:
      members: not calibrated runs of one split; the data set of the first serves all.
      progress: show a bar while recordings are read.

    Raises:
      TfaudioError: if the data cannot be read or have changed, or a recording is usable for some members only.
    """
    first, data = members[0], dict[int, LabelledData]()
    evaluations = []
    for member in members:
        member = member.moved_data(first.config.data.data_dir)
        rate = member.config.front_end.sample_rate
        if rate not in data:
            data[rate], _ = read_part(member, "test", progress=progress)
        evaluations.append(evaluate(member, data=data[rate], calibrated=False))
        if evaluations[-1].clips != evaluations[0].clips:
            raise TfaudioError(f"{member.path} cannot use the same test recordings as {first.path}; mend the others.")
    scores = np.mean([evaluation.scores for evaluation in evaluations], axis=0, dtype=np.float64).astype(np.float32)
    known = evaluations[0]
    judge = compute_tag_metrics if first.config.multi_label else compute_metrics
    metrics = judge(known.targets, scores, first.labels)
    return Evaluation(metrics, known.clips, known.targets, scores, known.skipped)


def why_apart(members: Sequence[Bundle], *, own_scales: bool = False) -> str | None:
    """Says why runs cannot be one model; None if they can: those that are given the same features.

    Args:
      members: the runs.
      own_scales: each may have standardised its features in its own way.
    """
    first = members[0]
    if first.config.front_end.learnt:
        return "each has learnt a front end of its own"
    for member in members:
        if member.tokenizer is not None:
            return f"{member.path} takes text beside the sound"
        if (member.config.front_end, member.config.clip) != (first.config.front_end, first.config.clip):
            return f"{member.path} has another front end or clip than {first.path}"
        ours, theirs = member.normalization, first.normalization
        # In another size of batch the last digit of the sums may differ.
        alike = all(np.allclose(getattr(ours, k), getattr(theirs, k), rtol=1e-4, atol=1e-5) for k in ("mean", "stddev"))
        if not own_scales and not alike:
            return f"{member.path} standardises features otherwise than {first.path}"
    return None


def joined(members: Sequence[Bundle], *, own_scales: bool = False) -> tuple[RunConfig, keras.Model]:
    """Makes one classifier of runs that are given the same features.

    Args:
      members: for which `why_apart` finds nothing.
      own_scales: as of `why_apart`; the classifier takes features that are standardised as by the first.

    Returns:
      Settings, those of the first run but for the model; classifier as `build_classifier` gives for them.
    """
    first = members[0]
    options: dict[str, Any] = {"members": [_without_weights(member.config.model) for member in members]}
    own_scales = own_scales and first.config.front_end.standardized
    if own_scales:
        options["own_scales"] = True
    config = first.config.replace(model=first.config.model.replace(name="ensemble", options=options))
    classifier = build_classifier(config, len(first.labels))
    for index, member in enumerate(members):
        set_weights(classifier.get_layer(f"member_{index}"), body(member.classifier).get_weights())
        if own_scales:
            mean, stddev = (np.asarray(x, np.float64) for x in (first.normalization.mean, first.normalization.stddev))
            own_mean, own_stddev = (
                np.asarray(x, np.float64) for x in (member.normalization.mean, member.normalization.stddev)
            )
            scale = classifier.get_layer(f"scale_{index}")
            scale.set_weights([(own_mean - mean) / stddev, (own_stddev / stddev) ** 2])
    return config, classifier


def check_across_folds(runs: Sequence[Path]) -> None:
    """Checks that runs may be one model for new recordings, whatever each was tested on.

    Raises:
      TfaudioError: if there are fewer than two, one is given twice, or one is of other data or learnt shuffled
        labels.
    """
    if len(runs) < 2:
        raise TfaudioError(f"{runs[0]} alone is no ensemble; name the folder of a cross-validation, or more runs.")
    configs = _check_can_be_members(runs)
    known = [(c.data.dataset, read_split(run)["fingerprint"]) for run, c in zip(runs, configs, strict=True)]
    for run, data in zip(runs, known, strict=True):
        if data != known[0]:
            raise TfaudioError(f"{run} was trained on other data than {runs[0]}; average runs of the same data set.")


def _check_can_be_members(runs: Sequence[Path]) -> list[RunConfig]:
    """Checks what holds for any mean of runs; returns their settings."""
    if len({run.resolve() for run in runs}) < len(runs):
        raise TfaudioError(f"{runs[0]} is given twice; name each run once.")
    configs = [read_config(run) for run in runs]
    for run, config in zip(runs, configs, strict=True):
        if config.training.shuffle_labels:
            raise TfaudioError(f"{run} is a control that learnt shuffled labels; leave it out.")
        if config.multi_label != configs[0].multi_label:
            raise TfaudioError(
                f"{run} and {runs[0]} differ in model.score_activation: one shares its score between the classes, the "
                "other judges each by itself, and the two have no mean; name runs of one kind."
            )
    return configs


def _without_weights(config: ModelConfig) -> dict[str, Any]:
    """What a member is built of; the file that it once started from is not needed again."""
    return {"name": config.name, "options": without_weights(config.options)}
