"""Asks every client that runs an exported file for its scores of the same windows: do they agree?

    python tools/compare_clients.py --model=model_int8.tflite clips/*.wav

Each client runs in a process of its own: tf.lite and ai-edge-litert, MediaPipe's Python package (in the environment of
--mediapipe_python) and Chromium (node and the built page of export/web). Clips are resampled to the model's rate and
brought to the length of its window before, so that all hear the same samples. Prints a table; exits with 1 unless all
give each clip the same label, and scores within the tolerance.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tfaudio.errors import TfaudioError
from tfaudio.files import check_can_write, write_json
from tfaudio.runtime.audio import read_windows
from tfaudio.runtime.metadata import read_metadata

Scores = npt.NDArray[np.float64]

# Integer kernels round differently from one build to the next, which can move a score by a step of its scale.
_FLOAT_TOLERANCE, _OTHER_TOLERANCE = 1e-4, 2e-2


@dataclass(frozen=True)
class Answer:
    """What a client says.

    Args:
      client: its name and version.
      labels: in its own order.
      scores: [clips, labels].
    """

    client: str
    labels: list[str]
    scores: Scores


def write_windows(model: Path, clips: Sequence[Path], folder: Path) -> list[Path]:
    """Writes the first window of each clip as mono WAV in float32, which every client reads without loss."""
    metadata = read_metadata(model)
    paths = []
    for index, clip in enumerate(clips):
        _, window = next(iter(read_windows(clip, sample_rate=metadata.sample_rate, clip=metadata.clip)))
        paths.append(folder / f"{index:04d}.wav")
        soundfile.write(paths[-1], window, metadata.sample_rate, subtype="FLOAT")
    return paths


def answer_of_interpreter(name: str, model: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """Runs in the client's own process, which imports this one interpreter: scores of each file, as JSON would say."""
    if name == "tf.lite":
        import tensorflow as tf

        interpreter, version = tf.lite.Interpreter(model_path=str(model)), tf.__version__
    else:
        from importlib.metadata import version as version_of

        from ai_edge_litert.interpreter import Interpreter

        interpreter, version = Interpreter(model_path=str(model)), version_of("ai-edge-litert")
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    scores = {}
    for path in paths:
        interpreter.set_tensor(source, soundfile.read(path, dtype="float32")[0][np.newaxis])
        interpreter.invoke()
        scores[str(path)] = interpreter.get_tensor(target)[0].tolist()
    return {"client": f"{name} {version}", "labels": list(read_metadata(model).labels), "scores": scores}


def ask_interpreter(name: str, python: str, model: Path, paths: Sequence[Path]) -> Answer:
    """Asks tf.lite or ai-edge-litert, as installed for `python`."""
    arguments = [python, __file__, f"--model={model}", f"--answer_as={name}", *map(str, paths)]
    return _parse(json.loads(_output(arguments)), paths)


def ask_mediapipe(python: str, model: Path, paths: Sequence[Path]) -> Answer:
    """Asks MediaPipe's AudioClassifier, as installed for `python`, in clip mode."""
    script = ROOT / "export" / "mediapipe" / "classify.py"
    lines = _output([python, str(script), str(model), "--all_scores", *map(str, paths)]).splitlines()
    rows = {row["path"]: row["scores"] for row in map(json.loads, lines)}
    labels = list(read_metadata(model).labels)
    version = _output([python, "-c", "import importlib.metadata as m; print(m.version('mediapipe'))"]).strip()
    scores = {path: [row[label] for label in labels] for path, row in rows.items()}
    return _parse({"client": f"MediaPipe {version}", "labels": labels, "scores": scores}, paths)


def ask_chromium(node: str, model: Path, paths: Sequence[Path]) -> Answer:
    """Asks the built page of export/web, through its file input."""
    script = ROOT / "export" / "web" / "tests" / "browser" / "classify.mjs"
    return _parse(json.loads(_output([node, str(script), str(model), *map(str, paths)])), paths)


def _parse(answer: dict[str, Any], paths: Sequence[Path]) -> Answer:
    scores = np.asarray([answer["scores"][str(path)] for path in paths], np.float64)
    return Answer(answer["client"], answer["labels"], scores)


