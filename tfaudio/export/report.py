"""What an export is asked for and what came of it; no TensorFlow, so that a command can check its flags at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfaudio.config import Config
from tfaudio.errors import TfaudioError
from tfaudio.registry import unknown_name_message

SAVED_MODEL = "saved_model"
TFLITE_VARIANTS = ("float32", "float16", "dynamic_range", "int8")
FORMATS = (SAVED_MODEL, *TFLITE_VARIANTS)
# What not every model can be had in, so only on request: 16-bit activations; the classifier alone in integers, with C
# sources for a microcontroller; and step models, which take a stream hop by hop.
INT16X8, TFLM = "int16x8", "tflm"
STREAMING, STREAMING_INT8 = "streaming", "streaming_int8"
STEP_MODELS = (STREAMING, STREAMING_INT8)
ON_REQUEST = (INT16X8, TFLM, *STEP_MODELS)
ALL_FORMATS = (*FORMATS, *ON_REQUEST)
CALIBRATED = ("int8", INT16X8, TFLM, STREAMING_INT8)
WAVEFORM_FILES = (*TFLITE_VARIANTS, INT16X8)  # .tflite files from a waveform to scores
# What a model of sound and text can be had in: quantisers know its words by no range, and the rest takes sound alone.
WITH_TEXT = (SAVED_MODEL, "float32", "float16", "dynamic_range")
REPORT, LABELS, CARD = "report.json", "labels.txt", "card.md"
REPORT_VERSION = 1
_FOLDERS = {SAVED_MODEL: f"{SAVED_MODEL}/1", TFLM: "microcontroller"}


def artifact_path(name: str) -> str:
    """Where a format lies inside the output folder.

    >>> artifact_path("int8"), artifact_path("saved_model")
    ('model_int8.tflite', 'saved_model/1')
    """
    return _FOLDERS.get(name, f"model_{name}.tflite")


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the formats asked for, each once, in the order of ALL_FORMATS.

    Raises:
      TfaudioError: for an unknown one, or none.
    """
    if not names:
        raise TfaudioError(f"Name at least one format to export: {', '.join(ALL_FORMATS)}.")
    for name in names:
        if name not in ALL_FORMATS:
            raise TfaudioError(unknown_name_message("export format", name, list(ALL_FORMATS)))
    return tuple(name for name in ALL_FORMATS if name in names)


