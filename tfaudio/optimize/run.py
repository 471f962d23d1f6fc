"""A trained run made smaller, or better in integers, and compared with what plain training would have made of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

import tfaudio
from tfaudio import bundle as run_folder
from tfaudio.bundle import Bundle, read_calibration, read_split
from tfaudio.data.labelled import LabelledData, read_labelled_data, split_of
from tfaudio.data.pipeline import Pipeline
from tfaudio.errors import TfaudioError
from tfaudio.export.artifact import export_run
from tfaudio.export.flatbuffer import float_operators
from tfaudio.export.parity import median_latency_ms
from tfaudio.export.report import ExportReport, GateConfig, json_key
from tfaudio.export.tflite import TfliteModel
from tfaudio.files import make_writable_folder, refuse_existing, write_atomically, write_json
from tfaudio.models.backbone import set_weights
from tfaudio.models.classifier import build_classifier
from tfaudio.optimize.methods import KERNEL_LAYERS, Lessons, Outcome, apply_method
from tfaudio.optimize.report import (
    PAGE,
    REPORT,
    RUN,
    OptimizeReport,
    Row,
    gzip_size,
    weight_statistics,
)
from tfaudio.optimize.settings import CONTROL, METHODS, QAT, OptimizeConfig, check_methods
from tfaudio.optimize.twin import build_twin
from tfaudio.training.loss import make_loss
from tfaudio.training.trainer import class_weights

_INT8, _FLOAT = "int8", "float32"
# For what is measured and not judged: the run as it was, and the control.
_NO_GATE = GateConfig(max_accuracy_drop=1.0, min_agreement=0.0, max_score_difference=1.0)
_LATENCY_ROUNDS = 5
_BORDERS = {"QUANTIZE", "DEQUANTIZE"}  # operators that have a float side by nature

Progress = Callable[[str], None]


def optimize_run(
    bundle: Bundle,
    methods: Sequence[str],
    output_dir: str | os.PathLike[str],
    *,
    config: OptimizeConfig | None = None,
    gate: GateConfig | None = None,
    data: LabelledData | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> OptimizeReport:
    """Trains a run on by each method, exports what comes of it, and writes what the gate lets through.

    A method's files pass if each agrees with its own weights in Keras as an export's have to, and none is less accurate
    than the run as it was by more than `gate.max_accuracy_drop`. The run itself is left as it is.

    Args:
      bundle: the run.
      methods: of METHODS.
      output_dir: where a folder for each method, report.json and report.md go. A method's folder is an export; beside
        it "run" is a run folder of its own, except of quantisation-aware training, whose ranges no run folder holds.
      config: how to train.
      gate: thresholds.
      data: the run's data set, if it was read already, whole.
      overwrite: replace the files of an earlier call.
      progress: called with a line of text before each step and after each epoch.

    Raises:
      TfaudioError: for an unknown method, a model that cannot be trained so, data that have changed, or a folder that
        stands or cannot be written.
    """
    names = check_methods(methods)
    if bundle.tokenizer is not None:
        raise TfaudioError(
            f"Model '{bundle.config.model.name}' takes text beside the sound, and tfmot's models one input; optimise a "
            "run of another model, or export this one as dynamic_range."
        )
    config, gate, say = config or OptimizeConfig(), gate or GateConfig(), progress or (lambda _: None)
    output_dir = Path(output_dir)
    refuse_existing(output_dir, overwrite=overwrite)
    if any(bundle.path.resolve().is_relative_to((output_dir / name).resolve()) for name in METHODS):
        raise TfaudioError(f"{bundle.path} lies in {output_dir}, whose files are replaced; name another --output_dir.")
    features = _random_features(bundle)  # which tells runs apart that have no twin
    twin = build_twin(bundle.body(), features)
    make_writable_folder(output_dir)
    say("reading the recordings")
    material = _Material.of(bundle, config, data)
    for skipped in material.pipeline.recordings.skipped:
        say(f"not used: {skipped.path}: {skipped.reason}")
    if not tf.config.list_physical_devices("GPU"):  # where rounding has no repeatable gradient
        tf.config.experimental.enable_op_determinism()

    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".optimize.") as folder:
        work = _Work(Path(folder), material)
        say(f"{RUN}: exporting")
        before = work.export(RUN, bundle, None, _NO_GATE)
        problems: dict[str, tuple[str, ...]] = {}
        notes: list[str] = []
        if read_calibration(bundle.path) is not None:
            notes.append(
                "the run's calibration is of other weights and in none of these files; `tfaudio calibrate` a method's "
                "run and export it"
            )
        for name in (CONTROL, *names):
            say(f"{name}: training")
            outcome = apply_method(name, twin, material.lessons, config, say)
            say(f"{name}: exporting")
            trained = _with_weights(bundle, outcome)
            report = work.export(name, trained, outcome.int8, _NO_GATE if name == CONTROL else gate)
            if name == CONTROL:
                continue
            if outcome.int8 is not None and (left := sorted(set(float_operators(outcome.int8)) - _BORDERS)):
                notes.append(f"{name}: {', '.join(left)} stay float32")
            found = (*_withheld(report), *_less_accurate(report, before, gate))
            if found:
                problems[name] = found
            elif name != QAT:
                _write_run(trained, work.folder / name / "run")
        say("measuring time")
        rows = work.rows(set(names) - set(problems))
        result = OptimizeReport(
            output_dir=output_dir,
            rows=rows,
            clips=before.clips,
            config=config,
            gate=gate,
            metric=before.metric,
            problems=problems,
            notes=tuple(notes),
            details=_details(bundle, before, material),
        )
        say(f"writing {output_dir}")
        _write(result, work.folder)
    return result


def _random_features(bundle: Bundle) -> npt.NDArray[np.float32]:
    """Standardised features as the classifier takes them, float32 [2, frames, bins]."""
    clip, front_end = bundle.config.clip, bundle.config.front_end
    if bundle.config.training.shuffle_labels:
        raise TfaudioError(
            f"The run {bundle.path} is a control that learnt shuffled labels, and nothing that is worth keeping small; "
            "name another."
        )
    if clip.seconds is None:
        raise TfaudioError(
            f"The run {bundle.path} takes recordings whole (clip.seconds is null), and cannot be optimised; train one "
            "on windows, with --clip_seconds."
        )
    if front_end.learnt:
        raise TfaudioError(
            f"The run {bundle.path} has a learnt front end ('{front_end.feature}'), which has no equal in tf-keras and "
            "cannot be optimised; train one on mel features (--set=front_end.feature=mel)."
        )
    frames = int(front_end.num_frames(clip.num_samples(front_end.sample_rate)))
    noise = np.random.default_rng(0).normal(size=(2, frames, front_end.num_bins))
    return noise.astype(np.float32)


@dataclass(frozen=True)
class _Material:
    """What a run's own data give: batches to train on, windows to calibrate and to test with."""

    lessons: Lessons
    calibration: npt.NDArray[np.float32]
    calibration_names: list[str]
    pipeline: Pipeline
    test: npt.NDArray[np.int64]
    targets: npt.NDArray[Any]
    fingerprint: str

    @classmethod
    def of(cls, bundle: Bundle, config: OptimizeConfig, data: LabelledData | None) -> _Material:
        bundle.check_can_be_tested()
        fingerprint = read_split(bundle.path)["fingerprint"]
        data = data or read_labelled_data(bundle.config, expect_fingerprint=fingerprint)
        split, training = split_of(bundle.config, data.spec), bundle.config.training
        multi_label = bundle.config.multi_label
        targets = data.targets(bundle.labels, multi_hot=multi_label)
        train, test = data.recordings.select(split.train), data.recordings.select(split.test)
        for what, indices in (("training", train), ("test", test)):
            if not len(indices):
                raise TfaudioError(f"None of the {what} recordings can be used; mend them, or change the split.")
        # As if the training had gone on: its epochs follow those that the run has seen.
        longer = bundle.config.override({"training.epochs": training.epochs + config.epochs})
        pipeline = Pipeline(data.recordings, targets, len(bundle.labels), longer, bundle.normalization)
        weights = class_weights(targets[train], len(bundle.labels)) if training.class_weights else None
        lessons = Lessons(
            pipeline.training(train, first_epoch=training.epochs, class_weights=weights),
            pipeline.steps_per_epoch(len(train)),
            loss=make_loss(bundle.config),
            one_class=not multi_label,
            seed=training.seed,
        )
        chosen = np.linspace(0, len(train) - 1, min(config.calibration_clips, len(train))).round().astype(int)
        clips = train[chosen]
        return cls(
            lessons=lessons,
            calibration=np.stack([pipeline.waveform_windows(int(index))[0] for index in clips]),
            calibration_names=[data.spec.relative_path(data.recordings.clips[int(index)]) for index in clips],
            pipeline=pipeline,
            test=test,
            targets=np.repeat(targets[test], pipeline.num_windows(test), axis=0),
            fingerprint=fingerprint,
        )

    def test_windows(self) -> Iterator[npt.NDArray[np.float32]]:
        for index in self.test:
            yield from self.pipeline.waveform_windows(int(index))