def _output(arguments: Sequence[str]) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise TfaudioError(
            f"{arguments[0]} was not found; install it, or leave its client out of --clients."
        ) from error
    if done.returncode:
        raise TfaudioError(f"`{' '.join(arguments[:3])} ...` failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def agreement(first: Answer, answer: Answer) -> tuple[npt.NDArray[np.bool_], float]:
    """Which clips get the same label, boolean [clips], and the largest difference of a score."""
    # A score that is no number differs from all.
    difference = float(np.nan_to_num(np.abs(answer.scores - first.scores), nan=np.inf).max())
    return first.scores.argmax(1) == answer.scores.argmax(1), difference


def record(answers: Sequence[Answer], tolerance: float, *, agreed: bool) -> dict[str, Any]:
    """What --json stores, of answers with the same labels."""
    rows = {answer.client: agreement(answers[0], answer) for answer in answers}
    return {
        "command": " ".join(["python", *sys.argv]),
        "clips": len(answers[0].scores),
        "tolerance": tolerance,
        "agreed": agreed,
        "clients": {
            client: {"same_label": int(same.sum()), "largest_score_difference": difference}
            for client, (same, difference) in rows.items()
        },
    }


def compare(answers: Sequence[Answer], clips: Sequence[Path], tolerance: float) -> tuple[list[str], bool]:
    """Compares all answers with the first.

    Args:
      answers: of all clients, for the same clips.
      clips: that were asked about.
      tolerance: largest difference of a score that passes.

    Returns:
      The lines of a report, and whether all agree.
    """
    first = answers[0]
    lines = [f"{'client':32} {'same label':>10} {'largest difference of a score':>30}"]
    other, agreed = [], True
    for answer in answers:
        if answer.labels != first.labels or answer.scores.shape != first.scores.shape:
            lines.append(f"{answer.client:32} has other labels: {answer.labels}")
            agreed = False
            continue
        best = first.scores.argmax(1), answer.scores.argmax(1)
        same, difference = agreement(first, answer)
        lines.append(f"{answer.client:32} {f'{same.sum()} of {len(same)}':>10} {difference:30.2e}")
        agreed &= bool(same.all()) and difference <= tolerance
        for index in np.flatnonzero(~same):
            said = [
                f"{a.client}: {a.labels[b[index]]} ({a.scores[index, b[index]]:.3f})"
                for a, b in ((first, best[0]), (answer, best[1]))
            ]
            other.append(f"{clips[index]}: {', '.join(said)}")
    return lines + other, agreed


def main() -> int:
    """Asks, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--clients", default="tf.lite,ai-edge-litert,mediapipe,chromium", help="which to ask")
    parser.add_argument(
        "--tolerance",
        type=float,
        help=f"largest difference of a score that passes (default: {_FLOAT_TOLERANCE:g} for a float32 file, else "
        f"{_OTHER_TOLERANCE:g})",
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--tensorflow_python", default=sys.executable, help="Python that has TensorFlow")
    parser.add_argument("--edge_python", default=sys.executable, help="Python that has ai-edge-litert")
    parser.add_argument("--mediapipe_python", default=str(ROOT / ".venv-mediapipe" / "bin" / "python"))
    parser.add_argument("--node", default="node", help="Node.js, for Chromium")
    parser.add_argument("--answer_as", choices=["tf.lite", "ai-edge-litert"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer_as:
        print(json.dumps(answer_of_interpreter(options.answer_as, options.model, options.clips)))
        return 0
    ask: dict[str, Callable[[list[Path]], Answer]] = {
        "tf.lite": lambda paths: ask_interpreter("tf.lite", options.tensorflow_python, options.model, paths),
        "ai-edge-litert": lambda paths: ask_interpreter("ai-edge-litert", options.edge_python, options.model, paths),
        "mediapipe": lambda paths: ask_mediapipe(options.mediapipe_python, options.model, paths),
        "chromium": lambda paths: ask_chromium(options.node, options.model, paths),
    }
    names = options.clients.split(",")
    if unknown := set(names) - set(ask):
        parser.error(f"--clients names {', '.join(sorted(unknown))}; there are {', '.join(ask)}")
    try:
        if options.json:
            check_can_write(options.json, overwrite=True)
        with tempfile.TemporaryDirectory() as folder:
            tolerance = options.tolerance
            if tolerance is None:
                is_float = read_metadata(options.model).variant == "float32"
                tolerance = _FLOAT_TOLERANCE if is_float else _OTHER_TOLERANCE
            paths = write_windows(options.model, options.clips, Path(folder))
            answers = [ask[name](paths) for name in names]
    except TfaudioError as error:
        print(f"compare_clients: {error}", file=sys.stderr)
        return 2
    lines, agreed = compare(answers, options.clips, tolerance)
    print("\n".join(lines))
    if options.json and len({tuple(answer.labels) for answer in answers}) == 1:
        write_json(options.json, record(answers, tolerance, agreed=agreed))
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
