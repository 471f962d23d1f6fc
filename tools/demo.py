"""Trains, scores, exports and uses a classifier on built-in sounds: `make demo`.

Runs the very commands that it prints, in one process, since importing TensorFlow is what takes longest in
each of them.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tfaudio.cli.main import main as tfaudio_main

MARKER = ".tfaudio-demo"
KINDS = ("bell", "rising_sweep", "whistle")


def step(title: str, *arguments: str) -> None:
    """Says what comes, runs one command, and ends the demo with its exit code if it fails."""
    print(f"\n== {title}\n$ tfaudio {shlex.join(arguments)}", flush=True)
    code = tfaudio_main(list(arguments))
    if code:
        sys.exit(code)


def make_room(folder: Path) -> None:
    """Empties the folder of an earlier demo; a folder of anything else is left alone."""
    if folder.exists() and not folder.is_dir():
        sys.exit(f"{folder} is a file; name a folder with --output_dir.")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            sys.exit(f"{folder} exists and is not from an earlier demo; name another with --output_dir.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def write_unheard_sounds(folder: Path) -> None:
    """Writes sounds of another seed than the training data's, so that the classifier has heard none of them."""
    import soundfile

    from tfaudio.data.synthetic import make_sound

    folder.mkdir()
    for kind in KINDS:
        # At another rate than the model's, as files in the wild are.
        soundfile.write(folder / f"{kind}.wav", make_sound(kind, seed=1, index=0, sample_rate=44_100), 44_100)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train, score, export and use a classifier on built-in sounds.")
    parser.add_argument("--output_dir", type=Path, default=Path("demo"))
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    demo: Path = arguments.output_dir
    started = time.monotonic()

    make_room(demo)
    run, export, sounds = demo / "run", demo / "export", demo / "sounds"
    step(
        "Train on ten kinds of sound made by signal processing, and hold out every fifth",
        "train",
        "--dataset=synthetic",
        "--model=cnn",
        "--folds=1",
        f"--epochs={arguments.epochs}",
        "--seed=0",
        f"--output_dir={run}",
    )
    step("Score it on the sounds held out", "evaluate", f"--run_dir={run}", f"--json={demo / 'evaluation.json'}")
    step(
        "Export it, and compare the exported files with the original",
        "export",
        f"--run_dir={run}",
        "--formats=saved_model,float32,float16,dynamic_range,int8",
        f"--output_dir={export}",
    )
    write_unheard_sounds(sounds)
    step("Classify new files with the int8 model", "predict", f"--model={export / 'model_int8.tflite'}", str(sounds))

    print(f"\nDone in {time.monotonic() - started:.0f} s. The sounds are synthetic: real recordings are harder.")
    for path, meaning in (
        (run, "the run: settings, labels, weights, metrics"),
        (demo / "evaluation.json", "its scores"),
        (export / "report.json", "how the exported files compare"),
        (export / "saved_model" / "1", "for TF Serving"),
        (export / "model_int8.tflite", "for phones and small computers; model_float32.tflite is the reference"),
        (sounds, "the files that were classified"),
    ):
        print(f"  {path!s:32} {meaning}")
    print("Next, with your own recordings in one folder a class: tfaudio train --dataset=folder --data_dir=FOLDER ...")


if __name__ == "__main__":
    main()
