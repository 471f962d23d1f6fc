"""One call from a trained run to the files that devices and servers take, gated."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

import tfaudio
from tfaudio.bundle import Bundle
from tfaudio.config import ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.export import saved_model
from tfaudio.export.metadata import with_metadata
from tfaudio.export.parity import BATCH_SIZE, GateResult, Score, run_gate
from tfaudio.export.report import (
    FORMATS,
    LABELS,
    REPORT,
    SAVED_MODEL,
    TFLITE_VARIANTS,
    ExportReport,
    FormatReport,
    GateConfig,
    artifact_path,
    check_formats,
)
from tfaudio.export.tflite import TfliteConverter, TfliteModel
from tfaudio.files import make_writable_folder, refuse_existing, write_atomically, write_json
from tfaudio.model_settings import ModelMetadata

Waveforms = npt.NDArray[np.float32]
Progress = Callable[[str], None]


@dataclass
class _Candidate:
    """An artifact on its way to the gate: bytes of a file or, for the SavedModel, a folder."""

    name: str
    content: bytes | Path | None = None
    score: Score | None = None
    notes: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def size_bytes(self) -> int | None:
        if isinstance(self.content, Path):
            return sum(file.stat().st_size for file in self.content.rglob("*") if file.is_file())
        return None if self.content is None else len(self.content)


def export_run(
    bundle: Bundle,
    *,
    formats: Sequence[str],
    output_dir: str | os.PathLike[str],
    calibration: Waveforms,
    test_waveforms: Iterable[Waveforms] | None = None,
    test_targets: Iterable[int] | None = None,
    gate: GateConfig | None = None,
    overwrite: bool = False,
    clip_seconds: float | None = None,
    calibration_names: Sequence[str] = (),
    dataset_fingerprint: str | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Exports a run, and writes what the gate lets through.

    A format that cannot be made, or that falls below the gate, is withheld: its name does not appear in the folder,
    and the report says why. The folder holds one export: with `overwrite`, the files of the export before it go.

    Args:
      bundle: the run.
      formats: of `tfaudio.export.report.FORMATS`.
      output_dir: where model_*.tflite, saved_model/1, labels.txt and report.json go.
      calibration: float32 [clips, num_samples], windows of training recordings only: they tell int8's ranges, and
        test recordings among them would flatter its result.
      test_waveforms: windows float32 [num_samples] to compare the artifacts on; None takes the calibration clips,
        and the report says so.
      test_targets: class index of each test window, or None if unknown.
      gate: thresholds.
      overwrite: replace an earlier export.
      clip_seconds: window of the exported files; None takes the run's. Needed for .tflite files where the run takes
        recordings whole.
      calibration_names: of the calibration recordings, for the report.
      dataset_fingerprint: of the training data, stored with the model.
      progress: called with a line of text before each step.

    Raises:
      TfaudioError: for an unknown format, missing or ill-shaped clips, or a folder that stands or cannot be written.
    """
    names = check_formats(formats)
    output_dir = Path(output_dir)
    refuse_existing(output_dir, overwrite=overwrite)
    clip = _exported_clip(bundle, names, clip_seconds)
    num_samples = None if clip.seconds is None else clip.num_samples(bundle.config.front_end.sample_rate)
    calibration = _checked_calibration(calibration, num_samples)
    make_writable_folder(output_dir)
    say = progress or (lambda _: None)

    keras_model = bundle.end_to_end(num_samples)
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".export.") as folder:
        maker = _Maker(bundle, keras_model, clip, calibration, dataset_fingerprint, Path(folder))
        candidates = []
        for name in names:
            say(f"converting to {name}")
            candidates.append(maker.make(name))
        say("comparing with Keras")
        tested = test_waveforms is not None
        result = run_gate(
            lambda batch: np.asarray(keras_model.predict_on_batch(batch)),
            {c.name: c.score for c in candidates if c.score is not None},
            waveforms=_of_length(calibration if test_waveforms is None else test_waveforms, num_samples),
            targets=test_targets if tested else None,
            gate=gate or GateConfig(),
            # Recordings taken whole are of unequal length.
            batch_size=1 if num_samples is None else BATCH_SIZE,
        )
        report = ExportReport(
            output_dir=output_dir,
            clips=result.clips,
            clips_source="test" if tested else "calibration",
            keras_accuracy=result.keras_accuracy,
            keras_latency_ms=result.keras_latency_ms,
            formats=tuple(_format_report(candidate, result) for candidate in candidates),
            gate=gate or GateConfig(),
            calibration_clips=len(calibration),
            calibration_names=tuple(calibration_names),
            details=_details(bundle, clip, num_samples, dataset_fingerprint),
        )
        say(f"writing {output_dir}")
        _write(report, candidates, bundle)
    return report


