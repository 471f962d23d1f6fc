"""`tfaudio compare`: is one run better than another, on the same recordings?"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from tfaudio.cli import UsageError
from tfaudio.files import check_can_write, write_json

USAGE = """tfaudio compare A B [--seed=SEED] [--json=FILE]

Compares what two runs said of the same test recordings: how often each alone is right, McNemar's exact test, and the
difference of their accuracies with its interval; of runs that give several labels, the difference of their mean average
precisions with its interval. A and B are run folders, those of cross-validations, folders that
`tfaudio evaluate --report_dir` wrote, or CSV files with the columns path,label,predicted.

  tfaudio compare runs/esc10_cnn runs/esc10_attention
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    flags.DEFINE_integer("seed", None, "Of folders with several seeds, the one to take.", flag_values=flag_values)
    flags.DEFINE_string("json", None, "Write the figures here as JSON.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace a file that stands.", flag_values=flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Compares and reports."""
    if len(arguments) != 2:
        raise UsageError(f"Name two results to compare, not {len(arguments)}.")
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)
    from tfaudio.evaluation import compare
    from tfaudio.evaluation.protocol import caveats_text

    paths, seed = [Path(name) for name in arguments], flag_values.seed
    compare.check_same_test(*paths)
    comparison: compare.Comparison | compare.TagComparison
    if any(compare.gives_tags(path, seed=seed) for path in paths):
        comparison = compare.compare_tags(*(compare.read_tags(path, seed=seed) for path in paths))
    else:
        comparison = compare.compare(*(compare.read_predictions(path, seed=seed) for path in paths))
    print(comparison.to_text(*arguments), end="")
    known = dict(zip("ab", (compare.caveats_of(path) for path in paths), strict=True))
    for name, against in known.items():
        if against:
            print(f"{name.upper()} is {caveats_text(against)}", end="")
    if flag_values.json:
        record = {"a": arguments[0], "b": arguments[1], **comparison.to_dict()}
        write_json(flag_values.json, {**record, **{f"caveats_{name}": found for name, found in known.items() if found}})
    return 0
