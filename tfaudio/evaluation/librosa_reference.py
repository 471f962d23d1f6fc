"""The features as librosa computes them in float64, and how near to that float32 can come.

Equality has to be stated value by value: a share of the loudest bin would hide whatever lies 40 dB below it. So every
value may be off by a small share of itself (or, on logarithmic scales, by a small step), and by what the rounding of a
Fourier transform in float32 makes of it. The latter is found by asking librosa again, with the magnitudes of a frame
raised or lowered by float32's epsilon times the largest that a bin of such a frame could be: next to nothing in noise
and in most recordings, much between the harmonics of a pure tone, where float32 holds no more than the rounding itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.config import FrontEndConfig

Array = npt.NDArray[np.float64]

# Smallest difference that counts at all: of quantities whose full scale is about 1.
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Expected:
    """What a feature should be, and by how much each value may differ; float64 [frames, bins] all.

    Args:
      values: as librosa has them.
      share: the stated tolerance: a share of the value, or a step.
      rounding: what the transform's rounding in float32 may add.
    """

    values: Array
    share: Array
    rounding: Array

    @property
    def tolerance(self) -> Array:
        """By how much each value may differ in all."""
        return self.share + self.rounding


def expected_features(name: str, waveform: npt.ArrayLike, config: FrontEndConfig) -> Expected:
    """Computes one feature, without deltas, as librosa does.

    Args:
      name: of the feature.
      waveform: [num_samples], at least one.
      config: its sample rate, frames, bands and compression are used.

    Returns:
      [num_frames, bins].
    """
    y = np.asarray(waveform, np.float64)
    if name in _OF_WAVEFORM:
        return _OF_WAVEFORM[name](y, config)
    magnitude, rounding = _magnitude(y, config)
    return _with_rounding(_OF_MAGNITUDE[name], magnitude, rounding, config, _own_share(name, config))


def expected_stack(waveform: npt.ArrayLike, config: FrontEndConfig) -> Expected:
    """Computes all that a configuration names, and its deltas: [num_frames, config.num_bins]."""
    features = _side_by_side([expected_features(name, waveform, config) for name in config.features])
    return _side_by_side([features, *_expected_deltas(features, config)])


def _side_by_side(parts: list[Expected]) -> Expected:
    return Expected(*(np.hstack([getattr(part, name) for part in parts]) for name in ("values", "share", "rounding")))


def _expected_deltas(of: Expected, config: FrontEndConfig) -> list[Expected]:
    """Slope and curvature, as many as config.deltas, by librosa.feature.delta."""
    import librosa
    import scipy.ndimage

    width = config.delta_frames
    # Errors of the values around, times the weights that they have.
    share, rounding = (
        scipy.ndimage.maximum_filter1d(error, width, axis=0, mode="nearest") for error in (of.share, of.rounding)
    )
    share = share + 1e-6 * np.abs(of.values).max(initial=0.0)  # the values are held in float32
    impulse = np.zeros(2 * width + 1)
    impulse[width] = 1.0
    found = []
    for order in range(1, config.deltas + 1):
        weights = librosa.feature.delta(impulse, width=width, order=order, mode="nearest")
        values = librosa.feature.delta(of.values.T, width=width, order=order, mode="nearest").T
        total = np.abs(weights).sum()
        found.append(Expected(values, total * share, total * rounding))
    return found


@dataclass(frozen=True)
class _Share:
    """A value may differ by `relative` of itself and by `absolute`."""

    relative: float
    absolute: float = _NEGLIGIBLE

    def of(self, values: Array) -> Array:
        return self.relative * np.abs(values) + self.absolute


def _own_share(name: str, config: FrontEndConfig) -> _Share:
    if name == "mfcc":  # liftering multiplies errors too
        return _Share(0.0, 1e-3 * (1.0 + config.mfcc_lifter / 2.0))
    if name in ("chroma", "spectral_contrast"):  # of full scale; decibels
        return _Share(0.0, 1e-3)
    if name in ("spectral_centroid", "spectral_bandwidth", "spectral_flatness"):
        return _Share(1e-3)
    return {
        "none": _Share(1e-4),
        "db": _Share(0.0, 1e-3),
        "log": _Share(0.0, 1e-3 * math.log(10.0) / 10.0),  # 1e-3 dB
        "pcen": _Share(1e-3, 1e-6),
    }[config.compression]


def _with_rounding(
    compute: Callable[[Array, FrontEndConfig], Array],
    magnitude: Array,
    rounding: Array,
    config: FrontEndConfig,
    share: _Share,
) -> Expected:
    values = compute(magnitude, config)
    # All bins up, all down, and neighbours apart, which moves what compares them with each other.
    alternating = np.where(np.arange(len(magnitude)) % 2, 1.0, -1.0)[:, None]
    spread = np.zeros_like(values)
    for sign in (1.0, -1.0, alternating, -alternating):
        moved = compute(np.maximum(magnitude + sign * rounding, 0.0), config)
        spread = np.maximum(spread, np.abs(moved - values))
    return Expected(values, share.of(values), spread)


def _magnitude(y: Array, config: FrontEndConfig) -> tuple[Array, Array]:
    """Magnitude [bins, frames], and the error [1, frames] that it has in float32."""
    import librosa

    spectrum = librosa.stft(
        y,
        n_fft=config.fft_length,
        hop_length=config.frame_step,
        win_length=config.frame_length,
        pad_mode="constant",
        dtype=np.complex128,
    )
    magnitude = np.abs(spectrum)
    # By Parseval, from half of the spectrum.
    norm = np.sqrt(2.0 * np.sum(magnitude**2, axis=0, keepdims=True) / config.fft_length)
    return magnitude, _rounding(config.fft_length, norm)


def _rounding(count: npt.ArrayLike, norm: Array) -> Array:
    """Error in float32 of a sum of `count` products with factors of modulus 1, given the norm of the other factors.

    The sum itself is at most sqrt(count) * norm; a third of epsilon times that was seen, of transforms of 1024 to
    4096 points and of products with matrices.
    """
    return float(np.finfo(np.float32).eps) * np.sqrt(count) * norm


def _compressed(energy: Array, config: FrontEndConfig) -> Array:
    """[bins, frames] to the same; energy is power or magnitude as config says."""
    import librosa

    if config.compression == "none":
        return energy
    if config.compression == "log":
        return np.log(energy + config.log_offset)
    if config.compression == "db":
        to_db = librosa.power_to_db if config.spectrum == "power" else librosa.amplitude_to_db
        return np.asarray(to_db(energy, amin=config.log_offset, top_db=config.top_db))
    return pcen(energy, config)


def pcen(energy: Array, config: FrontEndConfig) -> Array:
    """librosa.pcen [bins, frames], its running mean started at the first frame."""
    import librosa

    settings = config.pcen
    frames = settings.time_constant_seconds * config.sample_rate / config.frame_step
    share = (np.sqrt(1.0 + 4.0 * frames**2) - 1.0) / (2.0 * frames**2)
    return np.asarray(
        librosa.pcen(
            energy,
            sr=config.sample_rate,
            hop_length=config.frame_step,
            gain=settings.gain,
            bias=settings.bias,
            power=settings.power,
            time_constant=settings.time_constant_seconds,
            eps=settings.offset,
            zi=(1.0 - share) * energy[:, :1],
        )
    )


def _spectrogram(magnitude: Array, config: FrontEndConfig) -> Array:
    return _compressed(magnitude if config.spectrum == "magnitude" else magnitude**2, config).T


def _mel(magnitude: Array, config: FrontEndConfig) -> Array:
    import librosa

    bank = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.fft_length,
        n_mels=config.num_mel_bins,
        fmin=config.lower_edge_hertz,
        fmax=config.upper_edge_hertz,
        htk=config.mel_scale == "htk",
        norm=None if config.mel_norm == "none" else config.mel_norm,
        dtype=np.float64,
    )
    return _compressed(bank @ (magnitude if config.spectrum == "magnitude" else magnitude**2), config).T


def _mfcc(magnitude: Array, config: FrontEndConfig) -> Array:
    import librosa

    bands = _mel(magnitude, config).T
    return np.asarray(librosa.feature.mfcc(S=bands, n_mfcc=config.num_mfcc, lifter=config.mfcc_lifter)).T


def _chroma(magnitude: Array, config: FrontEndConfig) -> Array:
    import librosa

    rate, length = config.sample_rate, config.fft_length
    return np.asarray(
        librosa.feature.chroma_stft(S=magnitude**2, sr=rate, n_fft=length, n_chroma=config.num_chroma, tuning=0.0)
    ).T


def _contrast(magnitude: Array, config: FrontEndConfig) -> Array:
    import librosa

    return np.asarray(
        librosa.feature.spectral_contrast(
            S=magnitude,
            sr=config.sample_rate,
            n_fft=config.fft_length,
            n_bands=config.contrast_bands,
            fmin=config.contrast_lower_hertz,
            quantile=config.contrast_quantile,
        )
    ).T


def _centroid(magnitude: Array, config: FrontEndConfig) -> Array:
    import librosa

    return np.asarray(librosa.feature.spectral_centroid(S=magnitude, sr=config.sample_rate, n_fft=config.fft_length)).T


def _bandwidth(magnitude: Array, config: FrontEndConfig) -> Array:
    import librosa

    return np.asarray(librosa.feature.spectral_bandwidth(S=magnitude, sr=config.sample_rate, n_fft=config.fft_length)).T


def _flatness(magnitude: Array, config: FrontEndConfig) -> Array:
    import librosa

    del config
    return np.asarray(librosa.feature.spectral_flatness(S=magnitude)).T


def _expected_rolloff(y: Array, config: FrontEndConfig) -> Expected:
    """A frequency of a bin: where the share is met within rounding, float32 may find it one bin on."""
    import librosa

    magnitude, rounding = _magnitude(y, config)

    def at(spectrum: Array, share: float) -> Array:
        rate, length = config.sample_rate, config.fft_length
        return np.asarray(librosa.feature.spectral_rolloff(S=spectrum, sr=rate, n_fft=length, roll_percent=share)).T

    share = config.rolloff_share
    values = at(magnitude, share)
    others = [at(magnitude, share * (1.0 - 1e-5)), at(magnitude, min(share * (1.0 + 1e-5), 1.0 - 1e-9))]
    others += [at(magnitude + rounding, share), at(np.maximum(magnitude - rounding, 0.0), share)]
    spread = np.max([np.abs(other - values) for other in others], axis=0)
    return Expected(values, _Share(1e-3).of(values), spread)


def _expected_rms(y: Array, config: FrontEndConfig) -> Expected:
    import librosa

    frames = config.num_frames(len(y))
    length = config.frame_length
    padded = np.pad(y, (length // 2, length))  # librosa pads odd frames by one sample too few for the last one
    step = config.frame_step
    values = librosa.feature.rms(y=padded, frame_length=length, hop_length=step, center=False, dtype=np.float64)
    values = values.T[:frames]
    return Expected(values, _Share(1e-4).of(values), np.zeros_like(values))


def _expected_crossings(y: Array, config: FrontEndConfig) -> Expected:
    import librosa

    frames, length = config.num_frames(len(y)), config.frame_length
    padded = np.pad(y, (length // 2, length), mode="edge")
    step = config.frame_step
    values = librosa.feature.zero_crossing_rate(padded, frame_length=length, hop_length=step, center=False)
    values = values.T[:frames]
    return Expected(values, _Share(0.0, 1e-6).of(values), np.zeros_like(values))


def _expected_constant_q(y: Array, config: FrontEndConfig) -> Expected:
    """Inner products with librosa's wavelets, which librosa.vqt approaches through a resampled spectrum."""
    import librosa

    settings = config.cqt
    ratio = 4.0 ** (1.0 / settings.bins_per_octave)
    alpha: Any = np.full(settings.num_bins, (ratio - 1.0) / (ratio + 1.0))  # librosa would not take a single band
    filters, lengths = librosa.filters.wavelet(
        freqs=settings.lower_hertz * 2.0 ** (np.arange(settings.num_bins) / settings.bins_per_octave),
        sr=config.sample_rate,
        norm=1,
        pad_fft=True,
        gamma=settings.gamma,
        alpha=alpha,
        dtype=np.complex128,
    )
    size = filters.shape[1]
    starts = np.floor(-lengths / 2).astype(int)
    counts = np.floor(lengths / 2).astype(int) - starts
    # librosa centres each filter by its number of samples; here the sample of phase 0 is put in the middle.
    centred = np.stack(
        [
            np.roll(row, size // 2 - ((size - count) // 2 - start))
            for row, count, start in zip(filters, counts, starts, strict=True)
        ]
    )
    padded = np.pad(y, (size // 2, size))
    frames = np.stack([padded[i * config.frame_step :][:size] for i in range(config.num_frames(len(y)))])
    magnitude = (np.abs(frames @ centred.conj().T) * np.sqrt(lengths)).T
    inside = np.sqrt(frames**2 @ (np.abs(centred) ** 2).T * lengths).T  # norm of what a filter sees
    return _with_rounding(
        _spectrogram, magnitude, _rounding(lengths[:, None], inside), config, _own_share("cqt", config)
    )


def expected_vqt(waveform: npt.ArrayLike, config: FrontEndConfig) -> Expected:
    """Magnitude by librosa.vqt itself, to 15 % of the loudest band of the clip: the same bands, instants and scale.

    It halves the sample rate from octave to octave, drops small coefficients, and puts each wavelet a sample of the
    lowered rate beside its instant; of the 50 to 100 samples that a wavelet then has, that shows in noise and clicks.
    """
    import librosa

    settings = config.cqt
    found = librosa.vqt(
        np.asarray(waveform, np.float64),
        sr=config.sample_rate,
        hop_length=config.frame_step,
        fmin=settings.lower_hertz,
        n_bins=settings.num_bins,
        bins_per_octave=settings.bins_per_octave,
        gamma=settings.gamma,
        tuning=0.0,
    )
    values = np.abs(found).T
    return Expected(values, _Share(0.0, 0.15 * values.max(initial=0.0) + _NEGLIGIBLE).of(values), np.zeros_like(values))


_OF_MAGNITUDE: dict[str, Callable[[Array, FrontEndConfig], Array]] = {
    "spectrogram": _spectrogram,
    "mel": _mel,
    "mfcc": _mfcc,
    "chroma": _chroma,
    "spectral_contrast": _contrast,
    "spectral_centroid": _centroid,
    "spectral_bandwidth": _bandwidth,
    "spectral_flatness": _flatness,
}
_OF_WAVEFORM: dict[str, Callable[[Array, FrontEndConfig], Expected]] = {
    "spectral_rolloff": _expected_rolloff,
    "rms": _expected_rms,
    "zero_crossing_rate": _expected_crossings,
    "cqt": _expected_constant_q,
}
