"""`tfaudio pretrain`: weights to start from, found on recordings without labels."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfaudio.cli import UsageError, command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.settings import assignments, define_settings, of_section, settings_from
from tfaudio.cli.train import check_protocol_flags, define_protocol, official_folds
from tfaudio.files import absolute, make_writable_folder, refuse_existing, write_json

if TYPE_CHECKING:
    from tfaudio.config import RunConfig
    from tfaudio.data.spec import Clip, Skipped

USAGE = """tfaudio pretrain --data_dir=DIR --model=MODEL --output_dir=WEIGHTS [flags]

Trains all of a model but its output on recordings whose labels it does not need: two cuts of one recording, each
augmented, have to be told from those of others. DIR holds recordings in any order; with --dataset, the training
recordings of that data set are taken, and with --folds or --protocol those of each of its splits.

  tfaudio pretrain --data_dir=recordings --model=attention --output_dir=weights
  tfaudio train --dataset=folder --data_dir=birds --model=attention --initial_weights=weights --output_dir=runs/tuned
  tfaudio pretrain --dataset=esc10 --data_dir=ESC-10 --folds=all --output_dir=esc10_weights

Model, front end and recipe have to be those of the training that starts from the weights.
"""
_UNLABELLED = "unlabelled"


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("output_dir", None, "Folder to write.", flag_values=flag_values)
    define_protocol(flag_values, ["folds", "leave_one_group_out"])
    define_settings(flag_values, of_classifier=False)
    flags.DEFINE_boolean("resume", False, "Continue what was stopped.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace what stands in the folder.", flag_values=flag_values)
    flags.mark_flag_as_required("output_dir", flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Trains and reports."""
    refuse_arguments(arguments)
    check_protocol_flags(flag_values)
    started, output_dir = time.monotonic(), Path(flag_values.output_dir)
    views = of_section("contrastive", assignments(flag_values))
    flag_values.set = [text for text in flag_values.set if not re.match(r"\s*contrastive\b", text)]
    if flag_values.dataset is None and not flag_values.config:
        flag_values.dataset = _UNLABELLED
    config = settings_from(flag_values)
    if not flag_values.resume:
        refuse_existing(output_dir, overwrite=flag_values.overwrite)

    load_tensorflow()
    from tfaudio.bundle import RESULT
    from tfaudio.evaluation.protocol import versions
    from tfaudio.training.pretrained import PRETRAINING
    from tfaudio.training.pretraining import ContrastiveConfig, clear_pretraining, pretrain

    settings = ContrastiveConfig.from_dict(views)
    skipped: list[Skipped] = []
    found = {}
    parts = _parts(config, flag_values, skipped)
    for number, (folder, run_config, clips) in enumerate(parts):
        print(f"{folder or 'weights'}: {len(clips)} recordings", file=sys.stderr)
        history = pretrain(
            run_config,
            settings,
            clips,
            output_dir / folder,
            skipped=skipped,
            overwrite=flag_values.overwrite,
            resume=flag_values.resume and (output_dir / folder / PRETRAINING).is_file(),
            # Weights of other folds would be found beside the new ones.
            before_writing=None if number or flag_values.resume else lambda: clear_pretraining(output_dir),
        )
        found[folder or "."] = {"recordings": len(clips), "loss": history[-1]["loss"]}
    make_writable_folder(output_dir)
    record = {
        "model": config.model.name,
        "dataset": config.data.dataset,
        "folders": found,
        "command": command_line(),
        "duration_seconds": round(time.monotonic() - started, 1),
        "versions": versions(),
        "contrastive": settings.to_dict(),
        "config": config.to_dict(),
    }
    write_json(output_dir / RESULT, record)
    print(f"weights: {output_dir}")
    return 0


def _parts(
    config: RunConfig, flag_values: flags.FlagValues, skipped: list[Skipped]
) -> list[tuple[str, RunConfig, tuple[Clip, ...]]]:
    """Folder, settings and recordings of each training: those that a split has to train on, or all of a folder."""
    from tfaudio.data.catalog import read_dataset
    from tfaudio.data.labelled import split_of
    from tfaudio.data.readers.folder import unlabelled_clips
    from tfaudio.evaluation.plan import plan_runs

    if config.data.dataset == _UNLABELLED:
        if flag_values.folds is not None or flag_values.protocol is not None:
            raise UsageError("--folds and --protocol go with --dataset: recordings without labels have no splits.")
        if config.data.validation_fraction:
            raise UsageError("--validation_fraction goes with --dataset: recordings without labels have no splits.")
        if config.data.data_dir is None:
            raise UsageError("--data_dir is needed: the folder of recordings.")
        return [("", config, unlabelled_clips(absolute(config.data.data_dir), skipped))]
    spec = read_dataset(config.data)
    skipped += spec.skipped
    by_group = flag_values.protocol == "leave_one_group_out"
    runs = plan_runs(config, spec, folds=official_folds(flag_values, spec.folds), by_group=by_group)
    return [(run.folder, run.config, split_of(run.config, spec).train) for run in runs]
