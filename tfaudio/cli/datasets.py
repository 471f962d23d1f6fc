"""`tfaudio datasets`: what is known, and what a data set on disk holds."""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags

from tfaudio.cli import UsageError, refuse_arguments

USAGE = """tfaudio datasets [--dataset=NAME --data_dir=DIR] [--json]

Without flags, lists the data sets that `tfaudio train` can name. With --dataset, reads one and counts its recordings,
classes, folds and groups, and lists the files that are left out; it looks at names and sizes only, and what cannot be
decoded is found by `tfaudio train`. With --dataset=synthetic --output_dir=DIR, builds the synthetic set there.

  tfaudio datasets --dataset=folder --data_dir=birds
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("dataset", None, "Data set to look at.", flag_values=flag_values)
    flags.DEFINE_string("data_dir", None, "Where it lies.", flag_values=flag_values)
    flags.DEFINE_string("output_dir", None, "Where to build the synthetic set.", flag_values=flag_values)
    flags.DEFINE_boolean("json", False, "Print JSON.", flag_values=flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Lists, shows or builds."""
    refuse_arguments(arguments)
    from tfaudio.config import DataConfig
    from tfaudio.data.catalog import DATASETS, read_dataset
    from tfaudio.data.synthetic import write_synthetic

    if flag_values.output_dir:
        if flag_values.dataset != "synthetic":
            raise UsageError("--output_dir goes with --dataset=synthetic, the only set that can be built.")
        write_synthetic(Path(flag_values.output_dir))
        print(f"built the synthetic data set in {flag_values.output_dir}")
        return 0
    if not flag_values.dataset:
        entries = [DATASETS[name] for name in DATASETS]
        if flag_values.json:
            print(json.dumps([{"name": e.name, "description": e.description, "licence": e.licence} for e in entries]))
            return 0
        for entry in entries:
            print(f"{entry.name:<10} {entry.description}" + (f" [{entry.licence}]" if entry.licence else ""))
        return 0
    spec = read_dataset(DataConfig(dataset=flag_values.dataset, data_dir=flag_values.data_dir))
    counts = spec.class_counts()
    summary = {
        "name": spec.name,
        "recordings": len(spec.clips),
        "classes": counts,
        "folds": list(spec.folds),
        "groups": len({clip.group for clip in spec.clips if clip.group is not None}),
        "official_split": spec.has_official_split,
        "fingerprint": spec.fingerprint(),
        "skipped": [{"path": s.path, "reason": s.reason} for s in spec.skipped],
    }
    if flag_values.json:
        print(json.dumps(summary, ensure_ascii=False))
        return 0
    print(f"{spec.name}: {len(spec.clips)} recordings, {len(counts)} classes, {summary['groups']} groups")
    if spec.folds:
        print(f"official folds: {', '.join(map(str, spec.folds))}")
    for name, count in counts.items():
        print(f"  {count:>6}  {name}")
    for skipped in spec.skipped:
        print(f"left out: {skipped.path}: {skipped.reason}")
    return 0
