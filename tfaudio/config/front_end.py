"""How a waveform becomes features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tfaudio.config.base import Config, check, check_range
from tfaudio.registry import unknown_name_message

# Bounds beyond which nothing is computed, only memory exhausted.
_LONGEST_FRAME = 2**16  # samples
_MOST_BINS = 1024

# Full scale is 1. Recordings in floats go beyond it by some factor, integers taken for floats by thousands.
LARGEST_SAMPLE = 64.0

# Computed from the waveform alone; several of them may be joined by "+".
FEATURES = (
    "mel",
    "spectrogram",
    "mfcc",
    "chroma",
    "spectral_contrast",
    "spectral_centroid",
    "spectral_bandwidth",
    "spectral_rolloff",
    "spectral_flatness",
    "rms",
    "zero_crossing_rate",
    "cqt",
)
# Filter banks whose shape is learnt with the classifier; each stands alone.
FILTERBANKS = ("leaf", "sincnet")
# The waveform itself, cut into steps, for a classifier that takes it from there; stands alone too.
WAVEFORM = "waveform"


@dataclass(frozen=True, kw_only=True)
class PcenConfig(Config):
    """Per-channel energy normalisation: (E / (offset + M)^gain + bias)^power - bias^power, M a running mean of E.

    Args:
      gain: how far loudness is evened out, 0 to 1.
      bias: added before the root.
      power: exponent of the root, above 0.
      time_constant_seconds: of the running mean, a first-order filter that starts at the first frame's value.
      offset: energy; keeps the quotient finite on silence.
      trainable: learn gain, bias and power, one of each a bin, with the classifier.

    Source: Y. Wang et al., Trainable Frontend for Robust and Far-Field Keyword Spotting (2017),
    https://arxiv.org/abs/1607.05666; the defaults are librosa's.
    """

    section: ClassVar[str] = "front_end.pcen"

    gain: float = 0.98
    bias: float = 2.0
    power: float = 0.5
    time_constant_seconds: float = 0.4
    offset: float = 1e-6
    trainable: bool = False

    def check(self) -> None:
        check_range("front_end.pcen.gain", self.gain, 0, 1)
        check_range("front_end.pcen.bias", self.bias, 0, 1e6)
        check_range("front_end.pcen.power", self.power, 1e-3, 1)
        check_range("front_end.pcen.time_constant_seconds", self.time_constant_seconds, 1e-3, 3_600)
        check_range("front_end.pcen.offset", self.offset, 1e-30, 1e30)


@dataclass(frozen=True, kw_only=True)
class ConstantQConfig(Config):
    """Bands of equal width on the scale of musical pitch.

    Args:
      num_bins: bands.
      bins_per_octave: bands in an octave.
      lower_hertz: centre of the lowest band.
      gamma: Hz; 0 keeps the ratio of centre to width constant (constant-Q), more widens the low bands, which
        shortens their filters (variable-Q).

    Source: J. Brown and M. Puckette, An efficient algorithm for the calculation of a constant Q transform (1992);
    C. Schörkhuber et al., A Matlab toolbox for efficient perfect reconstruction time-frequency transforms (2014).
    """

    section: ClassVar[str] = "front_end.cqt"

    num_bins: int = 72
    bins_per_octave: int = 12
    lower_hertz: float = 65.40639132514966
    gamma: float = 0.0

    def check(self) -> None:
        check_range("front_end.cqt.num_bins", self.num_bins, 1, _MOST_BINS)
        check_range("front_end.cqt.bins_per_octave", self.bins_per_octave, 1, 96)
        check_range("front_end.cqt.lower_hertz", self.lower_hertz, 1, 100_000)
        check_range("front_end.cqt.gamma", self.gamma, 0, 1_000)


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig(Config):
    """How a waveform becomes features: the only place that states a rate, a hop or a band edge.

    Args:
      sample_rate: Hz; every waveform is resampled to it.
      feature: one of `FEATURES`, several of them joined by "+" ("mfcc+chroma+rms"), one of `FILTERBANKS`, or
        "waveform": its samples at a mean power of one, frame_step of them a frame.
      frame_length: samples under the periodic Hann window; of a learnt filter bank, the length of its filters.
      frame_step: samples from one frame to the next.
      fft_length: points of the Fourier transform, at least frame_length; a power of two for "rfft",
        since on-device transforms take no other.
      spectrum: "power", or "magnitude": its square root; of "mel", "spectrogram", "mfcc" and "cqt", as the others
        have their own.
      num_mel_bins: mel bands, or learnt filters.
      lower_edge_hertz: lower edge of the lowest mel band, Hz.
      upper_edge_hertz: upper edge of the highest mel band, Hz; None is half the sample rate.
      mel_scale: "slaney" (librosa's default) or "htk".
      mel_norm: "slaney" makes each band's area one; "none" makes its peak one.
      compression: of "mel", "spectrogram", "cqt", learnt filters and the bands behind "mfcc": "log" is
        ln(energy + log_offset); "db" is 10 log10(max(energy, log_offset)), 20 log10 of a magnitude; "pcen" as `pcen`
        says; "none".
      log_offset: energy; keeps the logarithm finite on silence.
      top_db: with "db", values further than this below the loudest of the same example are raised to
        that floor; None keeps them.
      pcen: with "pcen".
      num_mfcc: cepstral coefficients.
      mfcc_lifter: L of the liftering 1 + L/2 sin(pi (k + 1) / L) of coefficient k; 0 leaves them alone.
      num_chroma: pitch classes in an octave, tuned to A = 440 Hz.
      contrast_bands: octave bands of the spectral contrast, above one that reaches up to contrast_lower_hertz.
      contrast_lower_hertz: where the octaves begin.
      contrast_quantile: share of a band's bins taken for its peak and for its valley.
      rolloff_share: of a frame's magnitude that lies below the roll-off frequency.
      cqt: bands of "cqt".
      deltas: 1 appends the slope over time of every bin, 2 its curvature too.
      delta_frames: frames that a slope is fitted to, odd; beyond its ends a recording goes on as its first and last.
      standardize: give every bin a mean of 0 and a deviation of 1 over the training data. A classifier whose weights
        were learnt elsewhere wants them as they are. Samples of a waveform always stay so.
      implementation: "rfft", or "matmul": the Fourier transform as a matrix product, for runtimes
        without a Fourier operator.
    """

    section: ClassVar[str] = "front_end"

    sample_rate: int = 16_000
    feature: str = "mel"
    frame_length: int = 1024
    frame_step: int = 512
    fft_length: int = 1024
    spectrum: Literal["power", "magnitude"] = "power"
    num_mel_bins: int = 64
    lower_edge_hertz: float = 0.0
    upper_edge_hertz: float | None = None
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    compression: Literal["log", "db", "pcen", "none"] = "log"
    log_offset: float = 1e-6
    top_db: float | None = None
    pcen: PcenConfig = field(default_factory=PcenConfig)
    num_mfcc: int = 20
    mfcc_lifter: float = 0.0
    num_chroma: int = 12
    contrast_bands: int = 6
    contrast_lower_hertz: float = 200.0
    contrast_quantile: float = 0.02
    rolloff_share: float = 0.85
    cqt: ConstantQConfig = field(default_factory=ConstantQConfig)
    deltas: int = 0
    delta_frames: int = 9
    standardize: bool = True
    implementation: Literal["rfft", "matmul"] = "rfft"

    def check(self) -> None:
        self._check_features()
        check_range("front_end.sample_rate", self.sample_rate, 1_000, 384_000)  # Hz
        check_range("front_end.frame_length", self.frame_length, 2, _LONGEST_FRAME)
        check_range("front_end.frame_step", self.frame_step, 1, _LONGEST_FRAME)
        check_range("front_end.fft_length", self.fft_length, 2, _LONGEST_FRAME)
        check(
            self.fft_length >= self.frame_length,
            f"front_end.fft_length ({self.fft_length}) must be at least frame_length ({self.frame_length}).",
        )
        if self.implementation == "rfft":
            check(
                self.fft_length & (self.fft_length - 1) == 0,
                "front_end.fft_length must be a power of two for front_end.implementation 'rfft', not "
                f"{self.fft_length}; choose one, or implementation 'matmul'.",
            )
        if self.uses_mel_bins:
            # A Fourier bin lies in two bands at most. Whether each band has one depends on the scale: mel_matrix tells.
            check_range("front_end.num_mel_bins", self.num_mel_bins, 1, min(self.fft_length, _MOST_BINS))
        check(
            0 <= self.lower_edge_hertz < self.upper_edge <= self.sample_rate / 2,
            "the mel edges must satisfy 0 <= front_end.lower_edge_hertz < front_end.upper_edge_hertz <= "
            f"{self.sample_rate / 2:g}, not {self.lower_edge_hertz:g} and {self.upper_edge:g}.",
        )
        check_range("front_end.log_offset", self.log_offset, 1e-30, 1e30)  # what float32 holds
        if self.top_db is not None:
            check(self.top_db > 0, f"front_end.top_db must be positive, not {self.top_db}.")
        self._check_kinds()

    def _check_features(self) -> None:
        single = (*FILTERBANKS, WAVEFORM)
        for name in self.features:
            if name not in FEATURES + single:
                known = [*FEATURES, *single]
                check(False, unknown_name_message("value for front_end.feature", name, known))
        check(
            len(set(self.features)) == len(self.features),
            f"front_end.feature names a feature twice: {self.feature}.",
        )
        if len(self.features) > 1:
            alone = [name for name in self.features if name in single]
            why = "is no spectrum" if WAVEFORM in alone[:1] else "is learnt"
            check(not alone, f"front_end.feature '{''.join(alone[:1])}' {why} and stands alone, not {self.feature}.")
        check_range("front_end.deltas", self.deltas, 0, 2)
        check(
            3 <= self.delta_frames <= 99 and self.delta_frames % 2 == 1,
            f"front_end.delta_frames must be odd and 3 to 99, not {self.delta_frames}.",
        )
        check(
            self.deltas == 0 or not (self.learnt or self.takes_steps),
            "front_end.deltas needs features that are not learnt; set it to 0, or choose another front_end.feature and "
            "front_end.pcen.trainable=false.",
        )
        if self.pcen.trainable:
            check(
                self.compression == "pcen" and self.feature in ("mel", "spectrogram", *FILTERBANKS),
                "front_end.pcen.trainable needs front_end.compression 'pcen' and front_end.feature 'mel', "
                f"'spectrogram', 'leaf' or 'sincnet', not '{self.compression}' and '{self.feature}'.",
            )

    def _check_kinds(self) -> None:
        if "mfcc" in self.features:
            check_range("front_end.num_mfcc", self.num_mfcc, 1, self.num_mel_bins)
            check_range("front_end.mfcc_lifter", self.mfcc_lifter, 0, 1e6)
        if "chroma" in self.features:
            check_range("front_end.num_chroma", self.num_chroma, 1, 96)
        if "spectral_contrast" in self.features:
            check_range("front_end.contrast_bands", self.contrast_bands, 1, 20)
            check(
                0 < self.contrast_lower_hertz * 2 ** (self.contrast_bands - 1) < self.sample_rate / 2,
                f"the {self.contrast_bands} octaves of the spectral contrast from {self.contrast_lower_hertz:g} Hz do "
                f"not fit below {self.sample_rate / 2:g} Hz; lower front_end.contrast_bands or "
                "front_end.contrast_lower_hertz.",
            )
            check(
                0 < self.contrast_quantile <= 0.5,
                f"front_end.contrast_quantile must be above 0 and at most 0.5, not {self.contrast_quantile}.",
            )
        if "spectral_rolloff" in self.features:
            check(
                0 < self.rolloff_share < 1,
                f"front_end.rolloff_share must be between 0 and 1, not {self.rolloff_share}.",
            )
        if self.filterbank:
            check(
                self.compression != "db",
                f"front_end.feature '{self.feature}' takes front_end.compression 'log', 'pcen' or 'none', not 'db'.",
            )

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are joined, in the order of their bins."""
        return tuple(self.feature.split("+"))

    @property
    def filterbank(self) -> str | None:
        """The learnt filter bank, if the feature is one."""
        return self.feature if self.feature in FILTERBANKS else None

    @property
    def learnt(self) -> bool:
        """Whether a part of the front end is trained with the classifier, as its first layers."""
        return self.filterbank is not None or self.pcen.trainable

    @property
    def takes_steps(self) -> bool:
        """Whether the classifier is given the waveform itself, cut into steps."""
        return self.filterbank is not None or self.feature == WAVEFORM

    @property
    def standardized(self) -> bool:
        """Whether features have a mean of 0 and a deviation of 1; a learnt part sees to that itself."""
        return self.standardize and not self.learnt and not self.takes_steps

    @property
    def spans_frequency(self) -> bool:
        """Whether bins are bands of one spectrum, from low to high, so that neighbours are alike."""
        return self.feature in ("mel", "spectrogram", "cqt") and not self.deltas

    @property
    def uses_mel_bins(self) -> bool:
        """Whether num_mel_bins and the mel scale matter."""
        return bool({"mel", "mfcc", *FILTERBANKS} & set(self.features))

    @property
    def upper_edge(self) -> float:
        """Upper band edge in Hz, with None resolved to half the sample rate."""
        return self.sample_rate / 2 if self.upper_edge_hertz is None else self.upper_edge_hertz

    @property
    def num_bins(self) -> int:
        """Size of the last axis of what is computed from the waveform alone.

        With a learnt filter bank that is the waveform itself, cut into steps.
        """
        if self.takes_steps:
            return self.frame_step
        return (1 + self.deltas) * sum(self.bins_of(name) for name in self.features)

    @property
    def num_learnt_bins(self) -> int:
        """Size of the last axis after the learnt part, if any: what the classifier's body sees."""
        return self.num_mel_bins if self.filterbank else self.num_bins

    def bins_of(self, name: str) -> int:
        """Bins that one feature contributes, before deltas."""
        sizes = {
            "mel": self.num_mel_bins,
            "spectrogram": self.fft_length // 2 + 1,
            "mfcc": self.num_mfcc,
            "chroma": self.num_chroma,
            "spectral_contrast": self.contrast_bands + 1,
            "cqt": self.cqt.num_bins,
        }
        return sizes.get(name, 1)

    def num_frames(self, num_samples: Any) -> Any:
        """Number of frames of a waveform: one centred on every frame_step-th sample.

        Works on integers, arrays and tensors alike, so that the layer, the pipeline and the export share it.

        >>> FrontEndConfig(frame_step=160).num_frames(16_000)
        101
        """
        return 1 + num_samples // self.frame_step
