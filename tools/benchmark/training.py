"""An epoch of `cnn` on one fold of ESC-10 (320 clips): Keras' fit and the same network in PyTorch, in turn.

    python tools/benchmark/training.py --peers_python=PEERS/bin/python \
        --json=tools/benchmark/results/training_io.json

README.md beside this says how to make PEERS and what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import rounds

OURS = "tfaudio, fit"
PEERS = ("PyTorch", "PyTorch, channels last")
# Log-mel spectrograms of 5 s at 16 kHz, a frame every 32 ms.
CASE: dict[str, Any] = {"clips": 320, "frames": 157, "bins": 64, "classes": 10, "batch": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers_python", default=sys.executable, help="of the environment that holds PyTorch")
    parser.add_argument("--rounds", type=int, default=11, help="epochs of each")
    parser.add_argument("--threads", type=int, default=2, help="and cores")
    parser.add_argument("--json", type=Path, help="file to write; CSV and PNG go beside it")
    arguments = parser.parse_args()
    rounds.pin(arguments.threads)
    result = {**rounds.describe(arguments.threads, arguments.rounds), "ours": OURS}
    contestants = {OURS: sys.executable, **dict.fromkeys(PEERS, arguments.peers_python)}
    workers = rounds.start("training_contestants", contestants, CASE, arguments.threads)
    entries = rounds.measure(workers, arguments.rounds)
    rows, against_ours = rounds.table(entries, CASE["clips"]), rounds.ratios(entries, OURS)
    title = "An epoch of cnn, 320 clips of 157 x 64"
    rounds.print_case(title, rows, against_ours)
    result["cases"] = {title: {"settings": CASE, "contestants": rows, "times_ours": against_ours}}
    if arguments.json:
        rounds.write(result, arguments.json, "Training on two cores")


if __name__ == "__main__":
    main()
