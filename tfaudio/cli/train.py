"""`tfaudio train`: one run, or those of a protocol: one a fold or group, and a seed."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfaudio.cli import UsageError, command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.settings import define_settings, parse_candidate, settings_from, shared_settings
from tfaudio.errors import TfaudioError
from tfaudio.files import check_can_write, make_writable_folder, refuse_existing, write_json

if TYPE_CHECKING:
    from tfaudio.bundle import Bundle
    from tfaudio.config import RunConfig
    from tfaudio.data.labelled import LabelledData
    from tfaudio.data.spec import DatasetSpec
    from tfaudio.evaluation.plan import Candidate, Choice, PlannedRun
    from tfaudio.evaluation.protocol import FoldResult
    from tfaudio.evaluation.tagging import TagResult

USAGE = """tfaudio train --dataset=folder --data_dir=DIR --output_dir=RUN [flags]

Trains a classifier on labelled recordings (DIR holds one subfolder a class), scores it on held-out ones, and writes
all that the other commands need into the run folder. With several folds, groups or seeds, the folder holds a run folder
for each of them, and --resume trains those that are missing.

  tfaudio train --dataset=folder --data_dir=birds --output_dir=runs/birds
  tfaudio train --dataset=esc10 --data_dir=ESC-10 --model=cnn --folds=all --seeds=0,1,2 --output_dir=runs/esc10
  tfaudio train --dataset=fsdd --data_dir=FSDD --protocol=leave_one_group_out --output_dir=runs/new_speakers
  tfaudio train --dataset=esc10 --data_dir=ESC-10 --protocol=nested --output_dir=runs/nested \\
      --candidate=augment.mixup_alpha=0 --candidate=augment.mixup_alpha=1,training.weight_decay=0.3
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("output_dir", None, "Run folder to write.", flag_values=flag_values)
    define_protocol(flag_values, ["folds", "leave_one_group_out", "nested"])
    flags.DEFINE_string(
        "seeds", None, "Train once a seed (0,1,2) and take the mean; --seed is for one.", flag_values=flag_values
    )
    flags.DEFINE_multi_string(
        "candidate",
        [],
        "With --protocol=nested, given once for each of the settings to choose among: section.name=value,section.name="
        "value; an empty one is the settings as they are. The first of equals is taken.",
        flag_values=flag_values,
    )
    define_settings(flag_values)
    flags.DEFINE_string("json", None, "Also write the result, with how it came about, here.", flag_values=flag_values)
    flags.DEFINE_boolean("resume", False, "Continue a run that was stopped.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace what stands in the run folder.", flag_values=flag_values)
    flags.DEFINE_boolean("tensorboard", False, "Write TensorBoard files into the run folder.", flag_values=flag_values)
    flags.mark_flag_as_required("output_dir", flag_values)


