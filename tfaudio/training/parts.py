"""Which clips a run trains, validates and tests on."""

from __future__ import annotations

from dataclasses import replace

from tfaudio.config import RunConfig
from tfaudio.data.labelled import split_of
from tfaudio.data.spec import DatasetSpec
from tfaudio.data.split import Split, leave_one_group_out
from tfaudio.errors import TfaudioError
from tfaudio.registry import unknown_name_message


def parts_of(config: RunConfig, spec: DatasetSpec) -> Split:
    """Returns the split that a run's settings ask for: by fold, column or hash, or with one group as the test set.

    Args:
      config: the run's settings, of which `data` is used.
      spec: its data set.

    Raises:
      TfaudioError: if there is no such fold or group, or no clip is left for a part.
    """
    group, left_out = config.data.test_group, config.data.left_out_fold
    note = ""
    if left_out is not None:
        if left_out not in spec.folds:
            raise TfaudioError(f"data.left_out_fold: data set '{spec.name}' has no fold {left_out}.")
        spec = replace(spec, clips=tuple(clip for clip in spec.clips if clip.fold != left_out))
        note = f"; official fold {left_out} takes no part"
    if group is None:
        split = split_of(config, spec)
        return replace(split, rule=split.rule + note)
    for split in leave_one_group_out(spec, validation_fraction=config.data.validation_fraction):
        if spec.group_of(split.test[0]) == group:
            return replace(split, rule=split.rule + note)
    known = sorted({spec.group_of(clip) for clip in spec.clips})
    raise TfaudioError(unknown_name_message(f"group of data set '{spec.name}'", group, known))
