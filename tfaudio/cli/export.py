"""`tfaudio export`: a run to the files that devices and servers take, gated on its test recordings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from absl import flags

from tfaudio.cli import UsageError, command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.gate import define_gate_flags, gate_of
from tfaudio.errors import TfaudioError
from tfaudio.export.report import ALL_FORMATS, FORMATS, check_formats
from tfaudio.files import check_can_write, refuse_existing, write_json
from tfaudio.model_settings import check_thresholds
from tfaudio.registry import unknown_name_message

if TYPE_CHECKING:
    import numpy as np

    from tfaudio.config import RunConfig
    from tfaudio.data.spec import DatasetSpec
    from tfaudio.export.report import ExportReport, GateConfig
    from tfaudio.labels import LabelMap

USAGE = """tfaudio export --run_dir=RUN --output_dir=OUT [--formats=...] [flags]

Writes the run as a SavedModel (saved_model/1, for TensorFlow Serving) and as .tflite files (for phones, Raspberry Pi
and browsers). Each takes raw audio and carries its front end, labels and settings. All are compared with the Keras
model on the run's test recordings; one that falls too far behind, or exceeds a limit on time, size or memory, is not
written, and the command exits with 1. report.json and card.md beside them say what was found.

On request: int16x8 (16-bit activations), tflm (C sources for a microcontroller), streaming and streaming_int8 (step
models of a causal run). A run that takes text beside the sound is had as saved_model, float32, float16 and
dynamic_range, whose second input is the text or its tokens; MediaPipe, which takes sound alone, runs none of them. One
with recurrent layers has no int8 form, and --formats leaves that out where it is not given.