@dataclass(frozen=True, kw_only=True)
class GateConfig(Config):
    """How far an artifact may be from the Keras model and still be written.

    Args:
      max_accuracy_drop: below Keras, as a share of the clips; one clip is always allowed, since on fewer than a
        hundred clips one point is less than a clip. Needs targets. Of taggers: of the mean average precision.
      min_agreement: share of clips with the same best class as Keras; of taggers the mean over the clips of the tags
        in common with Keras, as a share of those that either gives.
      max_score_difference: largest difference of a score to Keras, for what computes in float32 (saved_model
        and float32); None for 1e-4, and for 1e-3 with the spectral contrast, whose valleys may be no more than the
        rounding of a Fourier transform (`of_features`).
      max_latency_ms: of one call with one window, on one thread; None sets no limit.
      max_size_kb: of the file, 1000 bytes each; None sets no limit.
      max_memory_kb: that running a file takes on a device; None sets no limit. A SavedModel's is told alone.

    A format of which a limited time, size or memory cannot be measured is withheld: who sets a limit must not get a
    file that nobody held to it.
    """

    max_accuracy_drop: float = 0.01
    min_agreement: float = 0.95
    max_score_difference: float | None = None
    max_latency_ms: float | None = None
    max_size_kb: float | None = None
    max_memory_kb: float | None = None

    def check(self) -> None:
        for name in ("max_accuracy_drop", "min_agreement", "max_score_difference"):
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit <= 1:
                raise TfaudioError(f"The gate's {name} (--{name}) must be in [0, 1], not {limit}.")
        for name in ("max_latency_ms", "max_size_kb", "max_memory_kb"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise TfaudioError(f"The gate's {name} (--{name}) must be positive, not {limit}.")

    def of_features(self, features: Collection[str]) -> GateConfig:
        """Returns the thresholds for a front end, whose features are named, with none of them left open."""
        loose = self.max_score_difference is None and "spectral_contrast" in features
        return self.replace(max_score_difference=1e-3 if loose else self.score_difference)

    @property
    def score_difference(self) -> float:
        """The largest difference of a score, of a front end that nothing is known of if it was left open."""
        return 1e-4 if self.max_score_difference is None else self.max_score_difference

    def over_budget(self, report: FormatReport, *, no_memory: str | None = None) -> Iterator[str]:
        """Says which limits on time, size and memory a format exceeds, or cannot be held to.

        Args:
          report: of the format, measured.
          no_memory: why its memory could not be measured, where that is known.
        """
        max_memory = None if report.name == SAVED_MODEL else self.max_memory_kb
        budget = (
            ("time of one call", "one call takes", "ms", report.latency_ms, self.max_latency_ms, "max_latency_ms"),
            ("size", "its size is", "kB", _kilo(report.size_bytes), self.max_size_kb, "max_size_kb"),
            ("memory", "running it takes", "kB", _kilo(report.memory_bytes), max_memory, "max_memory_kb"),
        )
        for quantity, what, unit, found, limit, name in budget:
            if limit is None:
                continue
            if found is None:
                known = no_memory if quantity == "memory" else None
                yield known or f"its {quantity} cannot be measured on this system; leave --{name} or this format out."
            elif found > limit:
                yield f"{what} {found:.4g} {unit}; {limit:g} is allowed (--{name})."


@dataclass(frozen=True, kw_only=True)
class FormatReport:
    """One format of an export.

    Args:
      name: of ALL_FORMATS.
      path: inside the output folder, or None where the file was withheld.
      problems: why it was withheld; empty where it was not.
      notes: what else to know.
      accuracy: share of clips whose best class is the target, or what else the export's `metric` says; None without
        targets.
      class_accuracy: likewise, of the clips of each class by its label; None for a class without clips.
      agreement: share of clips whose best class is that of Keras; of taggers as `GateConfig.min_agreement`.
      max_score_difference: largest absolute difference of a score to Keras.
      latency_ms: median time of one call with one window, on one thread; of "tflm" unknown, as its processor is. Of a
        SavedModel of windows, as it is served: in TensorFlow's C library, without Python.
      latency_2_threads_ms: likewise, on two; of .tflite files, of a step model's hop, and of SavedModels of windows.
      memory_bytes: that an interpreter of the file takes in a process of its own, the file included; of a SavedModel of
        windows, what its session takes beside the library; of "tflm" the estimate of its arena.
      size_bytes: of the file, or of all files of the SavedModel; of "tflm" of the model alone.
      layers: of a quantised file that the gate withheld, the error at each of its operators in their order, as
        `tfaudio.export.layer_errors` gives it.
    """

    name: str
    path: str | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    accuracy: float | None = None
    class_accuracy: dict[str, float | None] | None = None
    agreement: float | None = None
    max_score_difference: float | None = None
    latency_ms: float | None = None
    latency_2_threads_ms: float | None = None
    memory_bytes: int | None = None
    size_bytes: int | None = None
    layers: tuple[dict[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def withheld_by_gate(self) -> bool:
        """Whether the gate withheld it; False of what passed, and of what could not be made at all."""
        return not self.passed and self.agreement is not None


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export wrote, what it withheld and why.

    Args:
      output_dir: the folder.
      clips: number of windows that the gate compared.
      clips_source: "test" or "calibration".
      keras_accuracy: of the Keras model on them, None without targets.
      keras_class_accuracy: likewise, by label.
      keras_latency_ms: median time of one call of the Keras model with one window.
      formats: one report each.
      gate: the thresholds.
      calibration_clips: number of training windows that told int8's ranges.
      calibration_names: of the recordings they came from.
      details: versions, model, front end, data set, for programs.
      metric: what the accuracies here and in `formats` are: "accuracy" or, of taggers, "average_precision", where the
        accuracy of all is the mean over the classes. JSON has them under that name.
    """

    output_dir: Path
    clips: int
    clips_source: str
    keras_accuracy: float | None
    keras_class_accuracy: dict[str, float | None] | None
    keras_latency_ms: float
    formats: tuple[FormatReport, ...]
    gate: GateConfig
    calibration_clips: int
    calibration_names: tuple[str, ...]
    details: dict[str, Any]
    metric: str = "accuracy"

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
            "keras": {
                json_key("accuracy", self.metric): self.keras_accuracy,
                json_key("class_accuracy", self.metric): self.keras_class_accuracy,
                "latency_ms": self.keras_latency_ms,
            },
            "calibration": {"clips": self.calibration_clips, "names": list(self.calibration_names)},
            "formats": {
                report.name: {
                    "written": report.passed,
                    **{json_key(key, self.metric): value for key, value in asdict(report).items() if key != "name"},
                }
                for report in self.formats
            },
        }

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the table for people, its header first; cells that are not known are empty."""
        metric = heading(self.metric)
        header = ("format", "kB", "ms", "ms on 2", "memory kB", metric, "agreement", "max difference", "file")
        keras = ("keras", "", number(self.keras_latency_ms, ".2f"), "", "", number(self.keras_accuracy), "", "", "")
        rows = [
            (
                report.name,
                number(_kilo(report.size_bytes), ".0f"),
                number(report.latency_ms, ".2f"),
                number(report.latency_2_threads_ms, ".2f"),
                number(_kilo(report.memory_bytes), ".0f"),
                number(report.accuracy),
                number(report.agreement),
                number(report.max_score_difference, ".1e"),
                report.path or "withheld",
            )
            for report in self.formats
        ]
        return [header, keras, *rows]

    def to_text(self) -> str:
        """Returns a table for people, and what has to be said beside it."""
        lines = text_table(self.rows())
        source = "test clips" if self.clips_source == "test" else "calibration clips (no test data was given)"
        lines.append(f"Compared on {self.clips} {source}.")
        calibrated = [report.name for report in self.formats if report.name in CALIBRATED]
        if calibrated:
            lines.append(f"{', '.join(calibrated)}: calibrated on {self.calibration_clips} training clips.")
        lines += [f"{report.name}: {note}." for report in self.formats for note in report.notes]
        lines += [f"{report.name} was withheld: {problem}" for report in self.failed for problem in report.problems]
        return "\n".join(lines) + "\n"


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first and the last column to the left, the numbers between them to the right."""
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last + 1)]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def json_key(name: str, metric: str) -> str:
    """Returns the name under which JSON has a field of a report: its own, or of an accuracy what it is.

    Args:
      name: of the field.
      metric: see `ExportReport`.

    >>> json_key("accuracy", "average_precision"), json_key("size_bytes", "average_precision")
    ('mean_average_precision', 'size_bytes')
    """
    names = {"accuracy": "mean_average_precision", "class_accuracy": "class_average_precision"}
    return name if metric == "accuracy" else names.get(name, name)


def heading(metric: str) -> str:
    """Returns what a table calls an accuracy; see `ExportReport` for metrics."""
    return "accuracy" if metric == "accuracy" else "mAP"


def number(value: float | None, spec: str = ".4f") -> str:
    """A number for a table, or nothing where there is none."""
    return "" if value is None else format(value, spec)


def _kilo(count: int | None) -> float | None:
    return None if count is None else count / 1000
