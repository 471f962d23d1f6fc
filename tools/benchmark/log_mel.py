"""Log-mel spectrograms of clips in memory: tfaudio, its peers and a floor, in alternating rounds.

    python tools/benchmark/log_mel.py --peers_python=PEERS/bin/python --json=tools/benchmark/results/log_mel_io.json

README.md beside this says how to make PEERS and what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import rounds

CASES: dict[str, dict[str, Any]] = {
    "64 clips of 5 s, 1024/320/64": {
        "clips": 64, "samples": 80_000, "sample_rate": 16_000,
        "frame_length": 1024, "frame_step": 320, "fft_length": 1024, "num_mel_bins": 64,
    },
    "1,000 clips of 1 s, 400/160/40": {
        "clips": 1_000, "samples": 16_000, "sample_rate": 16_000,
        "frame_length": 400, "frame_step": 160, "fft_length": 512, "num_mel_bins": 40,
    },
}  # fmt: skip
OURS = "tfaudio, compiled"
# Run by the Python that runs this, and so with the TensorFlow and Keras that tfaudio is measured with.
HERE = (
    OURS,
    "tfaudio, not compiled",
    "tfaudio, tf.data, batch first",
    "tfaudio, tf.data, clip by clip",
    "keras.layers.MelSpectrogram",
    "floor",
    "floor, in blocks",
)
PEERS = (
    "librosa, clip by clip",
    "librosa, clip by clip, threads",
    "librosa, in batch",
    "torchaudio",
    "kapre",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers_python", default=sys.executable, help="of the environment that holds the peers")
    parser.add_argument("--rounds", type=int, default=9, help="at least 7 for a result to be kept")
    parser.add_argument("--threads", type=int, default=2, help="and cores")
    parser.add_argument("--json", type=Path, help="file to write; CSV and PNG go beside it")
    arguments = parser.parse_args()
    rounds.pin(arguments.threads)
    contestants = {**dict.fromkeys(HERE, sys.executable), **dict.fromkeys(PEERS, arguments.peers_python)}
    result = {**rounds.describe(arguments.threads, arguments.rounds), "ours": OURS, "cases": {}}
    for name, case in CASES.items():
        workers = rounds.start("log_mel_contestants", contestants, case, arguments.threads)
        entries = rounds.measure(workers, arguments.rounds)
        rows, against_ours = rounds.table(entries, case["clips"]), rounds.ratios(entries, OURS)
        rounds.print_case(name, rows, against_ours)
        result["cases"][name] = {"settings": case, "contestants": rows, "times_ours": against_ours}
    if arguments.json:
        rounds.write(result, arguments.json, "Log-mel spectrograms on two cores")


if __name__ == "__main__":
    main()
