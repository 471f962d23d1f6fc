"""One call from a trained run to the files that devices and servers take, gated."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

import tfaudio
from tfaudio import golden
from tfaudio.bundle import Bundle
from tfaudio.config import ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.export.candidates import Candidate, Maker
from tfaudio.export.card import card
from tfaudio.export.layer_errors import where_it_breaks
from tfaudio.export.parity import BATCH_SIZE, GateResult, run_gate
from tfaudio.export.report import (
    ALL_FORMATS,
    CARD,
    LABELS,
    REPORT,
    SAVED_MODEL,
    TFLM,
    ExportReport,
    FormatReport,
    GateConfig,
    artifact_path,
    check_formats,
)
from tfaudio.files import make_writable_folder, refuse_existing, write_atomically, write_json
from tfaudio.golden import Golden
from tfaudio.labels import LabelMap
from tfaudio.model_settings import ModelMetadata

Waveforms = npt.NDArray[np.float32]
Progress = Callable[[str], None]


def export_run(
    bundle: Bundle,
    *,
    formats: Sequence[str],
    output_dir: str | os.PathLike[str],
    calibration: Waveforms,
    test_waveforms: Iterable[Waveforms] | None = None,
    test_targets: Iterable[Any] | None = None,
    test_texts: Sequence[str] | None = None,
    gate: GateConfig | None = None,
    overwrite: bool = False,
    clip_seconds: float | None = None,
    calibration_names: Sequence[str] = (),
    dataset_fingerprint: str | None = None,
    dataset_licence: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    unknown_below: float | None = None,
    classifiers: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Exports a run, and writes what the gate lets through.

    A format that cannot be made, or that falls below the gate, is withheld: its name does not appear in the folder,
    and the report says why. The folder holds one export: with `overwrite`, the files of the export before it go.

    Args:
      bundle: the run.
      formats: of `tfaudio.export.report.ALL_FORMATS`.
      output_dir: where model_*.tflite, saved_model/1, golden.npz, labels.txt and report.json go.
      calibration: float32 [clips, num_samples], windows of training recordings only: they tell int8's ranges, and
        test recordings among them would flatter its result.
      test_waveforms: windows float32 [num_samples] to compare the artifacts on; None takes the calibration clips,
        and the report says so.
      test_targets: class index of each test window, of a tagger 0 or 1 for each class, or None if unknown.
      test_texts: of each test window, for a run that takes text; None: there are none.
      gate: thresholds.
      overwrite: replace an earlier export.
      clip_seconds: window of the exported files; None takes the run's. Needed for .tflite files where the run takes
        recordings whole.
      calibration_names: of the calibration recordings, for the report.
      dataset_fingerprint: of the training data, stored with the model.
      dataset_licence: of the training data, for the card.
      thresholds: score from which on a class counts as detected, by label; stored with the model.
      unknown_below: highest score below which a recording is of none of the classes; stored with the model.
      classifiers: TFLite files from features to logits to take for a variant, in place of converting the run's
        classifier: one trained for int8, say. They pass the same gate.
      progress: called with a line of text before each step.

    Raises:
      TfaudioError: for an unknown format, missing or ill-shaped clips, or a folder that stands or cannot be written.
    """
    names = check_formats(formats)
    gate = (gate or GateConfig()).of_features(bundle.config.front_end.features)
    output_dir = Path(output_dir)
    refuse_existing(output_dir, overwrite=overwrite)
    clip = exported_clip(bundle, names, clip_seconds)
    num_samples = None if clip.seconds is None else clip.num_samples(bundle.config.front_end.sample_rate)
    calibration = _checked_calibration(calibration, num_samples)
    make_writable_folder(output_dir)
    say = progress or (lambda _: None)

    keras_model = bundle.end_to_end(num_samples)
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".export.") as folder:
        about = replace(_metadata(bundle, clip, dataset_fingerprint, thresholds), unknown_below=unknown_below)
        maker = Maker(bundle, keras_model, about, calibration, calibration_names, classifiers or {}, Path(folder))
        candidates = []
        for name in names:
            say(f"converting to {name}")
            candidates.append(maker.make(name))
        say("comparing with Keras")
        tested = test_waveforms is not None
        result = run_gate(
            lambda *clips: np.asarray(keras_model.predict_on_batch(bundle.inputs(*clips))),
            {c.name: c.score for c in candidates if c.score is not None},
            waveforms=_of_length(calibration if test_waveforms is None else test_waveforms, num_samples),
            targets=test_targets if tested else None,
            gate=gate,
            # Recordings taken whole are of unequal length.
            batch_size=1 if num_samples is None else BATCH_SIZE,
            texts=test_texts if tested and bundle.tokenizer is not None else None,
            thresholds=None if about.tag_thresholds is None else list(about.tag_thresholds.values()),
        )
        say("measuring time and memory")
        reports = tuple(_format_report(candidate, result, maker, gate, bundle.labels) for candidate in candidates)
        report = ExportReport(
            output_dir=output_dir,
            clips=result.clips,
            clips_source="test" if tested else "calibration",
            keras_accuracy=result.keras_accuracy,
            keras_class_accuracy=_by_label(result.keras_class_accuracy, bundle.labels),
            keras_latency_ms=result.keras_latency_ms,
            formats=reports,
            gate=gate,
            calibration_clips=len(calibration),
            calibration_names=tuple(calibration_names),
            details=_details(bundle, clip, num_samples, dataset_fingerprint, dataset_licence),
            metric="average_precision" if bundle.config.multi_label else "accuracy",
        )
        vectors = _golden_vectors(bundle, num_samples, [c for c in candidates if c.name in report.paths])
        say(f"writing {output_dir}")
        _write(report, candidates, bundle, vectors)
    return report


