"""What an export is asked for and what came of it; no TensorFlow, so that a command can check its flags at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfaudio.config import Config
from tfaudio.errors import TfaudioError
from tfaudio.registry import unknown_name_message

SAVED_MODEL = "saved_model"
TFLITE_VARIANTS = ("float32", "float16", "dynamic_range", "int8")
FORMATS = (SAVED_MODEL, *TFLITE_VARIANTS)
REPORT, LABELS = "report.json", "labels.txt"
REPORT_VERSION = 1


def artifact_path(name: str) -> str:
    """Where a format lies inside the output folder.

    >>> artifact_path("int8"), artifact_path("saved_model")
    ('model_int8.tflite', 'saved_model/1')
    """
    return f"{SAVED_MODEL}/1" if name == SAVED_MODEL else f"model_{name}.tflite"


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the formats asked for, each once, in the order of FORMATS.

    Raises:
      TfaudioError: for an unknown one, or none.
    """
    if not names:
        raise TfaudioError(f"Name at least one format to export: {', '.join(FORMATS)}.")
    for name in names:
        if name not in FORMATS:
            raise TfaudioError(unknown_name_message("export format", name, list(FORMATS)))
    return tuple(name for name in FORMATS if name in names)


@dataclass(frozen=True, kw_only=True)
class GateConfig(Config):
    """How far an artifact may be from the Keras model and still be written.

    Args:
      max_accuracy_drop: below Keras, as a share of the clips; one clip is always allowed, since on fewer than a
        hundred clips one point is less than a clip. Needs targets.
      min_agreement: share of clips with the same best class as Keras.
      max_float_score_difference: largest difference of a score to Keras, for what computes in float32 (saved_model
        and float32).
    """

    max_accuracy_drop: float = 0.01
    min_agreement: float = 0.95
    max_float_score_difference: float = 1e-4

    def check(self) -> None:
        for name in ("max_accuracy_drop", "min_agreement", "max_float_score_difference"):
            if not 0 <= getattr(self, name) <= 1:
                raise TfaudioError(f"gate.{name} must be in [0, 1], not {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class FormatReport:
    """One format of an export.

    Args:
      name: of FORMATS.
      path: inside the output folder, or None where the file was withheld.
      problems: why it was withheld; empty where it was not.
      notes: what else to know.
      accuracy: share of clips whose best class is the target; None without targets.
      agreement: share of clips whose best class is that of Keras.
      max_score_difference: largest absolute difference of a score to Keras.
      latency_ms: median time of one call with one window, on one thread for TFLite.
      size_bytes: of the file, or of all files of the SavedModel.
    """

    name: str
    path: str | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    accuracy: float | None = None
    agreement: float | None = None
    max_score_difference: float | None = None
    latency_ms: float | None = None
    size_bytes: int | None = None

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export wrote, what it withheld and why.

    Args:
      output_dir: the folder.
      clips: number of windows that the gate compared.
      clips_source: "test" or "calibration".
      keras_accuracy: of the Keras model on them, None without targets.
      keras_latency_ms: median time of one call of the Keras model with one window.
      formats: one report each.
      gate: the thresholds.
      calibration_clips: number of training windows that told int8's ranges.
      calibration_names: of the recordings they came from.
      details: versions, model, front end, data set, for programs.
    """

    output_dir: Path
    clips: int
    clips_source: str
    keras_accuracy: float | None
    keras_latency_ms: float
    formats: tuple[FormatReport, ...]
    gate: GateConfig
    calibration_clips: int
    calibration_names: tuple[str, ...]
    details: dict[str, Any]

    @property
    def failed(self) -> list[FormatReport]:
        """The formats that were withheld."""
        return [report for report in self.formats if not report.passed]

    @property
    def paths(self) -> dict[str, Path]:
        """Where each format was written, by name."""
        return {report.name: self.output_dir / report.path for report in self.formats if report.path}

    def to_dict(self) -> dict[str, Any]:
        """Returns what report.json holds."""
        return {
            "format": REPORT_VERSION,
            **self.details,
            "gate": {
                **self.gate.to_dict(),
                "clips": self.clips,
                "clips_source": self.clips_source,
                "passed": not self.failed,
            },
            "keras": {"accuracy": self.keras_accuracy, "latency_ms": self.keras_latency_ms},
            "calibration": {"clips": self.calibration_clips, "names": list(self.calibration_names)},
            "formats": {
                report.name: {
                    "written": report.passed,
                    **{key: value for key, value in asdict(report).items() if key != "name"},
                }
                for report in self.formats
            },
        }

    def to_text(self) -> str:
        """Returns a table for people."""
        header = ("format", "kB", "ms", "accuracy", "agreement", "max difference", "file")
        rows = [header, ("keras", "", _number(self.keras_latency_ms, ".2f"), _number(self.keras_accuracy), "", "", "")]
        for report in self.formats:
            size = None if report.size_bytes is None else report.size_bytes / 1000
            rows.append(
                (
                    report.name,
                    _number(size, ".0f"),
                    _number(report.latency_ms, ".2f"),
                    _number(report.accuracy),
                    _number(report.agreement),
                    _number(report.max_score_difference, ".1e"),
                    report.path or "withheld",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        last = len(header) - 1
        lines = [
            "  ".join(
                cell.ljust(width) if column in (0, last) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        source = "test clips" if self.clips_source == "test" else "calibration clips (no test data was given)"
        lines.append(f"Compared on {self.clips} {source}.")
        if any(report.name == "int8" for report in self.formats):
            lines.append(f"int8 was calibrated on {self.calibration_clips} training clips.")
        lines += [f"{report.name}: {note}." for report in self.formats for note in report.notes]
        lines += [f"{report.name} was withheld: {problem}" for report in self.failed for problem in report.problems]
        return "\n".join(lines) + "\n"


def _number(value: float | None, spec: str = ".4f") -> str:
    return "" if value is None else format(value, spec)
