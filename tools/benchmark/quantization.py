"""What eight bits cost each registered model: trained on a data set, exported, scored on its test recordings.

    python tools/benchmark/quantization.py --dataset=esc10 --data_dir=../shared/data/esc10 --epochs=30 \
        --work_dir=runs/int8_esc10 --json=tools/benchmark/results/esc10_int8.json

Every model goes through `tfaudio train` (all official folds, where there are any) and `tfaudio export
--formats=int8`, with the recipe's settings but for --epochs and --set: figures are of the step from float to int8, and
no model's best. The file is written after each model, and models that it holds already are passed over; so several
may run at a time, with --models each.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tfaudio.config import DataConfig
from tfaudio.data.catalog import read_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--models", default="", help="separated by commas; by default all that are registered")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work_dir", type=Path, required=True, help="for runs and exports; each is removed after use")
    parser.add_argument("--json", type=Path, required=True, help="file to write, and to go on from")
    arguments = parser.parse_args()
    result = _begin(arguments)
    failed = []
    for model in arguments.models.split(",") if arguments.models else _registered():
        if model in result["models"]:
            continue
        row = _measure(model, arguments)
        if row is None:
            failed.append(model)
            continue
        result = _begin(arguments)  # anew: another process may have measured other models meanwhile
        result["models"][model] = row
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        cost = (
            " ".join(row["refused"])
            if row["int8"] is None
            else f"int8 {row['int8']:.4f}  {100 * (row['int8'] - row['float']):+.2f} points  ({row['num_clips']} clips)"
        )
        print(f"{model:<16} float {row['float']:.4f}  {cost}", flush=True)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def _registered() -> list[str]:
    from tfaudio.models import MODELS  # imports TensorFlow

    return sorted(MODELS)


def _begin(arguments: argparse.Namespace) -> dict[str, Any]:
    protocol = {
        **{"dataset": arguments.dataset, "epochs": arguments.epochs},
        **{"settings": arguments.set, "seeds": [arguments.seed]},
    }
    if not arguments.json.exists():
        return {**protocol, "command": shlex.join(["python", *sys.argv]), "models": {}}
    result: dict[str, Any] = json.loads(arguments.json.read_text("utf-8"))
    if {key: result.get(key) for key in protocol} != protocol:
        sys.exit(f"{arguments.json} was measured with other settings; name another file, or remove it.")
    return result


def _measure(model: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Trains and exports one model; None if a command failed, which has said why."""
    run, export = arguments.work_dir / model, arguments.work_dir / f"{model}_export"
    report = arguments.work_dir / f"{model}.json"
    data = [f"--dataset={arguments.dataset}", f"--data_dir={arguments.data_dir}"]
    has_folds = bool(read_dataset(DataConfig(dataset=arguments.dataset, data_dir=arguments.data_dir)).folds)
    train = ["train", *data, f"--model={model}", f"--seed={arguments.seed}", f"--output_dir={run}", "--overwrite"]
    settings = (f"training.epochs={arguments.epochs}", *arguments.set)
    train += [*(f"--set={setting}" for setting in settings), *["--folds=all"] * has_folds]
    started = time.monotonic()
    if not _run(train):
        return None
    seconds = time.monotonic() - started
    # Nothing is withheld: the figure is wanted however it turns out.
    gate = ["--max_accuracy_drop=1", "--min_agreement=0"]
    folders = [f"--run_dir={run}", f"--output_dir={export}", f"--json={report}", "--overwrite"]
    report.unlink(missing_ok=True)
    exported = _run(["export", *folders, "--formats=int8", *gate])
    if not report.is_file():
        return None
    found = json.loads(report.read_text("utf-8"))
    refusals = {why for of_run in found["reports"].values() for why in of_run["formats"]["int8"]["problems"]}
    if not exported and not refusals:
        return None
    for folder in (run, export):
        shutil.rmtree(folder)
    return {
        "float": found["accuracy_by_format"]["keras"],
        "int8": found["accuracy_by_format"].get("int8"),
        **({"refused": sorted(refusals)} if refusals else {}),
        **{key: found[key] for key in ("num_clips", "num_windows") if key in found},
        "protocol": found["protocol"],
        "train_seconds": round(seconds),
    }


def _run(command: list[str]) -> bool:
    print("tfaudio " + " ".join(command), file=sys.stderr, flush=True)
    return (
        subprocess.run([sys.executable, "-m", "tfaudio", *command], stdout=subprocess.DEVNULL, check=False).returncode
        == 0
    )


if __name__ == "__main__":
    main()
