"""`tfaudio calibrate`: make a run's scores as sure as they are right."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfaudio.cli import UsageError, command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.recordings import expand_recordings
from tfaudio.cli.scoring import check_scoring_flags, define_scoring_flags
from tfaudio.errors import TfaudioError
from tfaudio.files import check_can_write, write_atomically, write_json

if TYPE_CHECKING:
    from tfaudio.data.spec import Skipped

USAGE = """tfaudio calibrate --run_dir=RUN [--report_dir=DIR] [--json=FILE] [flags]

Fits a temperature and thresholds to the validation recordings of a run (train with --validation_fraction=0.1), never to
test recordings, and keeps them in the run folder: from then on evaluate, predict and export give calibrated scores, and
exported files carry the thresholds, among them the highest score below which a recording is of no class. What that
changes on the test recordings is told; robustness and ensemble go on measuring runs as they were trained. Of a
cross-validation's folder every run is calibrated that can be, and the others are named. Of a run whose recordings have
several classes, each class has its threshold.

  tfaudio calibrate --run_dir=runs/birds --report_dir=birds_calibration
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_scoring_flags(
        flag_values,
        run_dir="Run folder, or that of a cross-validation.",
        report="calibration.json, calibration.txt and reliability.png",
    )
    flags.DEFINE_float(
        "keep",
        0.95,
        "Share of the right answers that the threshold for unknown sounds leaves.",
        flag_values=flag_values,
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_string(
        "unknown_dir",
        None,
        "Folder of recordings of no class: tell how many of them the threshold for unknown finds.",
        flag_values=flag_values,
    )


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Calibrates and reports."""
    refuse_arguments(arguments)
    if math.isnan(flag_values.keep):
        raise UsageError("--keep=nan is no share; give a number from 0 to 1.")
    from tfaudio.bundle import CALIBRATION, run_folders

    run_dir = Path(flag_values.run_dir)
    folders = run_folders(run_dir, finished=True)
    for folder in folders:
        if (folder / CALIBRATION).exists() and not flag_values.overwrite:
            raise TfaudioError(f"{folder} is calibrated already; pass --overwrite to calibrate it anew.")
        check_can_write(folder / CALIBRATION, overwrite=True)
    check_scoring_flags(flag_values)

    skipped: list[Skipped] = []
    unknown = list(expand_recordings([flag_values.unknown_dir], skipped)) if flag_values.unknown_dir else []
    for left_out in skipped:
        print(f"tfaudio calibrate: {left_out.path}: {left_out.reason}", file=sys.stderr)

    load_tensorflow()
    from tfaudio.bundle import load_bundle
    from tfaudio.evaluation.calibration import calibrate_run, calibration_record, calibration_table, reliability_png
    from tfaudio.evaluation.protocol import caveats_text, fold_of, provenance

    runs, tested, failed = {}, [], list[str]()
    for number, folder in enumerate(folders, 1):
        print(f"{folder}: run {number} of {len(folders)}", file=sys.stderr)
        bundle = load_bundle(folder, calibrated=False).moved_data(flag_values.data_dir)
        try:
            runs[folder.name] = calibrate_run(bundle, keep=flag_values.keep, unknown=unknown)
        except TfaudioError as error:
            if len(folders) == 1:
                raise
            failed.append(f"{folder}: {error}")
            continue
        tested.append(fold_of(bundle.config))
        write_json(folder / CALIBRATION, runs[folder.name].to_dict())
    if not runs:
        raise TfaudioError(failed[0])
    config = bundle.config
    record = {
        **provenance(config.data.dataset, config, command_line()),
        "run_dir": str(run_dir),
        **calibration_record(runs, bundle.labels, tested=tested),
    }
    title = f"{config.data.dataset}, {config.model.name}"
    table = calibration_table(record, title=title) + caveats_text(record)
    print(table, end="")
    if flag_values.json:
        write_json(flag_values.json, record)
    if flag_values.report_dir:
        report_dir = Path(flag_values.report_dir)
        write_json(report_dir / "calibration.json", record)
        write_atomically(report_dir / "calibration.txt", table)
        write_atomically(report_dir / "reliability.png", reliability_png(record, title=title))
    print(f"kept in {run_dir}; files that were exported before know nothing of it")
    for reason in failed:
        print(f"tfaudio calibrate: not calibrated: {reason}", file=sys.stderr)
    return 1 if failed else 0
