"""What each of the means by which few recordings go further adds: one change a line, all else as in the recipe.

    nice python tools/benchmark/ablation.py --data_dir=ESC-10 --folds=1,2 --epochs=60 --output_dir=runs/ablation

trains `cnn` by the recipe of the data set on the folds, seeds and epochs given, then once for each line of LINES, and
writes tools/benchmark/results/esc10_ablation.json and, beside it, the table as Markdown. Lines that stand in
--output_dir are not trained again, and one that was stopped goes on from its last epoch; --lines takes some alone. The
table tells the difference to the line's base with its interval, and McNemar's test on the recordings of the first seed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT))

from tfaudio.evaluation.compare import compare, read_predictions
from tfaudio.files import write_atomically, write_json

# The recipe as it was when the table was made, which is why it has speeds, no masks and mixes between classes now.
BEFORE = (
    *("--set=front_end.frame_length=1024", "--set=front_end.frame_step=512", "--set=model.options={}"),
    *("--set=augment.between_class.probability=0", "--set=augment.mixup_alpha=1"),
    *("--set=augment.speed.probability=0", "--set=augment.time_masks=2", "--set=augment.frequency_masks=2"),
    "--set=augment.frequency_mask_fraction=0.2",
)
SMALL = '--set=model.options={"filters": [16, 32, 64, 96]}'


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Args:
      name: of the row, and of its folder.
      change: against its base, for people.
      arguments: of `tfaudio train`; "{root}" is the folder of all lines. Empty trains BEFORE alone.
      base: the line that it is compared with.
      model: that is trained.
      members: lines that are averaged, in place of a training.
      pretrained: method of `tfaudio pretrain` by which the weights to start from are found.
    """

    name: str
    change: str
    arguments: tuple[str, ...] = ()
    base: str = "recipe"
    model: str = "cnn"
    members: tuple[str, ...] = ()
    pretrained: bool = False


LINES = (
    Line("recipe", "the recipe, `cnn`"),
    Line("no_mixup", "without mixup", ("--set=augment.mixup_alpha=0",)),
    Line("no_masks", "without SpecAugment", ("--set=augment.time_masks=0", "--set=augment.frequency_masks=0")),
    Line("no_rotation", "without rotation in time", ("--set=augment.time_shift=0",)),
    Line("averaged", "+ averaged weights of the last quarter of the epochs", ("--set=training.swa_fraction=0.25",)),
    Line("attention", "`attention` in place of `cnn`", model="attention"),
    Line("ensemble", "mean of `cnn` and `attention`", members=("recipe", "attention")),
    Line("small", "`cnn` of a quarter of the weights", (SMALL,)),
    Line("distilled", "the same, taught by that mean", (SMALL, "--teacher={root}/ensemble"), base="small"),
    Line("pretrained", "+ pre-training on the training folds, without labels", pretrained=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="esc10")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--folds", default="all")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--pretrain_epochs", type=int, default=100)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--lines", help="names, with commas between them; all of them by default")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "esc10_ablation.json")
    arguments = parser.parse_args()
    wanted = [line.name for line in LINES] if arguments.lines is None else arguments.lines.split(",")
    if unknown := set(wanted) - {line.name for line in LINES}:
        parser.error(
            f"--lines: no line {', '.join(sorted(unknown))}; there are {', '.join(line.name for line in LINES)}"
        )
    for line in LINES:
        if line.name in wanted:
            for command in commands(line, arguments):
                run(command)
            report(arguments)


def commands(line: Line, arguments: argparse.Namespace) -> list[list[str]]:
    """Returns the commands that make a line's result, each ending with its output folder."""
    root = arguments.output_dir
    if line.members:
        return [["ensemble", *(str(root / member) for member in line.members), f"--output_dir={root / line.name}"]]
    data = [f"--dataset={arguments.dataset}", f"--data_dir={arguments.data_dir}", f"--folds={arguments.folds}", *BEFORE]
    own = [argument.format(root=root) if "{root}" in argument else argument for argument in line.arguments]
    found = []
    if line.pretrained:
        first_seed = arguments.seeds.split(",")[0]
        folder = f"{root / line.name}_weights"
        found.append(
            ["pretrain", *data, f"--model={line.model}", f"--seed={first_seed}",
             f"--epochs={arguments.pretrain_epochs}", f"--output_dir={folder}"]
        )  # fmt: skip
        own.append(f"--initial_weights={folder}")
    found.append(
        ["train", *data, f"--model={line.model}", f"--seeds={arguments.seeds}", f"--epochs={arguments.epochs}", *own,
         f"--output_dir={root / line.name}"]
    )  # fmt: skip
    return found


def run(command: list[str]) -> None:
    """Runs a command of tfaudio, goes on with one that was stopped, and leaves alone what is done.

    Raises:
      SystemExit: if the command fails, or its folder holds the result of another.
    """
    folder = Path(command[-1].removeprefix("--output_dir="))
    result = folder / "result.json"
    if result.is_file():
        words = shlex.split(json.loads(result.read_text())["command"])
        before = [word for word in words if word not in ("--resume", "--overwrite")]
        if before != ["tfaudio", *command]:
            sys.exit(
                f"{folder} holds the result of another command ({shlex.join(before)}); remove it, or name another."
            )
        return
    again = ["--overwrite" if command[0] == "ensemble" else "--resume"] if folder.exists() else []
    print(f"tfaudio {shlex.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "tfaudio", *command, *again], cwd=Path.cwd(), check=False)
    if done.returncode:
        sys.exit(f"`tfaudio {shlex.join(command)}` ended with {done.returncode}; mend that and start again.")


def rows(root: Path, seed: int) -> list[dict[str, Any]]:
    """Reads the lines that are there, each compared with its base."""
    found = []
    for line in LINES:
        file = root / line.name / "result.json"
        if not file.is_file():
            continue
        result = json.loads(file.read_text())
        row = {
            key: result[key] for key in ("accuracy", "interval", "num_clips", "seeds", "duration_seconds", "command")
        }
        row = {"name": line.name, "change": line.change, "base": line.base, **row, "folds": result["accuracy_per_fold"]}
        if line.name != line.base:
            pair = (read_predictions(root / name, seed=seed) for name in (line.base, line.name))
            comparison = compare(*pair)
            row["difference"] = comparison.difference
            row["difference_interval"] = list(comparison.interval)
            row["p_value"] = comparison.p_value
        found.append(row)
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Lays the rows out as Markdown."""
    lines = ["| | accuracy | 95 % interval | against its base | p |", "|---|---|---|---|---|"]
    for row in found:
        low, high = row["interval"]
        cells = [row["change"], f"{row['accuracy']:.1%}", f"{low:.1%} to {high:.1%}"]
        if "difference" in row:
            low, high = (100 * end for end in row["difference_interval"])
            cells += [f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})", f"{row['p_value']:.2f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def report(arguments: argparse.Namespace) -> None:
    """Writes and prints what is there so far."""
    found = rows(arguments.output_dir, int(arguments.seeds.split(",")[0]))
    names = ("dataset", "folds", "seeds", "epochs", "pretrain_epochs")
    protocol = {name: getattr(arguments, name) for name in names}
    write_json(arguments.json, {**protocol, "lines": found})
    write_atomically(arguments.json.with_suffix(".md"), table(found))
    print(table(found), flush=True)


if __name__ == "__main__":
    main()
