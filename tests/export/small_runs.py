"""Runs of both architectures, small and quickly trained on tones, exported once for all tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfaudio.bundle import Bundle
from tfaudio.config import ClipConfig, FrontEndConfig, ModelConfig, RunConfig
from tfaudio.export.artifact import export_run
from tfaudio.export.report import FORMATS, ExportReport
from tfaudio.features.front_end import compute_features
from tfaudio.features.normalization import NormalizationFitter
from tfaudio.labels import LabelMap
from tfaudio.models.classifier import build_classifier

SAMPLE_RATE = 16_000
LABELS = LabelMap(("bass", "cello, solo", "viola", "Geige ♫", "flute", "whistle"))
FRONT_END = FrontEndConfig(frame_length=512, frame_step=256, fft_length=512, num_mel_bins=40)
OPTIONS = {"cnn": {"filters": [8, 16, 24]}, "attention": {"width": 32, "heads": 2, "stem_filters": 8}}


def tones(count: int, seed: int, seconds: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Tones in noise, one octave band a class: float32 [count, samples] and the class of each."""
    rng = np.random.default_rng(seed)
    target = np.arange(count) % len(LABELS)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hertz = 150.0 * 2.0 ** (target + rng.uniform(-0.3, 0.3, count))
    tone = np.sin(2 * np.pi * hertz[:, None] * time + rng.uniform(0, 6, count)[:, None])
    noise = rng.normal(size=tone.shape) * rng.uniform(0.01, 0.1, count)[:, None]
    waveform = tone * rng.uniform(0.05, 0.4, count)[:, None] + noise
    return waveform.astype(np.float32), target


def train(name: str, *, clip: ClipConfig | None = None, path: Path = Path("run")) -> Bundle:
    """A run of an architecture, trained for some seconds."""
    keras.utils.set_random_seed(0)
    config = RunConfig(
        front_end=FRONT_END,
        clip=clip or ClipConfig(seconds=1.0),
        model=ModelConfig(name=name, options=OPTIONS[name]),
    )
    waveform, target = tones(240, seed=1)
    fitter = NormalizationFitter()
    fitter.add(compute_features(waveform, FRONT_END).numpy())
    normalization = fitter.result()
    model = build_classifier(config, len(LABELS), masked=False)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    features = compute_features(waveform, FRONT_END, normalization).numpy()
    model.fit(features, target, epochs=8, batch_size=24, verbose=0)
    classifier = build_classifier(config, len(LABELS))
    classifier.set_weights(model.get_weights())
    return Bundle(path, config, LABELS, normalization, classifier)


@dataclass(frozen=True)
class Exported:
    """A run, what its export wrote, and the test clips."""

    bundle: Bundle
    report: ExportReport
    waveforms: np.ndarray
    targets: np.ndarray
    keras_scores: np.ndarray

    def content(self, variant: str) -> bytes:
        return self.report.paths[variant].read_bytes()


_EXPORTED: dict[str, Exported] = {}


def exported(name: str, folder: Path) -> Exported:
    """The export of an architecture in all formats, made once in a test session, in the first folder given."""
    if name not in _EXPORTED:
        bundle = train(name)
        waveforms, targets = tones(120, seed=2)
        report = export_run(
            bundle,
            formats=FORMATS,
            output_dir=folder / "out",
            calibration=tones(60, seed=1)[0],
            test_waveforms=waveforms,
            test_targets=targets,
            calibration_names=[f"train_{i}.wav" for i in range(60)],
            dataset_fingerprint="0123abcd",
        )
        scores = bundle.end_to_end(SAMPLE_RATE).predict(waveforms, verbose=0)
        _EXPORTED[name] = Exported(bundle, report, waveforms, targets, scores)
    return _EXPORTED[name]