A folder that `tfaudio train --folds=...` wrote is exported fold by fold, and the accuracies are averaged.

  tfaudio export --run_dir=runs/birds --output_dir=export/birds
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("run_dir", None, "Run folder to export.", flag_values=flag_values)
    flags.DEFINE_string("output_dir", None, "Folder to write to.", flag_values=flag_values)
    flags.DEFINE_list("formats", list(FORMATS), f"Any of {', '.join(ALL_FORMATS)}.", flag_values=flag_values)
    flags.DEFINE_integer(
        "calibration_clips", 200, "Training clips that tell int8's ranges.", flag_values=flag_values, lower_bound=1
    )
    define_gate_flags(flag_values)
    flags.DEFINE_multi_string(
        "threshold",
        [],
        "Score from which on a class counts as detected, stored in the files: a number for all, or LABEL=NUMBER; of "
        "classes without one, what `tfaudio calibrate` found.",
        flag_values=flag_values,
    )
    flags.DEFINE_float(
        "clip_seconds", None, "Length of audio that a file takes, for runs that take any.", flag_values=flag_values
    )
    flags.DEFINE_string("data_dir", None, "Where the data set lies now, if it was moved.", flag_values=flag_values)
    flags.DEFINE_string("json", None, "Also write the report here.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace an earlier export.", flag_values=flag_values)
    flags.mark_flag_as_required("run_dir", flag_values)
    flags.mark_flag_as_required("output_dir", flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Exports and reports; 1 if a format was withheld."""
    refuse_arguments(arguments)
    formats = check_formats(flag_values.formats)
    gate = gate_of(flag_values)
    run_dir, output_dir = Path(flag_values.run_dir), Path(flag_values.output_dir)
    from tfaudio.bundle import is_run_folder, run_folders, was_chosen

    runs = run_folders(run_dir, finished=True)  # what is none is told before TensorFlow is loaded
    folds = [] if is_run_folder(run_dir) else runs
    refuse_existing(output_dir, overwrite=flag_values.overwrite)
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)

    started = time.monotonic()
    load_tensorflow()
    from tfaudio.export.artifact import clear_others

    def clear_earlier() -> None:
        if flag_values.overwrite:
            clear_others(output_dir, keep=[path.name for path in folds])

    reports, seeds, recordings = {}, set[int](), 0
    for path in runs:
        target = output_dir / path.name if folds else output_dir
        reports[path.name], spec, config, tested = _export(path, target, formats, gate, flag_values, clear_earlier)
        recordings += tested
        seeds.add(config.training.seed)
        print(reports[path.name].to_text(), end="", flush=True)
    metric = "mean_average_precision" if config.multi_label else "accuracy"
    accuracies = _mean_accuracies(list(reports.values()))
    by_fold = {name: report.to_dict() for name, report in reports.items()}
    if folds:
        mean = {"accuracy": "mean_accuracy"}.get(metric, metric)
        write_json(output_dir / "report.json", {mean: accuracies, "folds": by_fold})
        for name, accuracy in accuracies.items():
            print(f"mean over {len(folds)} runs: {name:<14} {accuracy:.4f}")
    if flag_values.json and (config.multi_label or not accuracies):
        from tfaudio.evaluation.protocol import provenance

        # No result of a protocol: nothing was tested, or the interval takes scores, which the gate does not keep.
        facts = provenance(spec.name, config, command_line())
        write_json(flag_values.json, {**facts, f"{metric}_by_format": accuracies, "reports": by_fold})
    elif flag_values.json:
        from tfaudio.evaluation.metrics import wilson_interval
        from tfaudio.evaluation.protocol import caveats, protocol_of, result_record

        # Seeds share their test recordings, as windows share a recording: more of them are no more recordings.
        clips = recordings // len(seeds)
        windows = sum(report.clips for report in reports.values()) // len(seeds)
        record = result_record(
            dataset=spec.name,
            protocol=protocol_of(config, spec, chosen=all(map(was_chosen, runs))),
            model=config.model.name,
            accuracy=accuracies["keras"],
            interval=wilson_interval(round(accuracies["keras"] * clips), clips),
            seeds=sorted(seeds),
            command=command_line(),
            duration_seconds=round(time.monotonic() - started, 1),
            num_clips=clips,
            extra={
                **{"scored": "windows", "num_windows": windows, "interval_over": "recordings"},
                **{"accuracy_by_format": accuracies, "reports": by_fold, **caveats(config)},
            },
        )
        write_json(flag_values.json, record)
    if any(found.withheld_by_gate for report in reports.values() for found in report.formats):
        print("to let more pass: train longer, test on more recordings, or move a limit (--min_agreement and others)")
    written = any(report.paths for report in reports.values())
    print(f"exported to {output_dir}" if written else f"no model was written; {output_dir} says why")
    return 1 if any(report.failed for report in reports.values()) else 0


def _export(
    run_dir: Path,
    output_dir: Path,
    formats: tuple[str, ...],
    gate: GateConfig,
    flag_values: flags.FlagValues,
    before_writing: Callable[[], None],
) -> tuple[ExportReport, DatasetSpec, RunConfig, int]:
    """Exports a run; also returns what it was trained on, its settings and the number of test recordings."""
    import numpy as np

    from tfaudio.bundle import load_bundle, read_calibration, read_split
    from tfaudio.data.labelled import read_labelled_data, split_of
    from tfaudio.data.pipeline import Pipeline
    from tfaudio.data.split import Split
    from tfaudio.export.artifact import export_run, exported_clip
    from tfaudio.export.candidates import default_formats

    bundle = load_bundle(run_dir).moved_data(flag_values.data_dir)
    if not flag_values["formats"].present:
        formats = default_formats(bundle)
    # What does not fit the run is found before its recordings are read.
    thresholds = read_thresholds(flag_values.threshold, bundle.labels)
    exported_clip(bundle, formats, flag_values.clip_seconds)

    def wanted(split: Split) -> tuple[Any, ...]:
        # Evenly spread: clips are sorted by path, so that each class and each fold has its share.
        count = min(flag_values.calibration_clips, len(split.train))
        chosen = np.linspace(0, len(split.train) - 1, count).round().astype(int)
        return (*(split.train[index] for index in chosen), *split.test)

    fingerprint = read_split(run_dir)["fingerprint"]
    data = read_labelled_data(bundle.config, clips=wanted, expect_fingerprint=fingerprint)
    split = split_of(bundle.config, data.spec)
    for skipped in data.skipped_of((*split.train, *split.test)):
        print(f"{run_dir.name}: not used: {skipped.path}: {skipped.reason}", file=sys.stderr)
    targets = data.targets(bundle.labels, multi_hot=bundle.config.multi_label)
    config = bundle.config
    if flag_values.clip_seconds is not None:
        config = config.override({"clip.seconds": flag_values.clip_seconds})
    pipeline = Pipeline(data.recordings, targets, len(bundle.labels), config, bundle.normalization)
    calibration = data.recordings.select(split.train)
    test = data.recordings.select(split.test)
    if not len(calibration):
        raise TfaudioError("None of the training recordings can be used to calibrate with; mend them.")

    texts = np.array([data.recordings.clips[int(index)].text or "" for index in test], object)

    def test_windows() -> Iterator[np.ndarray]:
        for index in test:
            yield from pipeline.waveform_windows(int(index))

    clips = [pipeline.waveform_windows(int(index))[0] for index in calibration]
    if config.clip.seconds is None:  # of unequal length; only the SavedModel takes them so
        clips = clips[:1]
    found = read_calibration(run_dir) or {}
    before_writing()
    tested = not config.data.train_on_all
    report = export_run(
        bundle,
        formats=formats,
        output_dir=output_dir,
        calibration=np.stack(clips),
        calibration_names=[data.spec.relative_path(data.recordings.clips[int(i)]) for i in calibration],
        test_waveforms=test_windows() if tested else None,
        test_targets=np.repeat(targets[test], pipeline.num_windows(test), axis=0).tolist() if tested else None,
        test_texts=np.repeat(texts, pipeline.num_windows(test)).tolist() if tested else None,
        gate=gate,
        overwrite=flag_values.overwrite,
        clip_seconds=flag_values.clip_seconds,
        dataset_fingerprint=fingerprint,
        dataset_licence=data.spec.licence or None,
        thresholds=found.get("thresholds", {}) | thresholds,
        unknown_below=found.get("unknown_below"),
        progress=lambda line: print(f"{run_dir.name}: {line}", file=sys.stderr),
    )
    return report, data.spec, bundle.config, len(test)


def read_thresholds(given: list[str], labels: LabelMap) -> dict[str, float]:
    """Reads --threshold: "0.6" is for all classes that have none of their own, "dog=0.8" for one."""
    thresholds: dict[str, float] = {}
    for text in sorted(given, key=lambda text: "=" in text):
        label, _, score = text.rpartition("=")
        try:
            value = float(score)
        except ValueError as error:
            raise UsageError(f"--threshold={text} is neither a number nor LABEL=NUMBER.") from error
        if label and label not in labels:
            raise UsageError(f"--threshold={text}: {unknown_name_message('class', label, list(labels))}")
        thresholds |= dict.fromkeys([label] if label else labels, value)
    check_thresholds(thresholds, labels)
    return thresholds


def _mean_accuracies(reports: list[ExportReport]) -> dict[str, float]:
    """Mean accuracy over the folds, of Keras and of each format that all have; empty where nothing was tested."""
    if any(report.keras_accuracy is None for report in reports):
        return {}
    accuracies = {"keras": fmean(report.keras_accuracy or 0.0 for report in reports)}
    for name in (found.name for found in reports[0].formats):
        values = [f.accuracy for report in reports for f in report.formats if f.name == name and f.accuracy is not None]
        if len(values) == len(reports):
            accuracies[name] = fmean(values)
    return accuracies
