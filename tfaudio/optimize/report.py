"""What optimising a run came to: one table, for people and for programs."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.export.report import GateConfig, heading, json_key, number, text_table
from tfaudio.optimize.settings import CONTROL, OptimizeConfig

REPORT, PAGE = "report.json", "report.md"
REPORT_VERSION = 1
RUN = "run"  # row of the run as it was


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file of the table.

    Args:
      model: "run", "control" or a method.
      format: "float32" or "int8".
      accuracy: share of the test windows whose best class is the target, or what else the report's `metric` says; None
        where the file could not be made.
      size_bytes: of the file.
      gzip_bytes: of the file, compressed: what pruning and clustering are for.
      latency_ms: median time of one call, on one thread.
      zero_weights: share of the weights of convolutions and dense layers that are zero.
      distinct_weights: the largest number of distinct weights in one such layer.
      path: inside the output folder; None where it was not to be kept, or the gate withheld it.
    """

    model: str
    format: str
    accuracy: float | None = None
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    latency_ms: float | None = None
    zero_weights: float
    distinct_weights: int
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class OptimizeReport:
    """What was trained, what was written, what was withheld and why.

    Args:
      output_dir: the folder.
      rows: the files.
      clips: number of test windows.
      config: how it was trained.
      gate: the thresholds.
      metric: what accuracies are, as in `ExportReport`.
      problems: by method, why its files were withheld; methods that passed are left out.
      notes: what else to know.
      details: versions, model, data set, for programs.
    """

    output_dir: Path
    rows: tuple[Row, ...]
    clips: int
    config: OptimizeConfig
    gate: GateConfig
    metric: str = "accuracy"
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def row(self, model: str, format: str) -> Row:
        """Returns the row of a file."""
        return next(row for row in self.rows if (row.model, row.format) == (model, format))

    def to_dict(self) -> dict[str, Any]:
        """Returns what report.json holds."""
        return {
            "format": REPORT_VERSION,
            **self.details,
            "settings": self.config.to_dict(),
            "gate": {**self.gate.to_dict(), "clips": self.clips, "passed": not self.problems},
            "problems": {name: list(problems) for name, problems in self.problems.items()},
            "notes": list(self.notes),
            "rows": [{json_key(key, self.metric): value for key, value in asdict(row).items()} for row in self.rows],
        }

    def to_text(self) -> str:
        """Returns the table for a terminal, and what has to be said beside it."""
        return "\n".join([*text_table(self._table()), *self._remarks()]) + "\n"

    def to_markdown(self) -> str:
        """Returns the same as a page."""
        header, *rows = self._table()
        lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
        return "\n".join([f"# {self.details['model']}, optimised", "", *lines, "", *self._remarks("- ")]) + "\n"

    def _table(self) -> list[tuple[str, ...]]:
        header = ("model", "format", heading(self.metric), "kB", "gzip kB", "ms", "zeros", "distinct", "file")
        return [header, *(self._cells(row) for row in self.rows)]

    def _cells(self, row: Row) -> tuple[str, ...]:
        return (
            row.model,
            row.format,
            number(row.accuracy),
            number(None if row.size_bytes is None else row.size_bytes / 1000, ".1f"),
            number(None if row.gzip_bytes is None else row.gzip_bytes / 1000, ".1f"),
            number(row.latency_ms, ".3f"),
            f"{row.zero_weights:.0%}",
            str(row.distinct_weights),
            row.path or ("withheld" if row.model in self.problems else "not kept"),
        )

    def _scored(self) -> str:
        if self.metric == "accuracy":
            return f"Accuracy on {self.clips} test windows, one of which is {1 / self.clips:.4f}"
        return f"mAP: mean average precision of the classes on {self.clips} test windows"

    def _remarks(self, mark: str = "") -> list[str]:
        epochs = f"{self.config.epochs} more epoch{'s' if self.config.epochs > 1 else ''}"
        remarks = [
            f"{RUN}: the run as it was; {CONTROL}: after {epochs} of plain training at the same learning rate and on "
            "the same batches as each method.",
            f"{self._scored()}; weights are those after the last epoch, and nothing was chosen by this figure.",
            "zeros: share of the weights of convolutions and dense layers; distinct: most values in one such layer.",
            *(f"{note}." for note in self.notes),
            *(
                f"{name} was withheld: {problem.rstrip('.')}."
                for name, problems in self.problems.items()
                for problem in problems
            ),
        ]
        return [mark + remark for remark in remarks]


def gzip_size(content: bytes) -> int:
    """Returns the bytes that a file takes on its way over the network, or in an archive of an app."""
    return len(gzip.compress(content, compresslevel=9, mtime=0))


def weight_statistics(kernels: Sequence[npt.NDArray[np.float32]]) -> tuple[float, int]:
    """Returns the share of zeros in all kernels, and the largest number of distinct values in one.

    >>> weight_statistics([np.array([0.0, 0.0, 1.0]), np.array([2.0])])
    (0.5, 2)
    """
    zeros = sum(int(np.count_nonzero(kernel == 0)) for kernel in kernels)
    return zeros / sum(kernel.size for kernel in kernels), max(len(np.unique(kernel)) for kernel in kernels)
