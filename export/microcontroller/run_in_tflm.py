"""Runs an exported microcontroller folder in TensorFlow Lite Micro's own interpreter and compares the golden logits.

    python -m venv tflm && tflm/bin/pip install tflite-micro
    tflm/bin/python run_in_tflm.py OUT/microcontroller

Prints the largest difference of a logit, in steps of eight bits, and the smallest arena that the model runs in; exits
with 1 if a logit is more than one step off or the arena that tfaudio_settings.h states is too small.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import runtime


def logits_in(model: bytes, features: np.ndarray, arena_bytes: int) -> np.ndarray:
    """Runs int8 features [vectors, frames, bins]."""
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
    rows = []
    for clip in features:
        interpreter.set_input(clip[np.newaxis], 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0)[0].copy())
    return np.stack(rows)


def main(folder: Path) -> int:
    """Runs, compares and prints."""
    model = (folder / "model.tflite").read_bytes()
    vectors = np.load(folder / "golden.npz")
    stated = int(re.findall(r"TFAUDIO_ARENA_BYTES (\d+)", (folder / "tfaudio_settings.h").read_text())[0])
    if not _fits(model, stated):
        print(f"The stated arena of {stated} bytes is too small.", file=sys.stderr)
        return 1
    logits = logits_in(model, vectors["features"], stated)
    difference = int(np.abs(logits.astype(int) - vectors["logits"]).max())
    too_small, enough = 0, stated
    while enough - too_small > 64:
        middle = (too_small + enough) // 2
        if _fits(model, middle):
            enough = middle
        else:
            too_small = middle
    print(json.dumps({"largest_difference": difference, "arena_bytes": stated, "smallest_arena_bytes": enough}))
    return int(difference > 1)


def _fits(model: bytes, arena_bytes: int) -> bool:
    try:
        runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