class _Work:
    """Exports into a folder that nobody sees yet, and what is measured of them.

    Args:
      folder: that folder.
      material: of the run.
    """

    def __init__(self, folder: Path, material: _Material) -> None:
        self.folder, self._material = folder, material
        self._rows: list[Row] = []

    def export(self, name: str, bundle: Bundle, int8: bytes | None, gate: GateConfig) -> ExportReport:
        """Exports float32 and int8, or the int8 classifier that is given."""
        material = self._material
        report = export_run(
            bundle,
            formats=[_INT8] if int8 is not None else [_FLOAT, _INT8],
            output_dir=self.folder / name,
            calibration=material.calibration,
            calibration_names=material.calibration_names,
            test_waveforms=material.test_windows(),
            test_targets=material.targets.tolist(),
            gate=gate,
            dataset_fingerprint=material.fingerprint,
            classifiers=None if int8 is None else {_INT8: int8},
        )
        layers = [layer for layer in bundle.classifier.layers if type(layer).__name__ in KERNEL_LAYERS]
        kernels = [np.asarray(layer.kernel) for layer in layers]
        zeros, distinct = weight_statistics(kernels)
        for found in report.formats:
            path = None if found.path is None else f"{name}/{found.path}"
            row = Row(model=name, format=found.name, zero_weights=zeros, distinct_weights=distinct, path=path)
            self._rows.append(
                replace(row, accuracy=found.accuracy, size_bytes=found.size_bytes, latency_ms=found.latency_ms)
            )
        return report

    def rows(self, kept: set[str]) -> tuple[Row, ...]:
        """Measures all files side by side, so that what else the machine does falls on all alike.

        Args:
          kept: the models whose files are.
        """
        contents = {row.path: (self.folder / row.path).read_bytes() for row in self._rows if row.path}
        models = {path: TfliteModel(content) for path, content in contents.items()}
        window = self._material.calibration[:1]
        times: dict[str, list[float]] = {path: [] for path in models}
        for _ in range(_LATENCY_ROUNDS):
            for path, model in models.items():
                times[path].append(median_latency_ms(model.score, window))
        return tuple(
            row
            if row.path is None
            else replace(
                row,
                gzip_bytes=gzip_size(contents[row.path]),
                latency_ms=float(np.median(times[row.path])),
                path=row.path if row.model in kept else None,
            )
            for row in self._rows
        )


