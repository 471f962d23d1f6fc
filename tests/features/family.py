"""Each feature under settings that take milliseconds, and waveforms that show what sets features apart."""

from __future__ import annotations

import numpy as np

from tfaudio.config import FrontEndConfig
from tfaudio.features.family import FAMILY

RATE = 8_000
SMALL = FrontEndConfig(
    sample_rate=RATE,
    frame_length=512,
    frame_step=256,
    fft_length=512,
    num_mel_bins=24,
    num_mfcc=13,
    contrast_bands=4,
).override({"cqt.num_bins": 36, "cqt.lower_hertz": 110.0})
_STACK = SMALL.replace(feature="mfcc+chroma+spectral_contrast+spectral_centroid+rms+zero_crossing_rate")
CONFIGS = {
    **{name: SMALL.replace(feature=name) for name in FAMILY},
    "db": SMALL.replace(compression="db", top_db=80.0, log_offset=1e-10),
    "magnitude": SMALL.replace(feature="spectrogram", spectrum="magnitude", compression="none"),
    "pcen": SMALL.replace(compression="pcen"),
    "stack": _STACK,
    "deltas": SMALL.replace(feature="mfcc", deltas=2),
}
EVERY = SMALL.replace(feature="+".join(FAMILY), deltas=2)


def waveforms(num_samples: int = 4_000) -> np.ndarray:
    """Noise, a tone in noise, clicks, silence, and a tone that stops: float32 [5, num_samples]."""
    rng = np.random.default_rng(0)
    time = np.arange(num_samples) / RATE
    noise = 0.1 * rng.normal(size=num_samples)
    tone = 0.4 * np.sin(2 * np.pi * 440.0 * time)
    clicks = np.zeros(num_samples)
    clicks[50::777] = 1.0
    stops = np.where(time < time.mean(), tone, 0.0) + 0.001 * rng.normal(size=num_samples)
    return np.stack([noise, tone + 0.01 * noise, clicks, np.zeros(num_samples), stops]).astype(np.float32)
