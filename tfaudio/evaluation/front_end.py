"""Are the features what librosa computes? Every feature, on signals that show its weak sides, as one table."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.config import FrontEndConfig
from tfaudio.evaluation.librosa_reference import Expected, expected_stack, expected_vqt
from tfaudio.evaluation.protocol import versions
from tfaudio.features.front_end import compute_features

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EqualityCase:
    """A feature under settings that librosa has too.

    Args:
      title: what the table calls it.
      unit: of its values.
      settings: dotted keys of FrontEndConfig that make it.
      expected: the reference.
    """

    title: str
    unit: str
    settings: Mapping[str, Any]
    expected: Callable[[npt.ArrayLike, FrontEndConfig], Expected] = expected_stack


_NONE = {"compression": "none"}
_DB = {"compression": "db", "log_offset": 1e-10, "top_db": 80.0}
_MAGNITUDE = {"spectrum": "magnitude"}
CASES = (
    EqualityCase("spectrogram, power", "power", {"feature": "spectrogram", **_NONE}),
    EqualityCase("spectrogram, magnitude", "magnitude", {"feature": "spectrogram", **_MAGNITUDE, **_NONE}),
    EqualityCase("spectrogram, decibels", "dB", {"feature": "spectrogram", **_DB}),
    EqualityCase("mel", "power", {"feature": "mel", **_NONE}),
    EqualityCase("mel, of magnitude", "magnitude", {"feature": "mel", **_MAGNITUDE, **_NONE}),
    EqualityCase("mel, HTK scale", "power", {"feature": "mel", "mel_scale": "htk", **_NONE}),
    EqualityCase("mel, HTK, peaks of 1", "power", {"feature": "mel", "mel_scale": "htk", "mel_norm": "none", **_NONE}),
    EqualityCase("mel, natural logarithm", "neper", {"feature": "mel", "compression": "log"}),
    EqualityCase("mel, decibels", "dB", {"feature": "mel", **_DB}),
    EqualityCase("mel, PCEN", "1", {"feature": "mel", "compression": "pcen"}),
    EqualityCase("mfcc", "dB", {"feature": "mfcc", **_DB}),
    EqualityCase("mfcc, liftered", "dB", {"feature": "mfcc", "mfcc_lifter": 22.0, **_DB}),
    EqualityCase("mfcc, slope, curvature", "dB", {"feature": "mfcc", "deltas": 2, **_DB}),
    EqualityCase("chroma", "1", {"feature": "chroma"}),
    EqualityCase("spectral_contrast", "dB", {"feature": "spectral_contrast"}),
    EqualityCase("spectral_centroid", "Hz", {"feature": "spectral_centroid"}),
    EqualityCase("spectral_bandwidth", "Hz", {"feature": "spectral_bandwidth"}),
    EqualityCase("spectral_rolloff", "Hz", {"feature": "spectral_rolloff"}),
    EqualityCase("spectral_flatness", "1", {"feature": "spectral_flatness"}),
    EqualityCase("rms", "1", {"feature": "rms"}),
    EqualityCase("zero_crossing_rate", "1", {"feature": "zero_crossing_rate"}),
    EqualityCase("cqt", "power", {"feature": "cqt", **_NONE}),
    EqualityCase("cqt, decibels", "dB", {"feature": "cqt", **_DB}),
    EqualityCase(
        "cqt, by librosa.vqt", "magnitude", {"feature": "cqt", "deltas": 0, **_MAGNITUDE, **_NONE}, expected_vqt
    ),
    EqualityCase(
        "stack",
        "mixed",
        {"feature": "mfcc+chroma+spectral_contrast+spectral_centroid+rms+zero_crossing_rate", "deltas": 1, **_DB},
    ),
)


@dataclass(frozen=True)
class EqualityRow:
    """A feature's values in all frames and bins of all signals, against librosa's.

    Args:
      feature: the case's title.
      bins: values a frame.
      difference: of the value that comes nearest to its tolerance, among those that float32 can tell.
      tolerance: of that value.
      unit: of both.
      signal: where it was found.
      limited: share of the values whose tolerance is mostly the rounding of float32; they are held to that.
      equal: whether every value lies within its tolerance, those too.
    """

    feature: str
    bins: int
    difference: float
    tolerance: float
    unit: str
    signal: str
    limited: float
    equal: bool


def compare_with_librosa(
    config: FrontEndConfig, signals: Mapping[str, Waveform], cases: Iterable[EqualityCase] = CASES
) -> list[EqualityRow]:
    """Computes every feature twice.

    Args:
      config: sample rate, frames, bands and implementation; the cases set feature and compression.
      signals: waveforms float32 [num_samples] by name, one at least.
      cases: rows of the table.

    Raises:
      TfaudioError: if the settings do not allow a feature.
    """
    return [_compare(case, config.override({**_fitting(config), **case.settings}), signals) for case in cases]


def _compare(case: EqualityCase, config: FrontEndConfig, signals: Mapping[str, Waveform]) -> EqualityRow:
    nearest, values, limited = (-1.0, 0.0, 0.0, ""), 0, 0
    equal = True
    for name, waveform in signals.items():
        expected = case.expected(waveform, config)
        actual = compute_features(waveform, config).numpy()
        frames = min(len(actual), len(expected.values))  # librosa.vqt may end a frame early
        difference = np.abs(actual[:frames] - expected.values[:frames])
        used = np.where(np.isfinite(difference), difference / expected.tolerance[:frames], np.inf)
        equal &= bool(used.max() <= 1.0)
        by_rounding = expected.rounding[:frames] > expected.share[:frames]
        values, limited = values + used.size, limited + np.count_nonzero(by_rounding)
        told = np.where(by_rounding, -1.0, used)
        at = np.unravel_index(told.argmax(), told.shape)
        if told[at] > nearest[0]:
            nearest = (float(told[at]), float(difference[at]), float(expected.tolerance[:frames][at]), name)
    _, largest, tolerance, signal = nearest
    return EqualityRow(
        case.title, config.num_bins, largest, tolerance, case.unit, signal, limited / max(values, 1), equal
    )


def _fitting(config: FrontEndConfig) -> dict[str, Any]:
    """Bands that would pass half the sample rate are left out, so that low rates can be compared too.

    So is what is learnt, of which librosa knows nothing.
    """
    half = config.sample_rate / 2
    octaves = math.ceil(math.log2(half / config.contrast_lower_hertz))
    # Half an octave of room for the width of the highest constant-Q band.
    bins = math.floor(config.cqt.bins_per_octave * (math.log2(half / config.cqt.lower_hertz) - 0.5))
    return {
        "contrast_bands": min(config.contrast_bands, max(1, octaves)),
        "cqt.num_bins": min(config.cqt.num_bins, max(2, bins)),
        "pcen.trainable": False,
    }


def equality_signals(sample_rate: int, *, seconds: float = 1.0) -> dict[str, Waveform]:
    """Signals with a known answer and without mercy: tones, a chirp, noise, clicks, silence; float32, by name."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    top = 0.45 * sample_rate
    clicks = np.zeros_like(time)
    clicks[sample_rate // 18 :: sample_rate // 9] = 1.0  # none at the very end, which librosa.vqt resamples away
    high = min(4_186.0, top)
    signals = {
        "tone": 0.5 * np.sin(2 * np.pi * min(440.0, top) * time),
        "two tones": 0.5 * np.sin(2 * np.pi * min(261.63, top) * time) + 0.01 * np.sin(2 * np.pi * high * time),
        "chirp": 0.9 * np.sin(2 * np.pi * (50.0 * time + (top - 50.0) / (2 * seconds) * time**2)),
        "noise": 0.1 * np.random.default_rng(0).normal(size=time.shape),
        "clicks": clicks,
        "silence": np.zeros_like(time),
    }
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


def equality_table(rows: list[EqualityRow]) -> str:
    """The rows as text, aligned."""
    table = [("feature", "bins", "difference", "tolerance", "unit", "nearest in", "limited", "equal")]
    for row in rows:
        numbers = (str(row.bins), f"{row.difference:.1e}", f"{row.tolerance:.1e}")
        equal = "yes" if row.equal else "NO"
        table.append((row.feature, *numbers, row.unit, row.signal, f"{row.limited:.1%}", equal))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    aligned = "<>>><<><"
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, aligned, widths, strict=True)).rstrip()
        for line in table
    )


def equality_record(rows: list[EqualityRow], config: FrontEndConfig, signals: Iterable[str]) -> dict[str, Any]:
    """The table for programs, with the versions that it holds for."""
    return {
        "versions": {**versions(), "librosa": importlib.metadata.version("librosa")},
        "settings": config.to_dict(),
        "signals": list(signals),
        "rows": [asdict(row) for row in rows],
        "equal": all(row.equal for row in rows),
    }
