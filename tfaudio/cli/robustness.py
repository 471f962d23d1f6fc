"""`tfaudio robustness`: how a run's accuracy, or a tagger's average precision, falls where recordings get worse."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from absl import flags

from tfaudio.cli import command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.scoring import check_scoring_flags, define_scoring_flags
from tfaudio.files import write_atomically, write_json

USAGE = """tfaudio robustness --run_dir=RUN [--report_dir=DIR] [--json=FILE] [flags]

Scores a run on its test recordings again, made worse step by step: white noise, babble of other recordings, gain,
clipping, MP3 and Ogg Vorbis at low rates, a clock that runs wrong, silence before the sound, and rooms. The folder of a
cross-validation is scored run by run, over all test recordings.

  tfaudio robustness --run_dir=runs/birds --degradations=white_noise,mp3 --report_dir=birds_robustness
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_scoring_flags(
        flag_values,
        run_dir="Run folder to score, or that of a cross-validation.",
        report="robustness.json, robustness.txt and robustness.png",
    )
    flags.DEFINE_list("degradations", None, "Which ones; all of them if left out.", flag_values=flag_values)
    flags.DEFINE_integer(
        "limit", None, "Test recordings of each run to take, for speed.", flag_values=flag_values, lower_bound=1
    )
    flags.DEFINE_integer("seed", 0, "Of noise and rooms.", flag_values=flag_values, lower_bound=0)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Scores and reports."""
    refuse_arguments(arguments)
    check_scoring_flags(flag_values)
    run_dir = Path(flag_values.run_dir)
    from tfaudio.bundle import run_folders

    folders = run_folders(run_dir, finished=True)  # before TensorFlow is loaded

    load_tensorflow()
    from tfaudio.bundle import load_bundle, read_config
    from tfaudio.evaluation.protocol import caveats_text, provenance
    from tfaudio.evaluation.robustness import (
        DEGRADATIONS,
        choose_degradations,
        measure_run,
        robustness_png,
        robustness_record,
        robustness_table,
    )

    degradations = choose_degradations(flag_values.degradations or DEGRADATIONS)
    rate = read_config(folders[0]).front_end.sample_rate
    for name in () if flag_values.degradations else tuple(degradations):
        if not degradations[name].exists_at(rate):
            print(f"left out: {name}, which recordings at {rate} Hz cannot have", file=sys.stderr)
            del degradations[name]
    measured, started = [], time.monotonic()
    for number, folder in enumerate(folders, 1):
        print(f"{folder}: run {number} of {len(folders)}", file=sys.stderr)
        bundle = load_bundle(folder, calibrated=False).moved_data(flag_values.data_dir)
        measured.append(measure_run(bundle, degradations, limit=flag_values.limit, seed=flag_values.seed))
    config = bundle.config
    record = {
        **provenance(config.data.dataset, config, command_line()),
        "run_dir": str(run_dir),
        "runs": len(folders),
        "seed": flag_values.seed,
        "duration_seconds": round(time.monotonic() - started, 1),
        **robustness_record(measured),
    }
    title = f"{config.data.dataset}, {config.model.name}"
    table = robustness_table(record, title=title) + caveats_text(record)
    print(table, end="")
    if flag_values.json:
        write_json(flag_values.json, record)
    if flag_values.report_dir:
        report_dir = Path(flag_values.report_dir)
        write_json(report_dir / "robustness.json", record)
        write_atomically(report_dir / "robustness.txt", table)
        write_atomically(report_dir / "robustness.png", robustness_png(record, title=title))
    return 0
