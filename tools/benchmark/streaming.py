"""What streaming costs and finds: `python tools/benchmark/streaming.py --fsdd=DIR --esc10=DIR --work_dir=DIR`.

Trains a causal keyword spotter (ten digits of FSDD and a background class), exports it, and runs the step models on
long tracks of held-out words in held-out backgrounds. Prints JSON: score differences to the model of clips, time a
hop, false alarms an hour and misses.

- Words: FSDD's official split; its speakers are in both parts. Backgrounds: ESC-10, folds 1 to 4 for training, 5 for
  the test track, where they repeat until it is full.
- The background class is made of training recordings alone: stretches of backgrounds, and parts of words.
- The threshold is the lowest with at most --alarms_per_hour on a track of training words and training backgrounds; the
  test track is measured at that one. The curve over thresholds on the test track is told beside it.
- A word is found if its label is detected from its start to a second after its end; each detection finds one word,
  and each word is found once. A detection that finds none is a false alarm: beside a word (of another label, or
  found already) it is counted as a confusion, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import numpy as np
import numpy.typing as npt
import soundfile
from spoken_track import BACKGROUND, RATE, Event, make_track, read_backgrounds, read_words, training_examples

from tfaudio.cli.main import main as tfaudio
from tfaudio.data.manifest import csv_rows
from tfaudio.runtime.classifier import Classifier
from tfaudio.runtime.detection import Detection, Detector, DetectorConfig
from tfaudio.runtime.scorers import StepModel, open_scorer
from tfaudio.runtime.stream import Stream

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_LATE_SECONDS = 1.0
_WARM_UP_HOPS = 100

Array = npt.NDArray[np.float32]


def write_examples(options: argparse.Namespace, folder: Path) -> Path:
    """Writes training and test examples as a data set; returns its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, folds, seed in (("train", (1, 2, 3, 4), 0), ("test", (5,), 1)):
        words = read_words(options.fsdd, test=split == "test")
        backgrounds = read_backgrounds(options.esc10, folds)
        for number, (label, waveform) in enumerate(training_examples(words, backgrounds, seed=seed)):
            name = f"{split}_{number}.wav"
            soundfile.write(folder / name, waveform, RATE, "PCM_16")
            rows.append(f"{name},{label},{split},{name}")
    manifest = folder / "manifest.csv"
    manifest.write_text("path,label,split,group\n" + "\n".join(rows) + "\n", "utf-8")
    assert sum(1 for _ in csv_rows(manifest, required=("path", "label"))) == len(rows)
    return manifest


def train_and_export(options: argparse.Namespace) -> None:
    """Trains and exports, unless the work folder holds an export."""
    run, export = options.work_dir / "run", options.work_dir / "export"
    if export.is_dir():
        return
    manifest = write_examples(options, options.work_dir / "examples")
    front_end = {"sample_rate": RATE, "frame_length": 256, "frame_step": 160, "fft_length": 256, "num_mel_bins": 40}
    settings = {
        **{f"front_end.{key}": value for key, value in front_end.items()},
        "clip.seconds": 1.0,
        "model.options": json.dumps({"causal": True, **json.loads(options.model_options)}),
        # The examples are mixed already, with their words at random places, and the network is small.
        **{f"augment.{key}": 0 for key in ("time_shift", "mixup_alpha", "time_masks", "noise_probability")},
        "augment.frequency_masks": 1,
        "training.label_smoothing": 0.05,
    }
    train = ["train", "--dataset=manifest", f"--data_dir={manifest}", f"--model={options.model}"]
    train += [f"--output_dir={run}", f"--epochs={options.epochs}", f"--seed={options.seed}"]
    train += [f"--set={key}={value}" for key, value in settings.items()]
    formats = "float32,int8,streaming,streaming_int8"
    commands = [train, ["export", f"--run_dir={run}", f"--output_dir={export}", f"--formats={formats}"]]
    for command in commands:
        print("tfaudio", *command, file=sys.stderr)
        with contextlib.redirect_stdout(sys.stderr):
            code = tfaudio(command)
        if code:
            sys.exit(code)