def define_protocol(flag_values: flags.FlagValues, protocols: list[str]) -> None:
    """Defines --protocol, with those to choose among, and --folds."""
    nested = " `nested`: as `folds`, and among what --candidate gives is chosen without the test fold."
    flags.DEFINE_enum(
        "protocol",
        None,
        protocols,
        "How test sets are found, where neither the data set nor --folds is to decide it. `folds`: each official fold "
        "is tested by a model that was trained on the others. `leave_one_group_out`: each group (a speaker, a source) "
        f"likewise.{nested if 'nested' in protocols else ''}",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "folds", None, "Official fold to test on, several (1,3), or `all` of them.", flag_values=flag_values
    )


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Trains, scores and reports."""
    refuse_arguments(arguments)
    _check_flags(flag_values)
    started = time.monotonic()
    candidates = [parse_candidate(text) for text in flag_values.candidate]
    seeds = [] if flag_values.seeds is None else _numbers("seeds", flag_values.seeds)
    config = settings_from(flag_values)
    output_dir = Path(flag_values.output_dir)
    if not flag_values.resume:
        refuse_existing(output_dir, overwrite=flag_values.overwrite)
    if flag_values.json:
        # What is resumed is the run that the file is of.
        check_can_write(flag_values.json, overwrite=flag_values.overwrite or flag_values.resume)

    if config.data.train_on_all and flag_values.json:
        raise UsageError("data.train_on_all measures nothing, so --json has nothing to write; leave one of them out.")
    from tfaudio.bundle import CANDIDATES, CHOICE, RESULT, SHARED_CONFIG, clear, fold_folders, is_run_folder
    from tfaudio.data.catalog import read_dataset
    from tfaudio.evaluation.plan import Choice, check_known_runs, plan_candidates, plan_runs
    from tfaudio.evaluation.protocol import protocol_of

    spec = read_dataset(config.data)
    config = config.for_labels(multi_label=spec.multi_label)
    by_group = flag_values.protocol == "leave_one_group_out"
    folds = official_folds(flag_values, spec.folds)
    runs = plan_runs(config, spec, folds=folds, by_group=by_group, seeds=seeds, nested=bool(candidates))
    # Several seeds of a fold share one choice, made with the first of them.
    tried = {run.fold: plan_candidates(run, candidates, spec) for run in reversed(runs)} if candidates else {}
    if flag_values.resume:
        _check_shared_settings(output_dir, config)
        standing = [""] if is_run_folder(output_dir) else [folder.name for folder in fold_folders(output_dir)]
        if (output_dir / CANDIDATES).is_dir():
            standing.append(CANDIDATES)
        check_known_runs(runs, standing, nested=bool(candidates))

    load_tensorflow()
    from tfaudio.data.augmentation import check_backgrounds
    from tfaudio.data.labelled import read_labelled_data, split_of
    from tfaudio.training.distillation import find_teachers
    from tfaudio.training.pretrained import find_pretrained
    from tfaudio.training.trainer import check_inputs_stay, check_learnable, check_settings, check_validation

    check_inputs_stay(output_dir, config)
    trials: dict[str, list[Candidate]] = {}  # by folder: one training, scored for one fold or for two
    for candidate in (candidate for of_fold in tried.values() for candidate in of_fold):
        trials.setdefault(candidate.run.folder, []).append(candidate)
    trial_runs = [served[0].run for served in trials.values()]
    for run in [candidate.run for candidate in tried[runs[0].fold]] if candidates else runs[:1]:
        check_settings(run.config, len(spec.labels))  # a mistake is found before hours of decoding
    for run in (*runs, *trial_runs):
        # An unknown fold, or one that no teacher fits, is found now, not after the folds before it.
        split = split_of(run.config, spec)
        check_validation(run.config, split)
        find_teachers(run.config, spec, split)
        find_pretrained(run.config, spec)
        check_backgrounds(run.config, split)
    if (count := len(runs) + len(trials)) > 1:
        print(f"{count} runs to train or to find trained", file=sys.stderr)
    make_writable_folder(output_dir)
    data = read_labelled_data(config)
    runs = _testable(runs, data, by_group=by_group)
    for run in (*runs, *trial_runs):
        check_learnable(run.config, data)
    if not flag_values.resume:
        clear(output_dir)  # now that there is something to put in the place of what stood there
    elif runs[0].folder:
        (output_dir / RESULT).unlink(missing_ok=True)  # without it, a stop between runs is seen
    if runs[0].folder and not (flag_values.resume and (output_dir / SHARED_CONFIG).is_file()):
        write_json(output_dir / SHARED_CONFIG, config.to_dict())
    choices: dict[str, Choice] = {}
    values: dict[str, dict[str, float]] = {}  # of candidates, by folder and fold
    results, trained = [], []
    for run in runs:
        if candidates:
            if run.fold not in choices:
                of_fold = tried[run.fold]
                for folder in [candidate.run.folder for candidate in of_fold]:
                    if folder not in values:
                        values[folder] = _try(trials[folder], output_dir, data, flag_values)
                metric = "mean_average_precisions" if config.multi_label else "accuracies"
                inner = of_fold[0].scored.fold
                scores = tuple(values[candidate.run.folder][inner] for candidate in of_fold)
                choices[run.fold] = Choice(run.fold, inner, scores, metric)
                print(_choice_line(choices[run.fold], flag_values.candidate), flush=True)
            run = run.with_settings(candidates[choices[run.fold].chosen])
        bundle = _train(run, output_dir, data, flag_values)
        if candidates:
            write_json(bundle.path / CHOICE, choices[run.fold].to_dict())
        trained.append((run.config, bool(len(data.recordings.select(split_of(run.config, spec).validation)))))
        if not config.data.train_on_all:
            results.append(_score(run, bundle, data))
    if config.data.train_on_all:
        if runs[0].folder:
            write_json(output_dir / RESULT, {"seeds": seeds, "measured": "nothing: no recording was held out"})
        print("no recording was held out to test on, so nothing was measured")
        print(f"run folder: {output_dir}")
        return 0
    protocol = protocol_of(runs[0].config, spec, chosen=bool(candidates))
    seconds = time.monotonic() - started
    record = _record(
        config,
        spec,
        results,
        protocol,
        model=" or ".join(dict.fromkeys(trained_config.model.name for trained_config, _ in trained)),
        chosen_epoch=_chosen_epoch(trained),
        candidates=candidates,
        choices=choices,
        seconds=seconds,
    )
    write_json(output_dir / RESULT, record)
    if flag_values.json:
        write_json(flag_values.json, record)
    print(summary_line(record))
    print(f"run folder: {output_dir}")
    return 0


def _check_shared_settings(output_dir: Path, config: RunConfig) -> None:
    """Raises TfaudioError if the runs of a folder that is resumed were begun with other settings; seeds are given."""
    from tfaudio.training.trainer import check_same_settings

    before = shared_settings(output_dir)
    if before is not None:
        check_same_settings(output_dir, before.override({"training.seed": config.training.seed}), config)


def _testable(runs: list[PlannedRun], data: LabelledData, *, by_group: bool) -> list[PlannedRun]:
    """The runs that have something to test on. Of many groups one may have nothing; a fold must.

    Raises:
      TfaudioError: if a fold, or all groups, have no recording that can be decoded.
    """
    from tfaudio.data.labelled import split_of

    kept = []
    for run in runs:
        test = split_of(run.config, data.spec).test
        if len(data.recordings.select(test)) or run.config.data.train_on_all:
            kept.append(run)
            continue
        skipped = [f"{skipped.path}: {skipped.reason}" for skipped in data.skipped_of(test)]
        what = f"{run.title or 'the test set'} has no recording that can be used ({'; '.join(skipped[:3]) or 'none'})"
        if not by_group:
            raise TfaudioError(f"{what[0].upper()}{what[1:]}; mend or replace them.")
        print(f"left out: {what}", file=sys.stderr)
    if not kept:
        raise TfaudioError("No group has a recording that can be used; mend or replace them.")
    return kept


def _train(run: PlannedRun, output_dir: Path, data: LabelledData, flag_values: flags.FlagValues) -> Bundle:
    """Trains one run, unless --resume finds that it is done."""
    from tfaudio.bundle import is_run_folder
    from tfaudio.training.trainer import train

    run_dir = output_dir / run.folder
    return train(
        run.config,
        run_dir,
        data=data,
        overwrite=flag_values.overwrite,
        resume=flag_values.resume and is_run_folder(run_dir),
        tensorboard=flag_values.tensorboard,
    )


def _try(
    served: list[Candidate], output_dir: Path, data: LabelledData, flag_values: flags.FlagValues
) -> dict[str, float]:
    """Trains what one candidate or two have in common, and returns what it is chosen by, by fold."""
    from tfaudio.evaluation.evaluate import evaluate

    trial = served[0].run
    bundle = _train(trial, output_dir, data, flag_values)
    values = {trial.fold: _score(trial, bundle, data).value}
    for scored in [candidate.scored for candidate in served if candidate.scored.fold != trial.fold]:
        evaluation = evaluate(replace(bundle, config=scored.config), data=data, calibrated=False)
        values[scored.fold] = evaluation.result(scored.fold, scored.config).value
    return values


def _score(run: PlannedRun, bundle: Bundle, data: LabelledData) -> FoldResult | TagResult:
    """Scores a trained run and writes its report."""
    from tfaudio.bundle import PREDICTIONS
    from tfaudio.evaluation.evaluate import evaluate
    from tfaudio.evaluation.report import inputs_table, metrics_table, write_report

    # What a protocol measures is the run as it was trained, though it may have been calibrated since.
    evaluation = evaluate(bundle, data=data, calibrated=False)
    title = ", ".join(filter(None, (data.spec.name, run.config.model.name, run.title)))
    evaluation.write_predictions(bundle.path / PREDICTIONS, bundle)
    write_report(bundle.path, evaluation.metrics, title=title)
    print(metrics_table(evaluation.metrics, title=title), flush=True)
    if evaluation.by_inputs:
        print(inputs_table(evaluation.by_inputs), flush=True)
    return evaluation.result(run.fold, run.config)


def _record(
    config: RunConfig,
    spec: DatasetSpec,
    results: list[Any],
    protocol: str,
    *,
    model: str,
    chosen_epoch: str,
    candidates: list[dict[str, Any]],
    choices: dict[str, Choice],
    seconds: float,
) -> dict[str, Any]:
    from tfaudio.evaluation.protocol import best_guess, caveats, mean_by_inputs, result_record
    from tfaudio.evaluation.summary import METRICS, summarize
    from tfaudio.evaluation.tagging import chance

    summary = summarize(results)
    metric = summary["metric"]
    extra = {
        "interval_over": summary["interval_over"],
        "mean_over_folds": summary["mean"],
        "standard_deviation_over_folds": summary["standard_deviation"],
        f"{metric}_per_fold": summary[f"{metric}_per_fold"],
        f"{metric}_per_seed": summary[f"{metric}_per_seed"],
        "standard_deviation_over_seeds": summary["standard_deviation_over_seeds"],
        "chosen_epoch": chosen_epoch,
        "chosen_settings": "none by this command: they were given",
        **caveats(config),
    }
    if choices:
        extra["chosen_settings"] = (
            f"by the {METRICS[metric]} on one training fold, of models that saw neither it nor the test fold"
        )
        extra["candidates"] = candidates
        extra["choices"] = {fold: choice.to_dict() for fold, choice in choices.items()}
    if by_inputs := mean_by_inputs(results):
        extra["accuracy_by_inputs"] = by_inputs
    if config.training.shuffle_labels:
        extra["control"] = {"guess": chance(results) if config.multi_label else best_guess(results)}
    return result_record(
        dataset=spec.name,
        protocol=protocol,
        model=model,
        **{metric: summary["value"]},
        interval=summary["interval"],
        seeds=summary["seeds"],
        command=command_line(),
        duration_seconds=round(seconds, 1),
        num_clips=summary["num_clips"],
        extra={**extra, "fingerprint": spec.fingerprint(), "config": config.to_dict()},
    )


def _chosen_epoch(trained: list[tuple[RunConfig, bool]]) -> str:
    """Which epochs' weights were taken, of runs and whether they had something to validate on."""

    def of(config: RunConfig, validated: bool) -> str:
        if count := config.training.averaged_epochs:
            return f"mean of the weights of the last {count}"
        return "lowest validation loss" if validated else "last"

    return " or ".join(dict.fromkeys(of(*run) for run in trained))