class _Maker:
    """Makes candidates; the parts that the variants share are made once."""

    def __init__(
        self,
        bundle: Bundle,
        keras_model: keras.Model,
        clip: ClipConfig,
        calibration: Waveforms,
        dataset_fingerprint: str | None,
        folder: Path,
    ) -> None:
        self._bundle, self._keras_model, self._clip, self._folder = bundle, keras_model, clip, folder
        self._calibration, self._dataset_fingerprint = calibration, dataset_fingerprint
        self._converter: TfliteConverter | None = None

    def make(self, name: str) -> _Candidate:
        try:
            return self._saved_model() if name == SAVED_MODEL else self._tflite(name)
        except TfaudioError as error:
            return _Candidate(name, problem=str(error))

    def _saved_model(self) -> _Candidate:
        path = self._folder / SAVED_MODEL
        saved_model.write_saved_model(self._keras_model, path, self._metadata(SAVED_MODEL))
        return _Candidate(SAVED_MODEL, path, saved_model.load_score(path))

    def _tflite(self, variant: str) -> _Candidate:
        if self._converter is None:
            num_samples = self._clip.num_samples(self._bundle.config.front_end.sample_rate)
            self._converter = TfliteConverter(self._bundle, num_samples, self._calibration, self._folder)
        conversion = self._converter.convert(variant)
        content = with_metadata(conversion.content, self._metadata(variant))
        return _Candidate(variant, content, TfliteModel(content).score, conversion.notes)

    def _metadata(self, variant: str) -> ModelMetadata:
        config = self._bundle.config
        return ModelMetadata(
            labels=self._bundle.labels,
            front_end=config.front_end,
            clip=self._clip,
            model=config.model.name,
            variant=variant,
            score_activation="softmax",
            tfaudio_version=tfaudio.__version__,
            dataset=config.data.dataset,
            dataset_fingerprint=self._dataset_fingerprint,
        )


def _exported_clip(bundle: Bundle, names: Sequence[str], clip_seconds: float | None) -> ClipConfig:
    clip = bundle.config.clip
    if clip_seconds is not None:
        return clip.replace(seconds=float(clip_seconds))
    if clip.seconds is None and any(name in TFLITE_VARIANTS for name in names):
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


def _format_report(candidate: _Candidate, result: GateResult) -> FormatReport:
    if candidate.problem is not None:
        return FormatReport(name=candidate.name, problems=(candidate.problem,))
    found = result.artifacts[candidate.name]
    return FormatReport(
        name=candidate.name,
        path=None if found.problems else artifact_path(candidate.name),
        problems=found.problems,
        notes=candidate.notes,
        accuracy=found.accuracy,
        agreement=found.agreement,
        max_score_difference=found.max_score_difference if np.isfinite(found.max_score_difference) else None,
        latency_ms=found.latency_ms,
        size_bytes=candidate.size_bytes,
    )


def _details(bundle: Bundle, clip: ClipConfig, num_samples: int | None, fingerprint: str | None) -> dict[str, Any]:
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
    }


def _write(report: ExportReport, candidates: Sequence[_Candidate], bundle: Bundle) -> None:
    """Moves what passed to its final name; the report goes first and comes last, so that it never lies."""
    output_dir = report.output_dir
    (output_dir / REPORT).unlink(missing_ok=True)
    content = {candidate.name: candidate.content for candidate in candidates}
    for name in FORMATS:
        final = output_dir / artifact_path(name)
        made = content.get(name) if name in report.paths else None
        if isinstance(made, bytes):
            write_atomically(final, made)
            continue
        _remove(final if name != SAVED_MODEL else final.parent)
        if isinstance(made, Path):
            final.parent.mkdir()
            os.replace(made, final)
    write_atomically(output_dir / LABELS, bundle.labels.to_text())
    write_json(output_dir / REPORT, report.to_dict())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
