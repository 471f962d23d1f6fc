"""An audit as people read it: findings.csv, summary.json and a page of plots."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfaudio.data.audit import KINDS, MOST_CLIPPED, Audit
from tfaudio.data.measure import CLIPPED_LEVEL, SILENCE_DB
from tfaudio.data.similarity import LEAST_COSINE, LEAST_MATCH, MOST_CANDIDATES
from tfaudio.data.spec import Clip
from tfaudio.files import write_atomically, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILES = ("findings.csv", "summary.json", "audit.png")

_COLUMNS = (
    "kind", "leak", "path", "start", "label", "part", "other_path", "other_start", "other_label", "other_part", "value",
    "detail",
)  # fmt: skip
_LONGEST_NAME = 28
_LEAK_COLOUR, _FAULT_COLOUR = "tab:red", "tab:orange"
_MOST_RATES = 5


def write_audit(folder: str | os.PathLike[str], audit: Audit) -> dict[str, Path]:
    """Writes findings.csv, summary.json and audit.png.

    Args:
      folder: made if it is missing; files of these names in it are replaced.
      audit: what to report.

    Returns:
      The paths, by file name.

    Raises:
      TfaudioError: if the folder cannot be written.
    """
    folder = Path(folder)
    return {
        "findings.csv": write_atomically(folder / "findings.csv", findings_csv(audit)),
        "summary.json": write_json(folder / "summary.json", audit_summary(audit)),
        "audit.png": write_atomically(folder / "audit.png", audit_png(audit)),
    }


def findings_csv(audit: Audit) -> str:
    """Writes one row a finding; paths are relative to the folder of the data set."""

    def cells(clip: Clip | None) -> list[Any]:
        if clip is None:
            return ["", "", "", ""]
        return [audit.spec.relative_path(clip), clip.start, clip.label_text, audit.parts[clip]]

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for found in audit.findings:
        leak = "yes" if found.leak else "no"
        writer.writerow([found.kind, leak, *cells(found.first), *cells(found.second), found.value, found.detail])
    return text.getvalue()


def audit_summary(audit: Audit) -> dict[str, Any]:
    """Returns what JSON holds: counts and quantiles; seconds, Hz, dB of full scale, shares from 0 to 1."""
    measures = list(audit.measures.values())
    kinds = Counter(found.kind for found in audit.findings)
    leaks = Counter(found.kind for found in audit.leaks)
    classes = {}
    for label in audit.spec.labels:
        clips = [clip for clip in audit.spec.clips if label in clip.labels]
        heard = [audit.measures[clip] for clip in clips if clip in audit.measures]
        counts = Counter(audit.parts[clip] for clip in clips)
        classes[label] = {
            "clips": len(clips),
            "parts": {part: counts[part] for part in audit.part_names},
            "seconds": round(sum(found.seconds for found in heard), 3),
            "silent": round(float(np.mean([found.silent for found in heard])), 4) if heard else None,
        }
    seconds = [found.seconds for found in measures]
    return {
        "dataset": audit.spec.name,
        "fingerprint": audit.spec.fingerprint(),
        "clips": len(audit.spec.clips),
        "read": len(measures),
        "rule": audit.rule,
        "parts": {part: sum(p == part for p in audit.parts.values()) for part in audit.part_names},
        "leaks": {kind: leaks[kind] for kind in KINDS if leaks[kind]},
        "findings": {kind: kinds[kind] for kind in KINDS},
        "classes": classes,
        "seconds": {**_quantiles(seconds), "total": round(sum(seconds), 3)},
        "sample_rates": {str(rate): n for rate, n in sorted(Counter(found.sample_rate for found in measures).items())},
        "peak_db": _quantiles([found.peak_db for found in measures]),
        "level_db": _quantiles([found.level_db for found in measures]),
        "silent": _quantiles([found.silent for found in measures]),
        "clipped": _quantiles([found.clipped for found in measures]),
        "thresholds": {
            "near_duplicate_match": LEAST_MATCH,
            "candidates_of_each_clip": MOST_CANDIDATES,
            "candidate_cosine": LEAST_COSINE,
            "silence_db": SILENCE_DB,
            "clipped_level": CLIPPED_LEVEL,
            "clipped_share": MOST_CLIPPED,
        },
    }


def audit_text(audit: Audit, *, most: int = 10) -> str:
    """Lays out what was found for a terminal: counts by kind, then the first `most` leaks and conflicts."""
    summary = audit_summary(audit)
    seconds = summary["seconds"]
    lines = [
        f"{audit.spec.name}: {summary['read']} of {summary['clips']} clips read, {len(audit.spec.labels)} classes, "
        f"{seconds['min']:.2f} to {seconds['max']:.2f} s (median {seconds['median']:.2f}), {seconds['total']:.0f} s "
        f"in all, {', '.join(f'{rate} Hz' for rate in summary['sample_rates'])}",
        f"parts: {', '.join(f'{part} {count}' for part, count in summary['parts'].items())} ({audit.rule})",
    ]
    for kind, count in summary["findings"].items():
        if count:
            leaks = summary["leaks"].get(kind, 0)
            lines.append(f"  {count:>6}  {kind.replace('_', ' ')}" + (f", {leaks} of them across parts" * bool(leaks)))
    if not audit.findings:
        lines.append("nothing was found that speaks against it")
    told = [found for found in audit.findings if found.leak or found.kind == "label_conflict"]
    lines += [f"{'leak' if found.leak else 'conflict'}: {found.detail}" for found in told[:most]]
    if len(told) > most:
        lines.append(f"... and {len(told) - most} more, in findings.csv")
    return "\n".join(lines)


def _quantiles(values: list[float]) -> dict[str, float]:
    return {
        name: round(float(np.quantile(values, share)), 6)
        for name, share in (("min", 0.0), ("median", 0.5), ("p95", 0.95), ("max", 1.0))
    }


def audit_png(audit: Audit) -> bytes:
    """Draws a page: clips of each class and part, lengths by sample rate, levels, silence, matches and findings.

    Returns:
      The content of a PNG file.
    """
    # The object interface, not pyplot: no window system, no global state, safe in any thread.
    from matplotlib.figure import Figure

    height = max(6.5, 1.5 + 0.17 * len(audit.spec.labels))
    figure = Figure(figsize=(15, height), dpi=110, layout="constrained")
    grid = figure.add_gridspec(2, 4, width_ratios=(1.4, 1, 1, 1))
    _draw_classes(figure.add_subplot(grid[:, 0]), audit)
    _draw_lengths(figure.add_subplot(grid[0, 1]), audit)
    _draw_levels(figure.add_subplot(grid[0, 2]), audit)
    _draw_silence(figure.add_subplot(grid[0, 3]), audit)
    _draw_matches(figure.add_subplot(grid[1, 1]), audit)
    _draw_findings(figure.add_subplot(grid[1, 2:]), audit)
    figure.suptitle(f"{audit.spec.name}: {len(audit.spec.clips)} clips ({audit.rule})", parse_math=False)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png")
    return content.getvalue()


def _draw_classes(axes: Axes, audit: Audit) -> None:
    names = list(audit.spec.labels)
    left = np.zeros(len(names))
    for part in audit.part_names:
        counts = audit.spec.class_counts([clip for clip in audit.spec.clips if audit.parts[clip] == part])
        widths = np.array([counts[name] for name in names], float)
        axes.barh(range(len(names)), widths, left=left, label=part)
        left += widths
    short = [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in names]
    # parse_math: a class called "a$b$" is a name, not a formula.
    axes.set_yticks(range(len(names)), short, fontsize=8 if len(names) <= 50 else 6, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("clips")
    axes.set_title("classes and parts", fontsize=10)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=5)  # below: bars fill the panel


def _draw_lengths(axes: Axes, audit: Audit) -> None:
    measures = audit.measures.values()
    rates = [rate for rate, _ in Counter(found.sample_rate for found in measures).most_common(_MOST_RATES)]
    groups = {f"{rate} Hz": [found.seconds for found in measures if found.sample_rate == rate] for rate in rates}
    if others := [found.seconds for found in measures if found.sample_rate not in rates]:
        groups["other rates"] = others
    axes.hist(list(groups.values()), bins=40, stacked=True, label=list(groups))
    axes.set_yscale("log")
    axes.set_xlabel("seconds")
    axes.set_title("length and sample rate", fontsize=10)
    axes.legend(fontsize=7)


def _draw_levels(axes: Axes, audit: Audit) -> None:
    measures = audit.measures.values()
    bins = list(np.linspace(-100, 10, 56))
    axes.hist(np.clip([found.level_db for found in measures], -100, 10), bins=bins, label="mean power", alpha=0.7)
    axes.hist(np.clip([found.peak_db for found in measures], -100, 10), bins=bins, label="peak", alpha=0.7)
    axes.axvline(SILENCE_DB, color="0.4", linestyle=":", label="silence")
    axes.set_xlabel("dB of full scale")
    clipped = sum(found.kind == "clipped" for found in audit.findings)
    axes.set_title(f"level ({clipped} clipped)", fontsize=10)
    axes.legend(fontsize=7)


def _draw_silence(axes: Axes, audit: Audit) -> None:
    axes.hist([found.silent for found in audit.measures.values()], bins=list(np.linspace(0, 1, 41)), color="tab:gray")
    axes.set_yscale("log")
    axes.set_xlabel(f"share of a clip below {SILENCE_DB:.0f} dB")
    axes.set_title("silence", fontsize=10)


def _draw_matches(axes: Axes, audit: Audit) -> None:
    if audit.matches:
        axes.hist(np.clip(audit.matches, 0, 1), bins=list(np.linspace(0, 1, 51)), color="tab:gray")
        axes.set_yscale("log")
    axes.axvline(LEAST_MATCH, color=_LEAK_COLOUR, linestyle=":", label="the same sound from here on")
    axes.set_xlabel("match of the waveforms")
    axes.set_title("clips that sound alike", fontsize=10)
    axes.legend(fontsize=7)


def _draw_findings(axes: Axes, audit: Audit) -> None:
    from matplotlib.ticker import MaxNLocator

    kinds = Counter(found.kind for found in audit.findings)
    leaks = Counter(found.kind for found in audit.leaks)
    axes.barh(range(len(KINDS)), [leaks[kind] for kind in KINDS], color=_LEAK_COLOUR, label="across parts")
    others = [kinds[kind] - leaks[kind] for kind in KINDS]
    axes.barh(
        range(len(KINDS)), others, left=[leaks[kind] for kind in KINDS], color=_FAULT_COLOUR, label="other findings"
    )
    for row, kind in enumerate(KINDS):
        axes.text(kinds[kind], row, f" {kinds[kind]}", va="center", fontsize=8)
    axes.set_yticks(range(len(KINDS)), [kind.replace("_", " ") for kind in KINDS], fontsize=8)
    axes.set_xlim(0, 1.1 * max([1, *kinds.values()]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()
    axes.set_title("findings", fontsize=10)
    axes.legend(fontsize=7, loc="lower right")