def steps_against_clips(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Scores the test clips whole and hop by hop: how far the scores differ, and how many labels agree."""
    folder, export = options.work_dir / "examples", options.work_dir / "export"
    rows = [row for _, row in csv_rows(folder / "manifest.csv", required=("path", "split"))]
    waveforms = [soundfile.read(folder / row["path"], dtype="float32")[0] for row in rows if row["split"] == "test"]
    found = {}
    for clips, steps in (("float32", "streaming"), ("int8", "streaming_int8")):
        of_clips = Classifier(export / f"model_{clips}.tflite", num_threads=1)
        of_steps = StepModel(export / f"model_{steps}.tflite", num_threads=1)

        def last_scores(waveform: Array, steps: StepModel = of_steps) -> Array:
            steps.reset()
            filled = np.pad(waveform, [0, steps.delay_samples])  # until the last frame of the clip is complete
            return [steps.step(hop) for hop in filled.reshape(-1, steps.hop_samples)][-1]

        whole = np.stack([of_clips.scores(waveform) for waveform in waveforms])
        hop_by_hop = np.stack([last_scores(waveform) for waveform in waveforms])
        found[steps] = {
            "max_score_difference": float(np.abs(whole - hop_by_hop).max()),
            "same_label": float(np.mean(whole.argmax(axis=1) == hop_by_hop.argmax(axis=1))),
        }
    return found


def stream_scores(model: Path, track: Array) -> tuple[list[float], Array, list[float]]:
    """Times of the scores in seconds, float32 [hops, classes], and what hops cost in seconds, on one thread."""
    scorer = open_scorer(model, num_threads=1)
    assert isinstance(scorer, StepModel)
    times: list[float] = []
    scores: list[Array] = []

    def keep(time: float, row: Array) -> None:
        times.append(time)
        scores.append(row)

    Stream(scorer, on_scores=keep).process(track)
    scorer.reset()
    costs = []
    for start in range(0, min(len(track), 5_000 * scorer.hop_samples), scorer.hop_samples):
        hop = track[start : start + scorer.hop_samples]
        before = time.perf_counter()
        scorer.step(hop)
        costs.append(time.perf_counter() - before)
    return times, np.stack(scores), costs[_WARM_UP_HOPS:]


def detections_in(times: Sequence[float], scores: Array, model: Path, threshold: float) -> list[Detection]:
    """What a detector with the default times finds."""
    labels = open_scorer(model).labels
    config = DetectorConfig(threshold=threshold, ignore=(BACKGROUND,))
    detector = Detector(labels, times[1] - times[0] if len(times) > 1 else 1.0, config)
    found = [d for time, row in zip(times, scores, strict=True) for d in detector.add(time, row)]
    return sorted(found + detector.finish(), key=lambda d: d.start)


def compare(detections: Sequence[Detection], events: Sequence[Event], hours: float) -> dict[str, Any]:
    """Counts what was found, missed and heard where it was not."""
    missing = list(events)
    alarms = confusions = 0
    delays = []
    for detection in detections:
        near = [e for e in events if e.start <= detection.peak <= e.end + _LATE_SECONDS]
        match = next((e for e in near if e.label == detection.label and e in missing), None)
        if match is not None:
            missing.remove(match)
            delays.append(detection.start - match.end)
            continue
        alarms += 1
        confusions += bool(near)
    return {
        "words": len(events),
        "found": len(events) - len(missing),
        "misses": round(len(missing) / len(events), 4),
        "false_alarms": alarms,
        "false_alarms_per_hour": round(alarms / hours, 2),
        "of_which_confusions": confusions,
        "median_seconds_from_end_of_word": round(float(np.median(delays)), 3) if delays else None,
    }


def measure(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one step model."""
    result: dict[str, Any] = {"bytes": model.stat().st_size}
    curves = {}
    for name, test, folds, seconds in (
        ("training", False, (1, 2, 3, 4), options.seconds),
        ("test", True, (5,), options.seconds),
    ):
        words = read_words(options.fsdd, test=test)
        rng = np.random.default_rng(options.seed)
        words = [words[i] for i in rng.permutation(len(words))[: options.words]]
        backgrounds = read_backgrounds(options.esc10, folds)
        snr = (options.lowest_snr_db, options.highest_snr_db)
        track, events = make_track(words, backgrounds, seconds=seconds, snr_db=snr, seed=options.seed + test)
        times, scores, costs = stream_scores(model, track)
        hours = seconds / 3600
        curves[name] = {t: compare(detections_in(times, scores, model, t), events, hours) for t in THRESHOLDS}
        spread = np.percentile(costs, [50, 99])
        result["hop_ms"] = {"median": round(1e3 * spread[0], 4), "p99": round(1e3 * spread[1], 4)}
    allowed = [t for t, row in curves["training"].items() if row["false_alarms_per_hour"] <= options.alarms_per_hour]
    threshold = min(allowed, default=max(THRESHOLDS))
    return result | {
        "threshold": threshold,
        "training_track": curves["training"][threshold],
        "test_track": curves["test"][threshold],
        "test_track_by_threshold": curves["test"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--esc10", type=Path, required=True, help="folder of ESC-10")
    parser.add_argument(
        "--work_dir", type=Path, required=True, help="for examples, run and export; an export is reused"
    )
    parser.add_argument("--model", default="ds_cnn", choices=("ds_cnn", "bc_resnet"))
    parser.add_argument("--model_options", default='{"filters": 48}', help="JSON, beside causal")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3_600.0, help="length of each track")
    parser.add_argument("--words", type=int, default=300, help="in each track")
    parser.add_argument("--lowest_snr_db", type=float, default=5.0)
    parser.add_argument("--highest_snr_db", type=float, default=20.0)
    parser.add_argument("--alarms_per_hour", type=float, default=2.0, help="that the threshold is chosen for")
    options = parser.parse_args()
    train_and_export(options)
    report = json.loads((options.work_dir / "export" / "report.json").read_text("utf-8"))
    formats = {
        name: {key: row[key] for key in ("accuracy", "agreement", "max_score_difference", "size_bytes")}
        for name, row in report["formats"].items()
    }
    result = {
        "command": " ".join(["python", *sys.argv]),
        "protocol": " ".join((__doc__ or "").split("\n\n", 2)[2].split()),
        "options": {
            key: str(value) if isinstance(value, Path) else value
            for key, value in vars(options).items()
            if not isinstance(value, Path)
        },
        "keras_accuracy": report["keras"]["accuracy"],
        "clips": report["gate"]["clips"],
        "formats": formats,
        "steps_against_clips": steps_against_clips(options),
    }
    for name in ("streaming", "streaming_int8"):
        result[name] = measure(options.work_dir / "export" / f"model_{name}.tflite", options)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