def _check_flags(flag_values: flags.FlagValues) -> None:
    """Refuses flags that contradict each other."""
    nested = flag_values.protocol == "nested"
    check_protocol_flags(flag_values)
    if flag_values.seeds is not None and flag_values.seed is not None:
        raise UsageError("--seeds and --seed exclude each other.")
    if nested and len(flag_values.candidate) < 2:
        raise UsageError("--protocol=nested chooses among settings: give --candidate at least twice.")
    if flag_values.candidate and not nested:
        raise UsageError("--candidate needs --protocol=nested, which alone chooses without the test fold.")


def check_protocol_flags(flag_values: flags.FlagValues) -> None:
    """Raises UsageError if flags that say what to train, and whether to go on with it, contradict each other."""
    if flag_values.resume and flag_values.overwrite:
        raise UsageError("--resume and --overwrite exclude each other.")
    if flag_values.protocol == "leave_one_group_out" and flag_values.folds is not None:
        raise UsageError("--protocol=leave_one_group_out tests on groups, so --folds has no place beside it.")


def official_folds(flag_values: flags.FlagValues, known: tuple[int, ...]) -> list[int]:
    """Returns the official folds to test on that --folds and --protocol ask for; none where they make no test set.

    Raises:
      TfaudioError: if they ask for folds, and the data set has none.
    """
    text = flag_values.folds
    if text is None and flag_values.protocol in ("folds", "nested"):
        text = "all"
    if text is None:
        return []
    if not known:
        if flag_values.folds is not None:
            raise TfaudioError(f"--folds={text}: this data set has no official folds; leave the flag out.")
        raise TfaudioError(
            f"--protocol={flag_values.protocol}: this data set has no official folds; list it in a manifest with a "
            "column `fold`."
        )
    if text == "all":
        return list(known)
    return _numbers("folds", text)


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        choice = "`all` or " if flag == "folds" else ""
        raise UsageError(f"--{flag}={text} must be {choice}numbers such as 1 or 1,3.") from None


