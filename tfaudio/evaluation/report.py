"""Results as people read them: a text table, and the confusion matrix as CSV and as a picture."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfaudio.evaluation.metrics import Metrics, wilson_interval
from tfaudio.evaluation.tagging import TagMetrics
from tfaudio.files import write_atomically, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST_NAME = 32
# Beyond this many classes a count in every cell, most of them 0, is only clutter.
_ALL_COUNTS_UP_TO = 12
# Beyond this many, a picture on which all names can be read would fill the memory.
_NAMES_UP_TO = 100


def write_report(folder: str | os.PathLike[str], metrics: Metrics | TagMetrics, *, title: str = "") -> dict[str, Path]:
    """Writes metrics.json, metrics.txt and, where a recording has one class, confusion.csv and confusion.png.

    Args:
      folder: made if it is missing; files of these names in it are replaced.
      metrics: what to report.
      title: heading of the table and of the picture.

    Returns:
      The paths, by file name.

    Raises:
      TfaudioError: if the folder cannot be written.
    """
    folder = Path(folder)
    files = {
        "metrics.json": write_json(folder / "metrics.json", metrics.to_dict()),
        "metrics.txt": write_atomically(folder / "metrics.txt", metrics_table(metrics, title=title)),
    }
    if isinstance(metrics, TagMetrics):
        for name in ("confusion.csv", "confusion.png"):  # of an earlier classifier
            (folder / name).unlink(missing_ok=True)
        return files
    return files | {
        "confusion.csv": write_atomically(folder / "confusion.csv", confusion_csv(metrics)),
        "confusion.png": write_atomically(folder / "confusion.png", confusion_png(metrics, title=title)),
    }


def metrics_table(metrics: Metrics | TagMetrics, *, title: str = "") -> str:
    """Lays out the metrics in columns of fixed width, the classes from the worst F1 to the best.

    The interval of the accuracy is Wilson's at 95 %. Rates of classes without a clip are shown as "-"; they come
    last.
    """
    lines = [title, ""] if title else []
    lines.append(f"recordings              {metrics.num_clips:>7}")
    if isinstance(metrics, TagMetrics):
        lines += [
            f"mean average precision  {metrics.mean_average_precision:>7.1%}",
            f"lwlrap                  {metrics.lwlrap:>7.1%}",
            f"macro F1                {metrics.macro_f1:>7.1%}",
            f"micro F1                {metrics.micro_f1:>7.1%}",
            "",
        ]
    else:
        low, high = wilson_interval(sum(row[i] for i, row in enumerate(metrics.confusion)), metrics.num_clips)
        lines += [
            f"accuracy                {metrics.accuracy:>7.1%}  (Wilson's 95 % interval {low:.1%} to {high:.1%})",
            f"balanced accuracy       {metrics.balanced_accuracy:>7.1%}",
            f"macro F1                {metrics.macro_f1:>7.1%}",
            f"mean average precision  {metrics.mean_average_precision:>7.1%}",
            "",
        ]
    names = {row["label"]: _shorten(row["label"]) for row in metrics.per_class}
    width = max(len("class"), *(_width(name) for name in names.values()))
    columns = {"precision": 9, "recall": 7, "f1": 7, "average_precision": 7, "support": 10}
    heads = ("precision", "recall", "F1", "AP", "recordings")
    lines.append("  ".join([_pad("class", width), *(h.rjust(w) for h, w in zip(heads, columns.values(), strict=True))]))
    worst_first = sorted(metrics.per_class, key=lambda row: (row["f1"] is None, row["f1"] or 0.0, row["label"]))
    for row in worst_first:
        cells = [
            "-" if row[key] is None else str(row[key]) if key == "support" else f"{row[key]:.1%}" for key in columns
        ]
        padded = [cell.rjust(w) for cell, w in zip(cells, columns.values(), strict=True)]
        lines.append("  ".join([_pad(names[row["label"]], width), *padded]))
    if untested := [row["label"] for row in metrics.per_class if not row["support"]]:
        lines += ["", f"without a test recording, and in no mean over classes: {', '.join(untested)}"]
    return "\n".join(lines) + "\n"


def inputs_table(by_inputs: Mapping[str, Metrics]) -> str:
    """Lays out what a model of sound and text does with both, with one of them, and with texts of other recordings.

    The intervals are Wilson's at 95 %.
    """
    lines = [f"{'given':<24}  accuracy  95 % interval   macro F1"]
    for name, found in by_inputs.items():
        low, high = wilson_interval(sum(row[i] for i, row in enumerate(found.confusion)), found.num_clips)
        interval = f"{low:.1%} to {high:.1%}"
        lines.append(f"{name.replace('_', ' '):<24}  {found.accuracy:>8.1%}  {interval:<14}  {found.macro_f1:>8.1%}")
    return "\n".join(lines) + "\n"


def confusion_csv(metrics: Metrics) -> str:
    """Writes the confusion matrix as CSV: one row a true class, one column a predicted class, counts."""
    names = [row["label"] for row in metrics.per_class]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, metrics.confusion, strict=True))
    return text.getvalue()


def confusion_png(metrics: Metrics, *, title: str = "") -> bytes:
    """Draws the confusion matrix: colour is the share of the true class, figures are counts.

    The picture grows with the number of classes, so that 50 names stay readable; above 12 classes cells that
    hold no clip carry no figure, and above 100 colours alone show the pattern. Signs that no installed font holds are
    drawn as boxes; `confusion_csv` has them, and all names and figures.

    Returns:
      The content of a PNG file.
    """
    # The object interface, not pyplot: no window system, no global state, safe in any thread.
    from matplotlib.figure import Figure

    counts = metrics.confusion
    names = [_shorten(row["label"]) for row in metrics.per_class]
    cell, font = (0.5, 10) if len(names) <= _ALL_COUNTS_UP_TO else (0.24, 7)
    readable = len(names) <= _NAMES_UP_TO
    margin = 0.9 + (max(_width(name) for name in names) * font * 0.0085 if readable else 0.0)
    side = max(2.5, min(len(names), _NAMES_UP_TO) * cell)
    figure = Figure(figsize=(side + margin + 1.2, side + margin + 0.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    shares = [[n / max(1, sum(row)) for n in row] for row in counts]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    which = "" if readable else ", by its row in confusion.csv"
    axes.set_xlabel(f"predicted class{which}")
    axes.set_ylabel(f"true class{which}")
    if title:
        axes.set_title(title, parse_math=False)
    for i, row in enumerate(counts if readable else ()):
        for j, n in enumerate(row):
            if n or len(names) <= _ALL_COUNTS_UP_TO:
                dark = shares[i][j] > 0.5
                axes.text(j, i, str(n), ha="center", va="center", fontsize=font - 1, color="white" if dark else "0.2")
    if readable:
        _name_ticks(axes, names, font)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png")
    return content.getvalue()


def _name_ticks(axes: Axes, names: list[str], font: int) -> None:
    positions = range(len(names))
    # parse_math: a class called "a$b$" is a name, not a formula.
    style: dict[str, Any] = {"fontsize": font, "parse_math": False, "fontfamily": _font_families("".join(names))}
    axes.set_xticks(positions, names, rotation=90, **style)
    axes.set_yticks(positions, names, **style)


def _font_families(text: str) -> list[str]:
    """Matplotlib's own font, followed by an installed one with Chinese, Japanese and Korean signs if they occur."""
    families = ["DejaVu Sans"]
    if any(unicodedata.east_asian_width(sign) in "WF" for sign in text):
        from matplotlib import font_manager

        installed = {font.name for font in font_manager.fontManager.ttflist}
        families += sorted(name for name in installed if "CJK" in name or name in ("Hiragino Sans", "MS Gothic"))[:1]
    return families


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese and Japanese signs take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