def clear_others(output_dir: Path, *, keep: Sequence[str]) -> None:
    """Removes what would lie beside a new export as if it were of it: an earlier one's, by its report.

    Args:
      output_dir: to write to.
      keep: names of the folders that the runs of a cross-validation will be exported to; none for a single run, which
        replaces its own files when it has made them.
    """
    try:
        report = json.loads((output_dir / REPORT).read_text("utf-8"))
        earlier = list(report.get("folds", {}))
    except (OSError, ValueError, AttributeError):
        return  # no export's folder
    for name in earlier:
        if name not in keep and Path(name).name == name:
            _clear(output_dir / name)
            with contextlib.suppress(OSError):  # where something else lies beside
                (output_dir / name).rmdir()
    if keep or earlier:
        _clear(output_dir)


def _clear(folder: Path) -> None:
    for name in ALL_FORMATS:
        _remove(folder / Path(artifact_path(name)).parts[0])
    for name in (golden.FILE, LABELS, CARD, REPORT):
        _remove(folder / name)


def exported_clip(bundle: Bundle, names: Sequence[str], clip_seconds: float | None) -> ClipConfig:
    """Returns the windows that files of a run take.

    Raises:
      TfaudioError: if the run was trained with others, or none are told and a format needs them.
    """
    clip = bundle.config.clip
    if clip_seconds is not None and clip.seconds not in (None, clip_seconds):
        raise TfaudioError(
            f"clip_seconds (--clip_seconds) is {clip_seconds:g}, but this run learnt to hear {clip.seconds:g} s at a "
            "time; leave it out, or train with that length."
        )
    if clip_seconds is not None:
        return clip.replace(seconds=float(clip_seconds))
    if clip.seconds is None and any(name != SAVED_MODEL for name in names):
        raise TfaudioError(
            "This run takes recordings whole (clip.seconds is null), but a .tflite file takes one length; say which "
            "with clip_seconds (--clip_seconds)."
        )
    return clip


def _checked_calibration(calibration: Waveforms, num_samples: int | None) -> Waveforms:
    calibration = np.asarray(calibration, np.float32)
    if calibration.ndim != 2 or (num_samples is not None and len(calibration) and calibration.shape[1] != num_samples):
        raise TfaudioError(
            f"The calibration clips have shape {calibration.shape}; pass [clips, {num_samples or 'samples'}]."
        )
    if not np.isfinite(calibration).all():
        raise TfaudioError("The calibration clips hold NaN or infinite samples; leave those clips out.")
    return calibration


def _of_length(waveforms: Iterable[Waveforms], num_samples: int | None) -> Iterator[Waveforms]:
    for waveform in waveforms:
        if num_samples is not None and waveform.shape != (num_samples,):
            raise TfaudioError(f"A clip for the export gate has shape {waveform.shape}; pass ({num_samples},).")
        yield waveform


def _metadata(
    bundle: Bundle, clip: ClipConfig, fingerprint: str | None, thresholds: Mapping[str, float] | None
) -> ModelMetadata:
    """What all formats say of themselves; the variant is left to each."""
    config = bundle.config
    return ModelMetadata(
        labels=bundle.labels,
        front_end=config.front_end,
        clip=clip,
        model=config.model.name,
        variant="",
        score_activation=config.model.score_activation,
        tfaudio_version=tfaudio.__version__,
        dataset=config.data.dataset,
        dataset_fingerprint=fingerprint,
        feature_mean=bundle.normalization.mean,
        feature_stddev=bundle.normalization.stddev,
        thresholds=dict(thresholds or {}),
        tokenizer=bundle.tokenizer,
    )