def _choice_line(choice: Choice, candidates: list[str]) -> str:
    tried = ", ".join(
        f"{text or 'as given'} {accuracy:.1%}" for text, accuracy in zip(candidates, choice.accuracies, strict=True)
    )
    taken = candidates[choice.chosen] or "as given"
    return f"fold {choice.fold}: chosen on fold {choice.chosen_on}: {taken} (of {tried})\n"


def summary_line(record: dict[str, Any]) -> str:
    """Says a result in a line: its figure, interval, and what it varies by."""
    from tfaudio.evaluation.protocol import caveats_text
    from tfaudio.evaluation.summary import METRICS, metric_of

    low, high = record["interval"]
    clips = record["num_clips"]
    metric = metric_of(record)
    name = METRICS[metric]
    over = f"{clips} recordings"
    if record.get("interval_over") == "groups":
        over = f"{len(record[f'{metric}_per_fold'])} groups, {clips} recordings in all"
    text = f"{name} {record[metric]:.1%}, 95 % bootstrap interval {low:.1%} to {high:.1%} over {over}"
    if (count := len(record[f"{metric}_per_fold"])) > 1:
        deviation = record["standard_deviation_over_folds"]
        text += f"; mean of {count} folds {record['mean_over_folds']:.1%}, standard deviation {deviation:.1%}"
    if (count := len(record["seeds"])) > 1:
        text += f"; {count} seeds, standard deviation between them {record['standard_deviation_over_seeds']:.1%}"
    text += f"\n{caveats_text(record)}".rstrip()
    for inputs, accuracy in record.get("accuracy_by_inputs", {}).items():
        text += f"\ngiven {inputs.replace('_', ' ')}: {accuracy:.1%}"
    if "control" in record:
        guess = record["control"]["guess"]
        leak = "something of the test recordings is in training"
        known = "a guess is right in"
        if metric != "accuracy":  # what is learnt of nothing may rank all classes by one thing, such as loudness
            known, leak = "scores at random have", f"where the mean over several --seeds is too, {leak}"
        verdict = "as it should be" if low <= guess else f"ABOVE IT: {leak}"
        text += f"\ncontrol: labels were shuffled; {known} {guess:.1%}, and the {name} is {verdict}"
    return text
