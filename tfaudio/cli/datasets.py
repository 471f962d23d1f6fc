"""`tfaudio datasets`: what is known, what a data set on disk holds, fetching one, and what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from absl import flags

from tfaudio.cli import UsageError, refuse_arguments
from tfaudio.files import make_writable_folder, refuse_existing

USAGE = """tfaudio datasets [fetch NAME | audit] [--dataset=NAME --data_dir=DIR] [--output_dir=DIR] [flags]

Without flags, lists the data sets that `tfaudio train` can name. With --dataset, reads one and counts its recordings,
classes, folds and groups, and lists the files that are left out; it looks at names, tables and sizes only. With
--dataset=synthetic (or synthetic_tags) --output_dir=DIR, builds that set there.

`fetch NAME` downloads a published set into --output_dir, checks it against its checksum and unpacks it; called again
after a broken connection, it goes on. Sets that cannot be fetched so are told with their home page. Read the licence.

`audit` listens to every clip and writes findings.csv, summary.json and audit.png into --output_dir: sounds that occur
twice, as they are or changed a little; groups and sounds on both sides of the split; one sound under two labels; rare
classes; clips that are silent, clipped, of odd length or unreadable. With --strict, the exit code is 1 if something of
one part of the split is found in another.

  tfaudio datasets --dataset=folder --data_dir=birds
  tfaudio datasets fetch speech_commands_v2 --output_dir=speech_commands
  tfaudio datasets audit --dataset=folder --data_dir=birds --output_dir=birds_audit
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("dataset", None, "Data set to look at.", flag_values=flag_values)
    flags.DEFINE_string("data_dir", None, "Where it lies.", flag_values=flag_values)
    flags.DEFINE_string(
        "output_dir",
        None,
        "Where to put what is fetched, what the audit finds, or the synthetic set.",
        flag_values=flag_values,
    )
    flags.DEFINE_boolean("json", False, "Print JSON.", flag_values=flag_values)
    flags.DEFINE_boolean("strict", False, "With audit, fail if a leak is found.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "With audit, replace its files in --output_dir.", flag_values=flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Lists, shows, builds, fetches or audits."""
    action, *rest = arguments or [""]
    if action not in ("", "fetch", "audit"):
        raise UsageError(f"Unexpected argument '{action}'; it can be fetch or audit, or nothing.")
    if action != "audit" and flag_values.strict:
        raise UsageError("--strict goes with audit.")
    if action != "audit" and flag_values.overwrite:
        raise UsageError("--overwrite goes with audit.")
    if action and not flag_values.output_dir:
        raise UsageError(f"{action} needs --output_dir, the folder to write into.")
    if action == "fetch":
        return _fetch(flag_values, rest)
    refuse_arguments(rest)
    if action == "audit":
        return _audit(flag_values)
    if flag_values.data_dir and (flag_values.output_dir or not flag_values.dataset):
        raise UsageError("--data_dir goes with audit, or with the --dataset that lies there.")
    if flag_values.output_dir:
        if flag_values.json:
            raise UsageError("--json goes with audit, or with what is listed.")
        return _build(flag_values)
    return _show(flag_values) if flag_values.dataset else _list(flag_values)


def _fetch(flag_values: flags.FlagValues, names: list[str]) -> int:
    from tfaudio.config import DataConfig
    from tfaudio.data.catalog import DATASETS, read_dataset
    from tfaudio.data.fetch import fetch_dataset

    if len(names) != 1 or flag_values.dataset or flag_values.data_dir or flag_values.json:
        raise UsageError("fetch takes the name of one data set and --output_dir: `fetch NAME --output_dir=DIR`.")
    entry = DATASETS[names[0]]
    folder = fetch_dataset(entry, flag_values.output_dir)
    spec = read_dataset(DataConfig(dataset=entry.name, data_dir=str(folder)))
    print(f"fetched {entry.name} into {folder}: {len(spec.clips)} recordings, {len(spec.labels)} classes")
    print(f"licence: {entry.licence}; {entry.url}")
    print(f"use it with --dataset={entry.name} --data_dir={folder}")
    return 0


def _audit(flag_values: flags.FlagValues) -> int:
    from tfaudio.config import DataConfig
    from tfaudio.data.audit import audit_dataset
    from tfaudio.data.audit_report import FILES, audit_summary, audit_text, write_audit
    from tfaudio.data.catalog import read_dataset

    if not flag_values.dataset:
        raise UsageError("audit needs --dataset, and --data_dir for all but the built-in one.")
    folder = Path(flag_values.output_dir)
    for name in FILES:
        refuse_existing(folder / name, overwrite=flag_values.overwrite)
    spec = read_dataset(DataConfig(dataset=flag_values.dataset, data_dir=flag_values.data_dir))
    make_writable_folder(folder)
    audit = audit_dataset(spec)
    paths = write_audit(folder, audit)
    if flag_values.json:
        print(json.dumps(audit_summary(audit), ensure_ascii=False))
    else:
        print(audit_text(audit))
        print(f"wrote {', '.join(map(str, paths.values()))}")
    return 1 if flag_values.strict and audit.leaks else 0


def _build(flag_values: flags.FlagValues) -> int:
    from tfaudio.data.synthetic import write_synthetic, write_synthetic_tags

    writers: dict[str, Callable[[Path], Path]] = {"synthetic": write_synthetic, "synthetic_tags": write_synthetic_tags}
    if flag_values.dataset not in writers:
        raise UsageError(
            "--output_dir goes with fetch, audit, or --dataset=synthetic or synthetic_tags, which alone can be built."
        )
    writers[flag_values.dataset](Path(flag_values.output_dir))
    print(f"built the {flag_values.dataset} data set in {flag_values.output_dir}")
    return 0


def _list(flag_values: flags.FlagValues) -> int:
    from tfaudio.data.catalog import DATASETS

    entries = [DATASETS[name] for name in DATASETS]
    if flag_values.json:
        fields = ("name", "description", "licence", "task", "url", "citation", "by_hand")
        print(json.dumps([{f: getattr(e, f) for f in fields} | {"fetched": bool(e.archives)} for e in entries]))
        return 0
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        print(f"{entry.name:<{width}}  {entry.description} [{entry.licence}]")
        if entry.url:
            way = f"`tfaudio datasets fetch {entry.name}`" if entry.archives else entry.by_hand
            print(f"{'':<{width}}  {entry.url}: {way}")
    return 0


def _show(flag_values: flags.FlagValues) -> int:
    from tfaudio.config import DataConfig
    from tfaudio.data.catalog import read_dataset

    spec = read_dataset(DataConfig(dataset=flag_values.dataset, data_dir=flag_values.data_dir))
    counts = spec.class_counts()
    summary = {
        "name": spec.name,
        "recordings": len(spec.clips),
        "classes": counts,
        "folds": list(spec.folds),
        "groups": len({clip.group for clip in spec.clips if clip.group is not None}),
        "official_split": spec.has_official_split,
        "multi_label": spec.multi_label,
        "fingerprint": spec.fingerprint(),
        "skipped": [{"path": s.path, "reason": s.reason} for s in spec.skipped],
    }
    if flag_values.json:
        print(json.dumps(summary, ensure_ascii=False))
        return 0
    print(f"{spec.name}: {len(spec.clips)} recordings, {len(counts)} classes, {summary['groups']} groups")
    if spec.folds:
        print(f"official folds: {', '.join(map(str, spec.folds))}")
    if spec.multi_label:
        print(f"several classes a recording: {sum(counts.values()) / len(spec.clips):.2f} on the average")
    for name, count in counts.items():
        print(f"  {count:>6}  {name}")
    for skipped in spec.skipped:
        print(f"left out: {skipped.path}: {skipped.reason}")
    return 0