def _by_label(accuracies: tuple[float | None, ...] | None, labels: LabelMap) -> dict[str, float | None] | None:
    return None if accuracies is None else dict(zip(labels, accuracies, strict=True))


def _format_report(
    candidate: Candidate, result: GateResult, maker: Maker, gate: GateConfig, labels: LabelMap
) -> FormatReport:
    if candidate.problem is not None:
        return FormatReport(name=candidate.name, problems=(candidate.problem,))
    if candidate.name in result.failures:
        return FormatReport(name=candidate.name, problems=(result.failures[candidate.name],))
    found = result.artifacts[candidate.name]
    cost = maker.cost(candidate)
    latency = found.latency_ms / candidate.calls if cost.latency_ms is None else cost.latency_ms
    report = FormatReport(
        name=candidate.name,
        path=artifact_path(candidate.name),
        notes=candidate.notes if cost.problem is None else (*candidate.notes, cost.problem.removesuffix(".")),
        accuracy=found.accuracy,
        class_accuracy=_by_label(found.class_accuracy, labels),
        agreement=found.agreement,
        max_score_difference=found.max_score_difference if np.isfinite(found.max_score_difference) else None,
        latency_ms=None if candidate.name == TFLM else latency,
        latency_2_threads_ms=cost.latency_2_threads_ms,
        memory_bytes=cost.memory_bytes,
        size_bytes=candidate.size_bytes,
    )
    problems = (*found.problems, *gate.over_budget(report, no_memory=cost.problem))
    if not problems:
        return report
    layers, unknown = maker.layer_errors(candidate) if found.problems else ([], None)
    breaks = where_it_breaks(layers)
    return replace(
        report,
        path=None,
        notes=report.notes if unknown is None else (*report.notes, unknown.removesuffix(".")),
        problems=(*problems, *([breaks] if breaks else [])),
        layers=tuple(layer.to_dict() for layer in layers),
    )


def _details(
    bundle: Bundle, clip: ClipConfig, num_samples: int | None, fingerprint: str | None, licence: str | None
) -> dict[str, Any]:
    return {
        "tfaudio": tfaudio.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "model": bundle.config.model.name,
        "num_samples": num_samples,
        "labels": list(bundle.labels),
        "front_end": bundle.config.front_end.to_dict(),
        "clip": clip.to_dict(),
        "dataset": bundle.config.data.dataset,
        "dataset_fingerprint": fingerprint,
        "dataset_licence": licence,
        **({} if bundle.tokenizer is None else {"text": bundle.tokenizer.settings()}),
    }


def _golden_vectors(bundle: Bundle, num_samples: int | None, passed: Sequence[Candidate]) -> Golden | None:
    """What the models that passed make of synthetic waveforms; None if none takes windows of one length."""
    scored = [c for c in passed if isinstance(c.content, bytes) or c.name == SAVED_MODEL]
    if num_samples is None or not scored:
        return None
    waveforms = golden.waveforms(num_samples, bundle.config.front_end.sample_rate)
    inputs = golden.to_float(waveforms)
    return Golden(
        waveforms=waveforms,
        features=np.asarray(bundle.front_end(num_samples)(inputs, training=False)),
        scores={artifact_path(c.name): c.score(inputs) for c in scored if c.score is not None},
        sha256={artifact_path(c.name): golden.sha256(_told_apart_by(c)) for c in scored},
    )


def _told_apart_by(candidate: Candidate) -> bytes:
    """A file; of a SavedModel, its graph."""
    content = candidate.content
    if isinstance(content, bytes):
        return content
    assert content is not None
    return (content / "saved_model.pb").read_bytes()


def _write(report: ExportReport, candidates: Sequence[Candidate], bundle: Bundle, vectors: Golden | None) -> None:
    """Moves what passed to its final name; the report goes first and comes last, so that it never lies."""
    output_dir = report.output_dir
    (output_dir / REPORT).unlink(missing_ok=True)
    content = {candidate.name: candidate.content for candidate in candidates}
    for name in ALL_FORMATS:
        final = output_dir / artifact_path(name)
        made = content.get(name) if name in report.paths else None
        if isinstance(made, bytes):
            write_atomically(final, made)
            continue
        _remove(output_dir / Path(artifact_path(name)).parts[0])
        if isinstance(made, Path):
            final.parent.mkdir(exist_ok=True)
            os.replace(made, final)
    if vectors is None:
        _remove(output_dir / golden.FILE)
    else:
        write_atomically(output_dir / golden.FILE, vectors.to_bytes())
    write_atomically(output_dir / LABELS, bundle.labels.to_text())
    write_atomically(output_dir / CARD, card(report))
    write_json(output_dir / REPORT, report.to_dict())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
