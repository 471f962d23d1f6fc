"""Makes the picture in the README: `python tools/overview_picture.py --run_dir=RUN --export_dir=OUT`.

RUN is a run of the attention model on the synthetic data, OUT its export.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from matplotlib.figure import Figure

from tfaudio.bundle import load_bundle
from tfaudio.data.synthetic import make_sound
from tfaudio.explain.attention import attend
from tfaudio.features.front_end import compute_features
from tfaudio.files import write_atomically
from tfaudio.runtime import Classifier

PICTURE = Path(__file__).parent / "pictures" / "overview.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run_dir", required=True)
    parser.add_argument("--export_dir", type=Path, required=True)
    arguments = parser.parse_args()
    run = load_bundle(arguments.run_dir)
    front_end = run.config.front_end
    sound = make_sound("plucked_string", seed=1, index=4, sample_rate=front_end.sample_rate)
    seconds = len(sound) / front_end.sample_rate
    attention = attend(run, sound[np.newaxis])
    features = compute_features(sound, front_end).numpy()

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=[2.2, 1], height_ratios=[1, 2.4, 1])
    wave, spectrogram, weights = (figure.add_subplot(grid[row, 0]) for row in range(3))
    wave.plot(np.arange(len(sound)) / front_end.sample_rate, sound, linewidth=0.5, color="tab:blue")
    wave.set_title("raw audio in", loc="left", fontsize=9)
    spectrogram.imshow(
        features.T, origin="lower", aspect="auto", extent=(0, seconds, 0, features.shape[1]), cmap="magma"
    )
    spectrogram.set_title("the front end, inside every file", loc="left", fontsize=9)
    spectrogram.set_ylabel("mel band", fontsize=8)
    starts = np.arange(attention.pooling.shape[1]) * attention.patch_seconds
    weights.bar(starts, attention.pooling[0], width=attention.patch_seconds, align="edge", color="tab:purple")
    weights.set_title("where the classifier looks", loc="left", fontsize=9)
    weights.set_xlabel("seconds", fontsize=8)
    for axes in (wave, spectrogram, weights):
        axes.set_xlim(0, seconds)
        axes.tick_params(labelsize=7)
        axes.set_yticks([])

    scores = {"Keras": attention.scores[0]}
    for path in sorted(arguments.export_dir.glob("model_*.tflite")):
        name = path.stem.removeprefix("model_").replace("_", " ")
        scores[f"{name}\n{path.stat().st_size / 1000:.0f} kB"] = Classifier(path).scores(sound)
    best = np.argsort(-scores["Keras"])[:3]
    bars = figure.add_subplot(grid[:, 1])
    height = 0.8 / len(best)
    for rank, label in enumerate(best):
        positions = np.arange(len(scores)) + (rank - 1) * height
        bars.barh(positions, [s[label] for s in scores.values()], height=height, label=run.labels[int(label)])
    bars.set_yticks(np.arange(len(scores)), list(scores), fontsize=8)
    bars.invert_yaxis()
    bars.set_xlim(0, 1)
    bars.tick_params(axis="x", labelsize=7)
    bars.set_title("the same scores out of each", loc="left", fontsize=9)
    bars.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.06), ncol=3, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(PICTURE, buffer.getvalue())
    print(PICTURE)


if __name__ == "__main__":
    main()
