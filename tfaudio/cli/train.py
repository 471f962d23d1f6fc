"""`tfaudio train`: one run, or one a fold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from absl import flags

from tfaudio.cli import UsageError, command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.settings import define_settings, settings_from
from tfaudio.config import RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.files import check_can_write, make_writable_folder, refuse_existing, write_json

USAGE = """tfaudio train --dataset=folder --data_dir=DIR --output_dir=RUN [flags]

Trains a classifier on labelled recordings (DIR holds one subfolder a class), scores it on held-out ones, and writes
all that the other commands need into the run folder.

  tfaudio train --dataset=folder --data_dir=birds --output_dir=runs/birds
  tfaudio train --dataset=esc10 --data_dir=ESC-10 --model=cnn --folds=all --output_dir=runs/esc10
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("output_dir", None, "Run folder to write.", flag_values=flag_values)
    flags.DEFINE_string(
        "folds", None, "Official fold to test on, several (1,3), or `all` of them.", flag_values=flag_values
    )
    define_settings(flag_values)
    flags.DEFINE_string("json", None, "Also write the result, with how it came about, here.", flag_values=flag_values)
    flags.DEFINE_boolean("resume", False, "Continue a run that was stopped.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace what stands in the run folder.", flag_values=flag_values)
    flags.DEFINE_boolean("tensorboard", False, "Write TensorBoard files into the run folder.", flag_values=flag_values)
    flags.mark_flag_as_required("output_dir", flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Trains, scores and reports."""
    refuse_arguments(arguments)
    if flag_values.resume and flag_values.overwrite:
        raise UsageError("--resume and --overwrite exclude each other.")
    started = time.monotonic()
    config = settings_from(flag_values)
    output_dir = Path(flag_values.output_dir)
    if not flag_values.resume:
        refuse_existing(output_dir, overwrite=flag_values.overwrite)
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)

    from tfaudio.bundle import PREDICTIONS, RESULT, clear, is_run_folder
    from tfaudio.data.catalog import read_dataset

    spec = read_dataset(config.data)
    folds = _folds(flag_values.folds, spec.folds)
    if flag_values.resume:
        _check_same_shape(output_dir, single=len(folds) < 2)

    load_tensorflow()
    from tfaudio.data.labelled import read_labelled_data, split_of
    from tfaudio.evaluation.evaluate import evaluate
    from tfaudio.evaluation.protocol import FoldResult, protocol_of, result_record, summarize_folds
    from tfaudio.evaluation.report import metrics_table, write_report
    from tfaudio.training.trainer import check_settings, train

    check_settings(config, len(spec.labels))  # a mistake is found before hours of decoding
    configs: dict[int | None, RunConfig] = {None: config}
    if folds:
        configs = {fold: config.override({"data.test_fold": fold}) for fold in folds}
    for run_config in configs.values():
        split_of(run_config, spec)  # an unknown fold is found now, not after the folds before it
    make_writable_folder(output_dir)
    data = read_labelled_data(config)
    if not flag_values.resume:
        clear(output_dir)
    results = []
    for run_config in configs.values():
        fold = run_config.data.test_fold
        run_dir = output_dir / f"fold_{fold}" if len(folds) > 1 else output_dir
        bundle = train(
            run_config,
            run_dir,
            data=data,
            overwrite=flag_values.overwrite,
            resume=flag_values.resume and is_run_folder(run_dir),
            tensorboard=flag_values.tensorboard,
        )
        evaluation = evaluate(bundle, data=data)
        title = f"{spec.name}, {config.model.name}" + ("" if fold is None else f", fold {fold}")
        write_report(run_dir, evaluation.metrics, title=title)
        evaluation.write_predictions(run_dir / PREDICTIONS, bundle)
        print(metrics_table(evaluation.metrics, title=title), flush=True)
        results.append(FoldResult(str(fold or "test"), evaluation.correct, seed=config.training.seed))
    summary = summarize_folds(results)
    record = result_record(
        dataset=spec.name,
        protocol=protocol_of(spec, by_fold=fold is not None),
        model=config.model.name,
        accuracy=summary["pooled"],
        interval=summary["interval"],
        seeds=summary["seeds"],
        command=command_line(),
        duration_seconds=round(time.monotonic() - started, 1),
        num_clips=summary["num_clips"],
        extra={
            "mean_over_folds": summary["mean"],
            "standard_deviation_over_folds": summary["standard_deviation"],
            "accuracy_per_fold": summary["accuracy_per_fold"],
            "chosen_epoch": "lowest validation loss" if config.data.validation_fraction else "last",
            "fingerprint": spec.fingerprint(),
            "config": config.to_dict(),
        },
    )
    write_json(output_dir / RESULT, record)
    if flag_values.json:
        write_json(flag_values.json, record)
    print(_summary_line(summary, len(folds)))
    print(f"run folder: {output_dir}")
    return 0


def _check_same_shape(output_dir: Path, *, single: bool) -> None:
    """Refuses to resume a single run as one of several folds, or the other way round."""
    from tfaudio.bundle import fold_folders, is_run_folder

    if single and fold_folders(output_dir):
        raise TfaudioError(f"{output_dir} holds the folds of a cross-validation; resume it with the same --folds.")
    if not single and is_run_folder(output_dir):
        raise TfaudioError(
            f"{output_dir} holds a single run; resume it with the --folds it had, or name another folder."
        )


def _folds(text: str | None, known: tuple[int, ...]) -> list[int]:
    if text is None:
        return []
    if not known:
        raise TfaudioError(f"--folds={text}: this data set has no official folds; leave the flag out.")
    if text == "all":
        return list(known)
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--folds={text} must be `all` or numbers such as 1 or 1,3.") from None


def _summary_line(summary: dict[str, Any], num_folds: int) -> str:
    low, high = summary["interval"]
    text = (
        f"accuracy {summary['mean']:.1%}, 95 % interval {low:.1%} to {high:.1%} over {summary['num_clips']} recordings"
    )
    if num_folds > 1:
        text += (
            f"; mean of {num_folds} folds {summary['mean']:.1%}, standard deviation {summary['standard_deviation']:.1%}"
        )
    return text
