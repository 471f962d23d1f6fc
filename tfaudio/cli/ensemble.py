"""`tfaudio ensemble`: the mean of several runs, scored on their test recordings."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfaudio.cli import UsageError, command_line, load_tensorflow
from tfaudio.errors import TfaudioError
from tfaudio.files import check_can_write, check_can_write_into, make_writable_folder, refuse_existing, write_json

if TYPE_CHECKING:
    import keras

    from tfaudio.bundle import Bundle
    from tfaudio.config import RunConfig
    from tfaudio.evaluation.evaluate import Evaluation

USAGE = """tfaudio ensemble RUN RUN... --output_dir=DIR [--json=FILE] [--across_folds]

Averages the scores of runs that were trained on the same split, and scores that on their test recordings. RUN is a run
folder or that of a cross-validation, of which all seeds take part, fold by fold. Where the runs share front end and
clip, DIR is a run folder itself (or holds one a fold), which `tfaudio export`, `predict` and `calibrate` take.

  tfaudio ensemble runs/esc10_cnn runs/esc10_attention --output_dir=runs/esc10_both
  tfaudio compare runs/esc10_cnn runs/esc10_both

With --across_folds all runs are one model for new recordings, whatever fold each was tested on. No recording of the
data set is new to all of them, so it is not scored: expect of it what its members had on their own folds, or more.

  tfaudio ensemble runs/esc10_cnn --across_folds --output_dir=runs/esc10_final
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("output_dir", None, "Folder to write.", flag_values=flag_values)
    flags.DEFINE_string("data_dir", None, "Where the data set lies now, if it was moved.", flag_values=flag_values)
    flags.DEFINE_string("json", None, "Also write the result here.", flag_values=flag_values)
    flags.DEFINE_boolean(
        "across_folds", False, "Join the runs of all folds to one model, which is not scored.", flag_values=flag_values
    )
    flags.DEFINE_boolean("overwrite", False, "Replace what stands in the folder.", flag_values=flag_values)
    flags.mark_flag_as_required("output_dir", flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Averages, scores and reports."""
    if not arguments:
        raise UsageError("Name the runs to average.")
    if flag_values.across_folds and flag_values.json:
        raise UsageError("--across_folds measures nothing, so --json has nothing to write; leave one of them out.")
    started, output_dir = time.monotonic(), Path(flag_values.output_dir)
    refuse_existing(output_dir, overwrite=flag_values.overwrite)
    check_can_write_into(output_dir)
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)

    load_tensorflow()
    if flag_values.across_folds:
        return _across_folds([Path(name) for name in arguments], output_dir, flag_values.data_dir)
    from tfaudio.bundle import PREDICTIONS, RESULT, clear, load_bundle, read_config, read_split, was_chosen
    from tfaudio.cli.train import summary_line
    from tfaudio.data.catalog import read_dataset
    from tfaudio.evaluation.ensemble import evaluate_ensemble, group_members
    from tfaudio.evaluation.protocol import protocol_of, result_record
    from tfaudio.evaluation.report import metrics_table
    from tfaudio.evaluation.summary import summarize

    groups = group_members([Path(name) for name in arguments])
    _check_apart(output_dir, [run for group in groups for run in group.runs])
    results, scored, found = [], [], []
    for group in groups:
        members = [load_bundle(run, calibrated=False).moved_data(flag_values.data_dir) for run in group.runs]
        evaluation = evaluate_ensemble(members)
        title = f"{members[0].config.data.dataset}, mean of {len(members)} runs, {group.fold}"
        print(metrics_table(evaluation.metrics, title=title), flush=True)
        run_dir = output_dir / group.folder if len(groups) > 1 else output_dir
        found.append((run_dir, members, evaluation, title, _one_model(members)))
        results.append(evaluation.result(group.fold, members[0].config))
        scored.append((evaluation, members[0]))
    make_writable_folder(output_dir)
    clear(output_dir)  # now that there is something to put in the place of what stood there
    for written in found:
        _write_run(*written)
    _write_predictions(output_dir / PREDICTIONS, scored)
    config = scored[0][1].config
    summary = summarize(results)
    runs = [[read_config(run) for run in group.runs] for group in groups]
    record = result_record(
        dataset=config.data.dataset,
        protocol=protocol_of(
            config, read_dataset(config.data), chosen=all(was_chosen(run) for group in groups for run in group.runs)
        ),
        model="+".join(member.model.name for member in runs[0]),
        **{summary["metric"]: summary["value"]},
        interval=summary["interval"],
        seeds=sorted({member.training.seed for of_fold in runs for member in of_fold}),
        command=command_line(),
        duration_seconds=round(time.monotonic() - started, 1),
        num_clips=summary["num_clips"],
        extra={
            "averaged": "scores",
            "interval_over": summary["interval_over"],
            "members": {group.fold: [str(run) for run in group.runs] for group in groups},
            "mean_over_folds": summary["mean"],
            "standard_deviation_over_folds": summary["standard_deviation"],
            f"{summary['metric']}_per_fold": summary[f"{summary['metric']}_per_fold"],
            "chosen_settings": "none by this command: each run counts the same",
            "fingerprint": read_split(groups[0].runs[0])["fingerprint"],
        },
    )
    write_json(output_dir / RESULT, record)
    if flag_values.json:
        write_json(flag_values.json, record)
    print(summary_line({**record, "seeds": []}))  # the seeds are of members, between which nothing was measured
    print(f"ensemble: {output_dir}")
    return 0


def _across_folds(paths: list[Path], output_dir: Path, data_dir: str | None) -> int:
    """Writes one run of all that are named."""
    from tfaudio.bundle import SPLIT, clear, load_bundle, read_split, run_folders, write_config, write_model
    from tfaudio.data.catalog import read_dataset
    from tfaudio.data.labelled import split_of, split_record
    from tfaudio.evaluation.ensemble import check_across_folds, joined, why_apart

    runs = [run for path in paths for run in run_folders(path, finished=True)]
    check_across_folds(runs)
    _check_apart(output_dir, runs)
    members = [load_bundle(run, calibrated=False).moved_data(data_dir) for run in runs]
    reason = why_apart(members, own_scales=True)
    if reason is not None:
        raise TfaudioError(f"These runs cannot be one model: {reason}; name others.")
    config, classifier = joined(members, own_scales=True)
    nothing = {"test_fold": None, "test_group": None, "left_out_fold": None, "validation_fraction": 0.0}
    config = config.override({f"data.{k}": v for k, v in {**nothing, "train_on_all": True}.items()})
    spec = read_dataset(config.data)
    record = split_record(config, spec, split_of(config, spec))
    if record["fingerprint"] != read_split(runs[0])["fingerprint"]:
        raise TfaudioError(
            f"Data set '{spec.name}' has changed since {runs[0]} was trained; restore it or train again."
        )
    make_writable_folder(output_dir)
    clear(output_dir)
    write_config(output_dir, config)
    write_json(output_dir / SPLIT, record)
    write_model(output_dir, members[0].labels, members[0].normalization, classifier)
    print(f"{len(members)} runs are one model, which was not scored: some of them know each recording")
    print(f"ensemble: {output_dir}")
    return 0


def _check_apart(output_dir: Path, runs: list[Path]) -> None:
    if any(output_dir.resolve() in (run.resolve(), *run.resolve().parents) for run in runs):
        raise UsageError(f"--output_dir={output_dir} holds runs that are averaged; name another folder.")


def _one_model(members: list[Bundle]) -> tuple[RunConfig, keras.Model] | None:
    """Settings and classifier of one model that holds all members, where there can be one."""
    from tfaudio.evaluation.ensemble import joined, why_apart

    reason = why_apart(members)
    if reason is not None:
        print(f"scored alone, with no model to export: {reason}.", file=sys.stderr)
        return None
    return joined(members)


def _write_run(
    run_dir: Path,
    members: list[Bundle],
    evaluation: Evaluation,
    title: str,
    model: tuple[RunConfig, keras.Model] | None,
) -> None:
    """Writes the run folder of one model, where there is one."""
    from tfaudio.bundle import CHOICE, PREDICTIONS, SPLIT, read_split, was_chosen, write_config, write_model
    from tfaudio.evaluation.report import write_report

    if model is None:
        return
    config, classifier = model
    make_writable_folder(run_dir)
    write_config(run_dir, config)
    write_json(run_dir / SPLIT, read_split(members[0].path))
    if all(was_chosen(member.path) for member in members):
        write_json(run_dir / CHOICE, {"members": [str(member.path) for member in members]})
    write_model(run_dir, members[0].labels, members[0].normalization, classifier)
    evaluation.write_predictions(run_dir / PREDICTIONS, members[0])
    write_report(run_dir, evaluation.metrics, title=title)


def _write_predictions(path: Path, scored: list[tuple[Evaluation, Bundle]]) -> None:
    """Writes the predictions of all folds into one file, of which no recording is in two."""
    import numpy as np

    evaluations = [evaluation for evaluation, _ in scored]
    whole = replace(
        evaluations[0],
        clips=tuple(clip for evaluation in evaluations for clip in evaluation.clips),
        scores=np.concatenate([evaluation.scores for evaluation in evaluations]),
    )
    whole.write_predictions(path, scored[0][1])
