"""Recordings and settings with which a training takes a second or two."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 8_000
TONES = {"low": 300.0, "middle": 900.0, "high": 2_700.0}
# A network that sees the mean of each band, which is what tells tones apart.
_SMALL = [
    *("--dataset=manifest", "--epochs=1", "--clip_seconds=0.25", "--batch_size=4", f"--sample_rate={RATE}"),
    *("--set=front_end.frame_length=256", "--set=front_end.fft_length=256", "--set=front_end.frame_step=128"),
    *("--set=augment.mixup_alpha=0", "--model=dense", "--set=front_end.feature=mel", "--set=front_end.num_mel_bins=16"),
    "--set=model.options.dropout=0.0",
]


@pytest.fixture(scope="session")
def tone_flags() -> list[str]:
    """Flags of `tfaudio train` for the tones, but for where they lie and where to write."""
    return list(_SMALL)


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tones in noise by two speakers, twelve clips each, in three folds; some of fold 2 are misnamed."""
    root = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 4) / RATE
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "fold", "group"])
        names = list(TONES)
        for label, hertz in TONES.items():
            for number in range(12):
                said = names[names.index(label) - 1] if number in (4, 10) else label
                tone = 0.3 * np.sin(2 * np.pi * hertz * time * rng.uniform(0.95, 1.05) + rng.uniform(0, 6))
                soundfile.write(root / f"{label}{number}.wav", tone + 0.02 * rng.standard_normal(len(time)), RATE)
                writer.writerow([f"{label}{number}.wav", said, number % 3 + 1, ("ann", "bob")[number // 6]])
    return root / "clips.csv"
