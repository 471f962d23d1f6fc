"""What augmentation costs: the training pipeline with it and without, in rounds of alternating order.

    python tools/benchmark/augmentation.py --dataset=esc10 --data_dir=esc10 [--set=augment.reverb.probability=0.2 ...]

prints JSON (and writes it with --json), for waveforms held in memory and for an epoch that decodes anew: examples a
second with the recipe's augmentation and without, medians over the rounds, and the cost, as a share of the throughput
without. The cost in processor time is told too: it is the steadier figure where other programs take part of the
machine, as are many short rounds (--rounds=41 --examples=256).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tensorflow as tf

from tfaudio.config import AugmentConfig, Config, RunConfig
from tfaudio.data.labelled import read_labelled_data
from tfaudio.data.pipeline import Pipeline
from tfaudio.data.recordings import parallel_calls
from tfaudio.recipes import recipe

# All that an augmentation can be asked to do, off.
_OFF = {
    **{
        f"augment.{name}": 0
        for name in ("time_shift", "polarity_probability", "gain_db", "noise_probability", "mixup_alpha")
    },
    **{f"augment.{name}": 0 for name in ("time_masks", "frequency_masks", "time_warp", "frequency_shift")},
    **{
        f"augment.{name}.probability": 0.0 for name, value in vars(AugmentConfig()).items() if isinstance(value, Config)
    },
}
_GIGABYTES = {"in_memory": 4.0, "decoding": 0.0}  # data.memory_gigabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="esc10")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--examples", type=int, default=768, help="timed in each round")
    parser.add_argument("--only", choices=list(_GIGABYTES), help="one of the two")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--set", action="append", default=[], help="as of `tfaudio train`, where augmentation is on")
    arguments = parser.parse_args()
    chosen = {key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.set)}
    config = RunConfig().override(
        {
            **recipe(arguments.dataset, "cnn"),
            "data.dataset": arguments.dataset,
            "data.data_dir": arguments.data_dir,
            "training.epochs": 1_000_000,  # the same data set serves all rounds
        }
    )
    result: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "dataset": arguments.dataset,
        "set": chosen,
        "rounds": arguments.rounds,
        "examples_per_round": arguments.examples,
        "tensorflow": tf.__version__,
        "processors": len(os.sched_getaffinity(0)),
    }
    for name, gigabytes in _GIGABYTES.items():
        if arguments.only not in (None, name):
            continue
        result[name] = measure(config.override({"data.memory_gigabytes": gigabytes}), chosen, arguments)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", "utf-8")


def measure(config: RunConfig, chosen: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Times a pipeline with and without augmentation, in turns."""
    data = read_labelled_data(config, progress=False)
    targets, indices = data.targets(data.spec.labels), np.arange(len(data.recordings.clips))
    steps = arguments.examples // config.training.batch_size
    # What is begun at once, and finished batches that wait: until they are through, nothing is steady.
    untimed = 2 * parallel_calls(config.data) + 4
    datasets = {}
    for name, changes in (("with", chosen), ("without", _OFF)):
        pipeline = Pipeline(data.recordings, targets, len(data.spec.labels), config.override(changes))
        datasets[name] = pipeline.training(indices)
    wall: dict[str, list[float]] = {name: [] for name in datasets}
    processor: dict[str, list[float]] = {name: [] for name in datasets}
    for number in range(arguments.rounds):
        for name in sorted(datasets, reverse=bool(number % 2)):
            seconds, busy = time_of(datasets[name], untimed, steps)
            wall[name].append(seconds)
            processor[name].append(busy)
    examples = steps * config.training.batch_size
    return {
        "augment": config.override(chosen).augment.to_dict(),
        **{f"examples_per_second_{name}": round(examples / statistics.median(t), 1) for name, t in wall.items()},
        "cost": cost(wall),
        "cost_in_processor_time": cost(processor),
        "cost_of_each_round": [round(1 - b / a, 3) for a, b in zip(wall["with"], wall["without"], strict=True)],
    }


def cost(seconds: dict[str, list[float]]) -> float:
    """The share of the throughput that augmentation takes: median over the rounds."""
    ratios = [without / with_ for with_, without in zip(seconds["with"], seconds["without"], strict=True)]
    return round(1 - statistics.median(ratios), 3)


def time_of(dataset: tf.data.Dataset, untimed: int, steps: int) -> tuple[float, float]:
    """Returns the seconds, and the processor's seconds, that `steps` batches take after some that are not timed.

    The pipeline is begun for them and ended after: one that waits would fill its buffers in the other's time.
    """
    batches = iter(dataset)
    for _ in range(untimed):
        next(batches)
    begin, busy = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    return time.perf_counter() - begin, time.process_time() - busy


if __name__ == "__main__":
    main()