def _with_weights(bundle: Bundle, outcome: Outcome) -> Bundle:
    """The run with other weights; the weights that it has are another model's, and stay."""
    classifier = build_classifier(bundle.config, len(bundle.labels))
    set_weights(classifier, outcome.weights)
    return replace(bundle, classifier=classifier)


def _withheld(report: ExportReport) -> Iterator[str]:
    for found in report.failed:
        yield from (f"{found.name}: {problem}" for problem in found.problems)


def _less_accurate(report: ExportReport, before: ExportReport, gate: GateConfig) -> Iterator[str]:
    """The export's own gate holds a file to its own weights; a method may have spoilt those."""
    allowed = max(gate.max_accuracy_drop, 1.0 / before.clips)
    metric = json_key("accuracy", report.metric).replace("_", " ")
    for found in report.formats:
        if found.accuracy is None or before.keras_accuracy is None:
            continue
        drop = before.keras_accuracy - found.accuracy
        if drop > allowed + 1e-9:
            yield (
                f"{found.name}: its {metric} {found.accuracy:.4f} is {drop:.4f} below that of the run as it was "
                f"({before.keras_accuracy:.4f}); {allowed:.4f} is allowed."
            )


def _write_run(bundle: Bundle, folder: Path) -> None:
    """Writes a run folder of the same settings and data with the new weights, for every command that takes a run."""
    run_folder.write_config(folder, bundle.config)
    write_json(folder / run_folder.SPLIT, read_split(bundle.path))
    run_folder.write_model(folder, bundle.labels, bundle.normalization, bundle.classifier)


def _details(bundle: Bundle, before: ExportReport, material: _Material) -> dict[str, object]:
    return {
        "tfaudio": tfaudio.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "model": bundle.config.model.name,
        "dataset": bundle.config.data.dataset,
        "dataset_fingerprint": material.fingerprint,
        f"keras_{json_key('accuracy', before.metric)}": before.keras_accuracy,
        "steps_per_epoch": material.lessons.steps_per_epoch,
        "batch_size": bundle.config.training.batch_size,
        "seed": bundle.config.training.seed,
    }


def _write(report: OptimizeReport, work: Path) -> None:
    """Moves the folders of the methods that passed; the report goes first and comes last, so that it never lies."""
    output_dir = report.output_dir
    for name in (REPORT, PAGE):
        (output_dir / name).unlink(missing_ok=True)
    for name in METHODS:
        if (output_dir / name).exists():
            shutil.rmtree(output_dir / name)
        if any(row.model == name and row.path for row in report.rows):
            os.replace(work / name, output_dir / name)
    write_atomically(output_dir / PAGE, report.to_markdown())
    write_json(output_dir / REPORT, report.to_dict())
