"""A keyword spotter beside the network that most small audio classifiers are built on, on one thread, in one run.

    python tools/benchmark/keyword_vs_yamnet.py --json=keyword_vs_yamnet.json

The spotter is `ds_cnn` with 12 classes on one second at 16 kHz, features much as MLPerf Tiny has them (10 cepstral
coefficients of 40 mel bands, every 25 ms), in int8 behind its float front end. Beside it stands the structure of
YAMNet: MobileNet v1 of width 1 on patches of 96 frames of 64 mel bands, with 521 classes and a front end of 25 ms every
10 ms. Both have random weights, which time and size do not depend on, and go through the same converter; YAMNet is
measured in float32, as it is published, and in int8. Files take turns, ratios are of neighbouring rounds, and the time
is that of the processor, which other programs on the machine do not stretch as they do the clock's.

Source: https://github.com/tensorflow/models/tree/master/research/audioset/yamnet (the structure).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tfaudio.bundle import Bundle
from tfaudio.config import ClipConfig, FrontEndConfig, ModelConfig, RunConfig
from tfaudio.export.metadata import with_metadata
from tfaudio.export.tflite import TfliteConverter, TfliteModel
from tfaudio.features.front_end import compute_features
from tfaudio.features.normalization import NormalizationFitter
from tfaudio.files import write_json
from tfaudio.labels import LabelMap
from tfaudio.model_settings import Calibration, ModelMetadata
from tfaudio.models.classifier import build_classifier

RATE = 16_000
KEYWORD_FRONT_END = FrontEndConfig(
    feature="mfcc", num_mfcc=10, frame_length=480, frame_step=400, fft_length=512, num_mel_bins=40
)
YAMNET_FRONT_END = FrontEndConfig(
    frame_length=400,
    frame_step=160,
    fft_length=512,
    num_mel_bins=64,
    lower_edge_hertz=125.0,
    upper_edge_hertz=7_500.0,
    mel_scale="htk",
    mel_norm="none",
    spectrum="magnitude",
    log_offset=1e-3,
)
# Stride and filters of YAMNet's separable layers.
_LAYERS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))
_CALLS = 5  # of one file in a round
YAMNET_SECONDS = 0.95  # 96 frames of 10 ms, the first centred on the first sample


def yamnet(frames: int, bins: int, num_classes: int) -> keras.Model:
    """MobileNet v1 of width 1 over [frames, bins], as YAMNet has it: logits for each class."""
    inputs = keras.Input((frames, bins), name="features")
    x = layers.Reshape((frames, bins, 1))(inputs)
    x = _normalized(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(x))
    for stride, filters in _LAYERS:
        x = _normalized(layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
        x = _normalized(layers.Conv2D(filters, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name="yamnet")


def _normalized(x: Any) -> Any:
    return layers.Activation("relu")(layers.BatchNormalization(center=True, scale=False, epsilon=1e-4)(x))


def make(name: str, clips: np.ndarray, num_classes: int) -> Bundle:
    """An untrained run."""
    keras.utils.set_random_seed(0)
    labels = LabelMap(tuple(f"class {i}" for i in range(num_classes)))
    front_end = YAMNET_FRONT_END if name == "yamnet" else KEYWORD_FRONT_END
    seconds = YAMNET_SECONDS if name == "yamnet" else 1.0
    config = RunConfig(front_end=front_end, clip=ClipConfig(seconds=seconds), model=ModelConfig(name="ds_cnn"))
    fitter = NormalizationFitter()
    fitter.add(compute_features(clips, front_end).numpy())
    if name == "yamnet":
        frames = int(front_end.num_frames(round(seconds * RATE)))
        classifier = yamnet(frames, front_end.num_bins, num_classes)
    else:
        classifier = build_classifier(config, num_classes)
    return Bundle(Path("run"), config, labels, fitter.result(), classifier)


def convert(bundle: Bundle, variant: str, clips: np.ndarray, folder: Path) -> tuple[bytes, int]:
    """The whole file, labels and settings included, and the size of the classifier alone."""
    num_samples = bundle.config.clip.num_samples(RATE)
    converter = TfliteConverter(bundle, num_samples, clips[:, :num_samples], folder)
    metadata = ModelMetadata(
        labels=bundle.labels,
        front_end=bundle.config.front_end,
        clip=bundle.config.clip,
        model=bundle.classifier.name,
        variant=variant,
        score_activation="softmax",
        tfaudio_version="0",
        feature_mean=bundle.normalization.mean,
        feature_stddev=bundle.normalization.stddev,
        calibration=Calibration.of_names(len(clips), ()),
    )
    return with_metadata(converter.convert(variant).content, metadata), len(converter.classifier(variant))


def main() -> None:
    """Builds, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="rounds in which each file has its turn")
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    clips = np.random.default_rng(0).uniform(-0.1, 0.1, [8, RATE]).astype(np.float32)
    cases: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, variants, num_classes in (("keyword", ("int8",), 12), ("yamnet", ("float32", "int8"), 521)):
            bundle = make(name, clips, num_classes)
            for variant in variants:
                content, alone = convert(bundle, variant, clips, Path(folder) / name)
                num_samples = bundle.config.clip.num_samples(RATE)
                cases[f"{name}_{variant}"] = {
                    "kb": len(content) / 1000,
                    "kb_without_front_end": alone / 1000,
                    "parameters": int(bundle.classifier.count_params()),
                    "seconds_of_audio": num_samples / RATE,
                    "model": TfliteModel(content),
                    "waveform": clips[:1, :num_samples],
                    "rounds_ms": [],
                    "clock_ms": [],
                }
    for case in cases.values():
        case["model"].score(case["waveform"])
    for index in range(options.rounds):
        for case in list(cases.values())[:: 1 if index % 2 == 0 else -1]:
            start, of_clock = time.process_time(), time.perf_counter()
            for _ in range(_CALLS):
                case["model"].score(case["waveform"])
            to_ms = 1e3 / _CALLS / case["seconds_of_audio"]
            case["rounds_ms"].append((time.process_time() - start) * to_ms)
            case["clock_ms"].append((time.perf_counter() - of_clock) * to_ms)
    ours = cases["keyword_int8"]["rounds_ms"]
    results = {}
    for name, case in cases.items():
        ratios = [a / b for a, b in zip(ours, case["rounds_ms"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        results[name] = {
            **{key: case[key] for key in ("kb", "kb_without_front_end", "parameters", "seconds_of_audio")},
            "ms_per_second_of_audio": statistics.median(case["rounds_ms"]),
            "clock_ms_per_second_of_audio": statistics.median(case["clock_ms"]),
            "keyword_takes_of_it": {"median": middle, "lower_quartile": low, "upper_quartile": high},
        }
        print(
            f"{name:15} {case['kb']:8.1f} kB ({case['kb_without_front_end']:.1f} without front end), "
            f"{results[name]['ms_per_second_of_audio']:.3f} ms a second of audio; the spotter takes {middle:.3f} of it "
            f"({low:.3f} to {high:.3f})"
        )
    if options.json:
        command = "python tools/benchmark/keyword_vs_yamnet.py --json=tools/benchmark/results/keyword_vs_yamnet.json"
        write_json(options.json, {"command": command, "rounds": options.rounds, "threads": 1, "files": results})


if __name__ == "__main__":
    main()
