"""A data set read and decoded: what training, evaluation and export start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfaudio.config import RunConfig
from tfaudio.data.catalog import read_dataset
from tfaudio.data.recordings import Recordings, read_recordings
from tfaudio.data.spec import Clip, DatasetSpec, Skipped
from tfaudio.data.split import Split, leave_group_out, split_dataset
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap


@dataclass(frozen=True)
class LabelledData:
    """A data set and the waveforms of those of its clips that were asked for."""

    spec: DatasetSpec
    recordings: Recordings

    def targets(self, labels: LabelMap, *, multi_hot: bool = False) -> np.ndarray:
        """Returns the class of each recording, int64 [clips], or its classes.

        Args:
          labels: the classes.
          multi_hot: give rows of 1 for the classes of a recording and 0 for the others, float32 [clips, classes].

        Raises:
          TfaudioError: if a recording's label is not among the labels, or it has several and one is asked for.
        """
        clips = self.recordings.clips
        if not multi_hot:
            if self.spec.multi_label:
                raise TfaudioError(
                    f"The recordings of data set '{self.spec.name}' have several classes each, and one is wanted here; "
                    "set model.score_activation to sigmoid, or list one label a recording in a manifest."
                )
            return np.array([labels.index(clip.label) for clip in clips], np.int64)
        rows = np.zeros((len(clips), len(labels)), np.float32)
        for row, clip in zip(rows, clips, strict=True):
            row[[labels.index(label) for label in clip.labels]] = 1.0
        return rows

    def skipped_of(self, clips: Sequence[Clip]) -> tuple[Skipped, ...]:
        """Returns those of the clips that could not be used, with the reasons."""
        wanted = {clip.path for clip in clips}
        return tuple(skipped for skipped in self.recordings.skipped if skipped.path in wanted)


def split_of(config: RunConfig, spec: DatasetSpec) -> Split:
    """Returns the split that a run's settings ask for: by fold, column or hash, or with one group as the test set.

    Args:
      config: `data` is used.
      spec: the data set.

    Raises:
      TfaudioError: if there is no such fold or group, or no clip is left for a part.
    """
    group, left_out, note = config.data.test_group, config.data.left_out_fold, ""
    if left_out is not None:
        if left_out not in spec.folds:
            raise TfaudioError(f"data.left_out_fold: data set '{spec.name}' has no fold {left_out}.")
        spec = replace(spec, clips=tuple(clip for clip in spec.clips if clip.fold != left_out))
        note = f"; official fold {left_out} takes no part"
    if group is None:
        split = split_dataset(
            spec,
            test_fold=config.data.test_fold,
            test_fraction=config.data.test_fraction,
            validation_fraction=config.data.validation_fraction,
            train_on_all=config.data.train_on_all,
        )
        return replace(split, rule=split.rule + note)
    split = leave_group_out(spec, group, validation_fraction=config.data.validation_fraction)
    return replace(split, rule=split.rule + note)


def fingerprint_of(config: RunConfig, spec: DatasetSpec) -> str:
    """Identifies what a run learns from: the data set, with its texts where the run reads them."""
    return spec.fingerprint(with_text=config.text.length > 0)


def split_record(config: RunConfig, spec: DatasetSpec, split: Split) -> dict[str, Any]:
    """What a run keeps of its split: the data set, its fingerprint, the rule, and the names of each part's clips."""
    return {"dataset": spec.name, "fingerprint": fingerprint_of(config, spec), "rule": split.rule, **split.names(spec)}


def read_labelled_data(
    config: RunConfig,
    *,
    clips: Callable[[Split], Sequence[Clip]] | None = None,
    expect_fingerprint: str | None = None,
    progress: bool = True,
) -> LabelledData:
    """Reads the data set that a configuration names, and decodes each clip once.

    Args:
      config: data, text.length and front_end.sample_rate are used.
      clips: picks what to decode from the configuration's split; None decodes everything.
      expect_fingerprint: of the data set as it was when the run was trained; None asks for nothing.
      progress: show a bar.

    Raises:
      TfaudioError: if there is no such data set, nothing in it can be used, or it has changed.
    """
    spec = read_dataset(config.data)
    if expect_fingerprint is not None and fingerprint_of(config, spec) != expect_fingerprint:
        raise TfaudioError(
            f"The data set '{spec.name}' at {config.data.data_dir} has changed since this run was trained, so its "
            "test recordings may have been trained on; restore it, or train again."
        )
    recordings = read_recordings(
        spec.clips if clips is None else clips(split_of(config, spec)),
        sample_rate=config.front_end.sample_rate,
        config=config.data,
        skipped=spec.skipped,
        progress=progress,
    )
    return LabelledData(spec, recordings)
