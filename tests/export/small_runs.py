"""Runs of both architectures, small and quickly trained on tones, exported once for all tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfaudio.bundle import Bundle
from tfaudio.config import ClipConfig, FrontEndConfig, ModelConfig, RunConfig
from tfaudio.export.artifact import export_run
from tfaudio.export.report import FORMATS, INT16X8, TFLM, ExportReport
from tfaudio.features.front_end import compute_features
from tfaudio.features.normalization import Normalization, NormalizationFitter
from tfaudio.labels import LabelMap
from tfaudio.models.classifier import build_classifier

SAMPLE_RATE = 16_000
LABELS = LabelMap(("bass", "cello, solo", "viola", "Geige ♫", "flute", "whistle"))
FRONT_END = FrontEndConfig(frame_length=512, frame_step=256, fft_length=512, num_mel_bins=40)
WAVEFORM = FRONT_END.replace(feature="waveform", frame_step=160)
LEAF = FRONT_END.replace(
    feature="leaf", frame_length=256, num_mel_bins=16, compression="pcen", pcen={"trainable": True}
)
OPTIONS = {
    "cnn": {"filters": [8, 16, 24]},
    "attention": {"width": 32, "heads": 2, "stem_filters": 8},
    "ds_cnn": {"filters": 32, "blocks": 2},
    "bc_resnet": {"width": 0.5},
    "dense": {},
    "waveform_cnn": {"width": 0.0625, "bands": 16},
}


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


def train(
    name: str,
    *,
    clip: ClipConfig | None = None,
    front_end: FrontEndConfig = FRONT_END,
    path: Path = Path("run"),
    epochs: int = 8,
) -> Bundle:
    """A run of an architecture, trained for some seconds."""
    keras.utils.set_random_seed(0)
    config = RunConfig(
        front_end=front_end,
        clip=clip or ClipConfig(seconds=1.0),
        model=ModelConfig(name=name, options=OPTIONS[name]),
    )
    waveform, target = tones(240, seed=1)
    fitter = NormalizationFitter()
    fitter.add(compute_features(waveform, front_end).numpy())
    normalization = fitter.result() if front_end.standardized else Normalization()
    model = build_classifier(config, len(LABELS), masked=False)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    features = compute_features(waveform, front_end, normalization).numpy()
    model.fit(features, target, epochs=epochs, batch_size=24, verbose=0)
    classifier = build_classifier(config, len(LABELS))
    classifier.set_weights(model.get_weights())
    return Bundle(path, config, LABELS, normalization, classifier)


def untrained(name: str, *, front_end: FrontEndConfig = FRONT_END) -> Bundle:
    """A run of any architecture made in a second: random weights, those of its normalisations too.

    Its layers have values of all sizes and signs, which is what tests of conversion need; training the deeper
    architectures takes minutes.
    """
    keras.utils.set_random_seed(0)
    config = RunConfig(
        front_end=front_end, clip=ClipConfig(seconds=1.0), model=ModelConfig(name=name, options=OPTIONS[name])
    )
    fitter = NormalizationFitter()
    fitter.add(compute_features(tones(24, seed=1)[0], front_end).numpy())
    model = build_classifier(config, len(LABELS), masked=False)
    rng = np.random.default_rng(0)
    ranges = {"gamma": (0.5, 1.5), "beta": (-0.5, 0.5), "moving_mean": (-0.5, 0.5), "moving_variance": (0.5, 1.5)}
    for weight in model.weights:
        if weight.name in ranges:
            weight.assign(rng.uniform(*ranges[weight.name], weight.shape))
    normalization = fitter.result() if front_end.standardized else Normalization()
    return Bundle(Path("run"), config, LABELS, normalization, model)


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
    """The export of an architecture, made once in a test session, in the first folder given.

    In the formats that all architectures have; of "cnn" in those for particular targets too.
    """
    if name not in _EXPORTED:
        bundle = train(name)
        waveforms, targets = tones(120, seed=2)
        report = export_run(
            bundle,
            formats=(*FORMATS, INT16X8, TFLM) if name == "cnn" else FORMATS,
            output_dir=folder / "out",
            calibration=tones(60, seed=1)[0],
            test_waveforms=waveforms,
            test_targets=targets,
            calibration_names=[f"train_{i}.wav" for i in range(60)],
            dataset_fingerprint="0123abcd",
            dataset_licence="CC BY 3.0",
        )
        scores = bundle.end_to_end(SAMPLE_RATE).predict(waveforms, verbose=0)
        _EXPORTED[name] = Exported(bundle, report, waveforms, targets, scores)
    return _EXPORTED[name]
