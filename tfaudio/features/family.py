"""The features by name: what each is made of, which constants it needs, how finely its values are worth telling apart.

Features of one waveform share its spectrum, which is computed once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.config import FrontEndConfig
from tfaudio.features import spectral, temporal
from tfaudio.features.cepstral import cepstral_matrix, mfcc
from tfaudio.features.chroma import chroma, chroma_matrix
from tfaudio.features.compression import compress
from tfaudio.features.constant_q import constant_q_power, filter_groups
from tfaudio.features.delta import append_deltas
from tfaudio.features.mel import mel_matrix
from tfaudio.features.stft import power_spectrogram


class Analysis:
    """What the features of a waveform have in common, each part computed when it is first asked for.

    Args:
      waveform: float32 [..., num_samples].
      config: what to compute.
    """

    def __init__(self, waveform: tf.Tensor, config: FrontEndConfig) -> None:
        self.waveform, self.config = waveform, config

    @functools.cached_property
    def power(self) -> tf.Tensor:
        """float32 [..., frames, fft_length // 2 + 1]."""
        return power_spectrogram(self.waveform, self.config)

    @functools.cached_property
    def magnitude(self) -> tf.Tensor:
        """float32 [..., frames, fft_length // 2 + 1]."""
        return tf.sqrt(self.power)

    @functools.cached_property
    def spectrum(self) -> tf.Tensor:
        """Power or magnitude, as config.spectrum says."""
        return self.power if self.config.spectrum == "power" else self.magnitude

    @functools.cached_property
    def compressed_mel(self) -> tf.Tensor:
        """float32 [..., frames, num_mel_bins]."""
        return compress(tf.matmul(self.spectrum, mel_matrix(self.config)), self.config)

    @functools.cached_property
    def compressed_constant_q(self) -> tf.Tensor:
        """float32 [..., frames, cqt.num_bins]."""
        power = constant_q_power(self.waveform, self.config)
        return compress(power if self.config.spectrum == "power" else tf.sqrt(power), self.config)


@dataclass(frozen=True)
class Feature:
    """One of the family.

    Args:
      compute: gives float32 [..., frames, bins].
      constants: builds the matrices, and so finds settings that allow none.
      resolution: the smallest deviation that means something; None depends on the compression.
    """

    compute: Callable[[Analysis], tf.Tensor]
    constants: Callable[[FrontEndConfig], object] = lambda config: None
    resolution: float | None = 1e-3


def _mfcc_constants(config: FrontEndConfig) -> object:
    return mel_matrix(config), cepstral_matrix(config.num_mel_bins, config.num_mfcc, config.mfcc_lifter)


FAMILY: dict[str, Feature] = {
    "mel": Feature(lambda a: a.compressed_mel, mel_matrix, resolution=None),
    "spectrogram": Feature(lambda a: compress(a.spectrum, a.config), resolution=None),
    "mfcc": Feature(lambda a: mfcc(a.compressed_mel, a.config), _mfcc_constants, resolution=0.05),
    "chroma": Feature(lambda a: chroma(a.power, a.config), chroma_matrix),
    "spectral_contrast": Feature(lambda a: spectral.contrast(a.magnitude, a.config), spectral.contrast_bands),
    "spectral_centroid": Feature(lambda a: spectral.centroid(a.magnitude, a.config)),
    "spectral_bandwidth": Feature(lambda a: spectral.bandwidth(a.magnitude, a.config)),
    "spectral_rolloff": Feature(lambda a: spectral.rolloff(a.magnitude, a.config)),
    "spectral_flatness": Feature(lambda a: spectral.flatness(a.power), resolution=1e-6),
    "rms": Feature(lambda a: temporal.rms(a.waveform, a.config), resolution=1e-6),
    "zero_crossing_rate": Feature(lambda a: temporal.zero_crossing_rate(a.waveform, a.config)),
    "cqt": Feature(lambda a: a.compressed_constant_q, filter_groups, resolution=None),
}


def check_features(config: FrontEndConfig) -> None:
    """Finds settings that pass one by one and yet allow no filter bank, before any audio is read.

    Raises:
      TfaudioError: if a mel band, a constant-Q filter or an octave of the spectral contrast does not fit.
    """
    for name in config.features:
        if name in FAMILY:  # a learnt filter bank has no constants, nor has the waveform
            FAMILY[name].constants(config)


def compute_family(waveform: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes the features that config.feature names, one after the other on the last axis, and their deltas.

    Args:
      waveform: float32 [..., num_samples].
      config: what to compute; its feature is no learnt filter bank.

    Returns:
      float32 [..., num_frames, config.num_bins].
    """
    analysis = Analysis(waveform, config)
    parts = [FAMILY[name].compute(analysis) for name in config.features]
    features = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
    return append_deltas(features, config) if config.deltas else features


def smallest_deviations(config: FrontEndConfig) -> npt.NDArray[np.float64]:
    """Smallest standard deviation of each bin that standardisation should believe: float64 [config.num_bins].

    A bin that all but never moved in training (above the band that a codec left, say) would otherwise be blown up by a
    thousand times when it does. What is small hangs on the unit: two decibels of an energy, a thousandth of a hertz, a
    millionth of full scale; of slopes, a tenth as much from frame to frame.
    """
    of_energies = {"none": config.log_offset, "log": 0.5, "db": 2.0}.get(config.compression, 1e-3)
    smallest = []
    for name in config.features:
        resolution = FAMILY[name].resolution
        smallest += [of_energies if resolution is None else resolution] * config.bins_of(name)
    return np.concatenate([np.array(smallest) * 0.1**order for order in range(1 + config.deltas)])


def bin_names(config: FrontEndConfig) -> list[str]:
    """Names of the bins of what is computed from the waveform: "mel_0", "rms", "slope_of_mel_0".

    >>> bin_names(FrontEndConfig(feature="rms+mfcc", num_mfcc=2, deltas=1))
    ['rms', 'mfcc_0', 'mfcc_1', 'slope_of_rms', 'slope_of_mfcc_0', 'slope_of_mfcc_1']
    """
    if config.takes_steps:
        return [f"sample_{i}" for i in range(config.frame_step)]
    names: list[str] = []
    for name in config.features:
        count = config.bins_of(name)
        names += [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
    derived = ("", "slope_of_", "curvature_of_")
    return [prefix + name for prefix in derived[: 1 + config.deltas] for name in names]
