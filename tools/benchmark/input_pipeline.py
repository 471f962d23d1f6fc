"""Files to batches of log-mel spectrograms: tfaudio's pipeline, its peers and decoding alone, in alternating rounds.

    python tools/benchmark/input_pipeline.py --data_dir=../shared/data --peers_python=PEERS/bin/python \
        --json=tools/benchmark/results/input_pipeline_io.json

DATA_DIR holds esc10/ (Ogg Vorbis, 44.1 kHz, 5 s) and fsdd/ (WAV, 8 kHz, half a second); FLAC and MP3 are made of the
former. README.md beside this says how to make PEERS and what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import rounds
import soundfile

OURS = "tfaudio"
HERE = (OURS, "floor, soundfile in threads", "floor, soundfile in processes", "floor, operators in tf.data")
PEERS = ("librosa, process pool", "torchaudio, DataLoader", "torchaudio, DataLoader, 64 zeros")
SETTINGS: dict[str, Any] = {
    "sample_rate": 16_000, "frame_length": 1024, "frame_step": 512, "fft_length": 1024, "num_mel_bins": 64,
}  # fmt: skip


def make_files(data_dir: Path, folder: Path, clips: int) -> dict[str, dict[str, Any]]:
    """Finds the files of each case, and makes those of other formats."""
    ogg = _spread(sorted((data_dir / "esc10" / "audio").glob("*.ogg")), clips)
    wav = _spread(sorted((data_dir / "fsdd" / "recordings").glob("*.wav")), clips * 15 // 2)
    if not ogg or not wav:
        sys.exit(f"--data_dir={data_dir} holds no esc10/audio/*.ogg or no fsdd/recordings/*.wav.")
    cases = {"Ogg Vorbis, 44.1 kHz, 5 s": (ogg, 5.0), "WAV, 8 kHz, 0.4 s": (wav, 1.0)}
    for suffix in ("flac", "mp3"):
        made = [folder / f"{file.stem}.{suffix}" for file in ogg]
        for source, target in zip(ogg, made, strict=True):
            samples, rate = soundfile.read(source)
            soundfile.write(target, samples, rate)
        cases[f"{suffix.upper()}, 44.1 kHz, 5 s"] = (made, 5.0)
    return {
        name: {**SETTINGS, "files": [str(file.resolve()) for file in files], "clip_seconds": seconds}
        for name, (files, seconds) in cases.items()
    }


def _spread(files: list[Path], count: int) -> list[Path]:
    """As many files from all over the list, so that all classes are there."""
    return files[:: max(1, len(files) // count)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--peers_python", default=sys.executable, help="of the environment that holds the peers")
    parser.add_argument("--clips", type=int, default=400, help="of ESC-10; seven and a half times as many of FSDD")
    parser.add_argument("--rounds", type=int, default=7, help="at least 7 for a result to be kept")
    parser.add_argument("--threads", type=int, default=2, help="and cores")
    parser.add_argument("--json", type=Path, help="file to write; CSV and PNG go beside it")
    arguments = parser.parse_args()
    rounds.pin(arguments.threads)
    contestants = {**dict.fromkeys(HERE, sys.executable), **dict.fromkeys(PEERS, arguments.peers_python)}
    result = {**rounds.describe(arguments.threads, arguments.rounds), "ours": OURS, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in make_files(arguments.data_dir, Path(folder), arguments.clips).items():
            workers = rounds.start("input_pipeline_contestants", contestants, case, arguments.threads)
            entries = rounds.measure(workers, arguments.rounds)
            rows, against_ours = rounds.table(entries, len(case["files"])), rounds.ratios(entries, OURS)
            rounds.print_case(name, rows, against_ours)
            floor = min((e for e in entries if e.name.startswith("floor") and not e.problem), key=lambda e: e.median)
            share = against_ours.get(floor.name, {}).get("of_medians", 0.0)
            print(f"tfaudio reaches {share:.0%} of the fastest decoding alone ({floor.name.removeprefix('floor, ')})")
            settings = {**{k: v for k, v in case.items() if k != "files"}, "clips": len(case["files"])}
            result["cases"][name] = {
                "settings": settings,
                "contestants": rows,
                "times_ours": against_ours,
                "fastest_floor": floor.name,
                "share_of_floor": share,
            }
    if arguments.json:
        rounds.write(result, arguments.json, "Files to log-mel spectrograms on two cores")


if __name__ == "__main__":
    main()
