"""Random changes to training examples.

What has one setting is a key of `AugmentConfig`; what has several is a group with a `probability`, the share of
examples that it changes. A range is a lowest and a highest value, of which one is drawn for each example.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tfaudio.config.base import Config, check, check_range

NoiseColor = Literal["white", "pink", "brown"]
FilterKind = Literal["low_pass", "high_pass", "band_pass"]
CodecKind = Literal["telephone", "low_rate"]


def _check_share(key: str, value: float) -> None:
    check(0 <= value <= 1, f"{key} must be in [0, 1], not {value}.")


def _check_pair(key: str, pair: tuple[float, ...], low: float, high: float, what: str = "value") -> None:
    check(
        len(pair) == 2 and pair[0] <= pair[1],
        f"{key} must be a lowest and a highest {what}, not {list(pair)}.",
    )
    for value in pair:
        check_range(key, value, low, high)


def _check_choice(key: str, names: tuple[str, ...]) -> None:
    check(
        len(names) > 0 and len(set(names)) == len(names),
        f"{key} must name each choice once and at least one, not {list(names)}.",
    )


@dataclass(frozen=True, kw_only=True)
class _Group(Config):
    """What changes a share of the examples.

    Args:
      probability: that share; 0 switches the change off.
    """

    probability: float = 0.0

    def check(self) -> None:
        _check_share(f"{self.section}.probability", self.probability)

    def _check_pair(self, name: str, low: float, high: float, what: str = "value") -> None:
        _check_pair(f"{self.section}.{name}", getattr(self, name), low, high, what)

    def _check_folder(self, folder: str | None, condition: str) -> None:
        check(
            not self.probability or folder not in (None, ""),
            f"{self.section}.probability is above 0{condition}, but {self.section}.dir names no folder of recordings.",
        )


@dataclass(frozen=True, kw_only=True)
class SpeedConfig(_Group):
    """Playing faster or slower by resampling: pitch and tempo change together.

    Args:
      factor: of the speed, lowest and highest; 2 is an octave up in half the time.
    """

    section: ClassVar[str] = "augment.speed"

    factor: tuple[float, ...] = (0.9, 1.1)

    def check(self) -> None:
        super().check()
        self._check_pair("factor", 0.25, 4, "factor")


@dataclass(frozen=True, kw_only=True)
class TimeStretchConfig(_Group):
    """Another tempo at the same pitch, by a phase vocoder.

    Args:
      factor: of the tempo, lowest and highest; 2 takes half the time.
    """

    section: ClassVar[str] = "augment.time_stretch"

    factor: tuple[float, ...] = (0.8, 1.25)

    def check(self) -> None:
        super().check()
        self._check_pair("factor", 0.25, 4, "factor")


@dataclass(frozen=True, kw_only=True)
class PitchShiftConfig(_Group):
    """Another pitch at the same tempo, by a phase vocoder and resampling.

    Args:
      semitones: up (down below 0), lowest and highest.
    """

    section: ClassVar[str] = "augment.pitch_shift"

    semitones: tuple[float, ...] = (-2.0, 2.0)

    def check(self) -> None:
        super().check()
        self._check_pair("semitones", -24, 24, "shift")


@dataclass(frozen=True, kw_only=True)
class ReverbConfig(_Group):
    """A room around the sound, by convolution with an impulse response.

    Args:
      source: of the responses: "room" simulates rooms by the image-source method, "decay" takes noise that decays
        exponentially, "files" takes recordings.
      dir: folder of recorded responses, for "files".
      rt60_seconds: time in which the sound falls by 60 dB, shortest and longest; for "room" and "decay".
      longest_seconds: a response is cut off here.
      responses: that are made, for "room" and "decay"; each example draws one of them.
    """

    section: ClassVar[str] = "augment.reverb"

    source: Literal["room", "decay", "files"] = "room"
    dir: str | None = None
    rt60_seconds: tuple[float, ...] = (0.2, 0.6)
    longest_seconds: float = 0.8
    responses: int = 16

    def check(self) -> None:
        super().check()
        self._check_pair("rt60_seconds", 0.01, 10, "time")
        check_range("augment.reverb.longest_seconds", self.longest_seconds, 0.001, 2)
        check_range("augment.reverb.responses", self.responses, 1, 1000)
        if self.source == "files":
            self._check_folder(self.dir, ' and augment.reverb.source "files"')


@dataclass(frozen=True, kw_only=True)
class BackgroundConfig(_Group):
    """Recordings of background sound, mixed in.

    Args:
      dir: folder of recordings; folders in it are searched too.
      snr_db: signal-to-noise ratio, lowest and highest.
      memory_megabytes: that the decoded recordings may take.
    """

    section: ClassVar[str] = "augment.background"

    dir: str | None = None
    snr_db: tuple[float, ...] = (5.0, 30.0)
    memory_megabytes: float = 512.0

    def check(self) -> None:
        super().check()
        self._check_pair("snr_db", -200, 200, "ratio")
        check_range("augment.background.memory_megabytes", self.memory_megabytes, 0, 1_000_000)
        self._check_folder(self.dir, "")


@dataclass(frozen=True, kw_only=True)
class FilterConfig(_Group):
    """The frequency response of another microphone or loudspeaker.

    Args:
      kinds: one of which is drawn for each example.
      low_pass_hertz: where the treble ends (-3 dB), lowest and highest; for "low_pass" and "band_pass".
      high_pass_hertz: where the bass begins (-3 dB), lowest and highest; for "high_pass" and "band_pass".
    """

    section: ClassVar[str] = "augment.filter"

    kinds: tuple[FilterKind, ...] = ("low_pass", "high_pass", "band_pass")
    low_pass_hertz: tuple[float, ...] = (1_500.0, 7_000.0)
    high_pass_hertz: tuple[float, ...] = (50.0, 800.0)

    def check(self) -> None:
        super().check()
        _check_choice("augment.filter.kinds", self.kinds)
        self._check_pair("low_pass_hertz", 1, 1_000_000, "frequency")
        self._check_pair("high_pass_hertz", 1, 1_000_000, "frequency")
        check(
            "band_pass" not in self.kinds or self.high_pass_hertz[1] < self.low_pass_hertz[0],
            f"augment.filter.high_pass_hertz {list(self.high_pass_hertz)} must lie below augment.filter.low_pass_hertz "
            f"{list(self.low_pass_hertz)} where augment.filter.kinds holds band_pass: nothing would be left between.",
        )


@dataclass(frozen=True, kw_only=True)
class ClippingConfig(_Group):
    """A recorder that was set too loud: the waveform's peaks are cut off flat.

    Args:
      below_peak_db: how far below the largest sample, least and most.
    """

    section: ClassVar[str] = "augment.clipping"

    below_peak_db: tuple[float, ...] = (1.0, 12.0)

    def check(self) -> None:
        super().check()
        self._check_pair("below_peak_db", 0, 100, "level")


@dataclass(frozen=True, kw_only=True)
class CodecConfig(_Group):
    """What a transmission leaves of the sound.

    Args:
      kinds: one of which is drawn for each example: "telephone" is 300 to 3400 Hz in 8 bits of mu-law, "low_rate"
        cuts off sharply, as a codec of few bits does.
      bandwidth_hertz: where "low_rate" cuts off, lowest and highest.
    """

    section: ClassVar[str] = "augment.codec"

    kinds: tuple[CodecKind, ...] = ("telephone", "low_rate")
    bandwidth_hertz: tuple[float, ...] = (2_000.0, 6_000.0)

    def check(self) -> None:
        super().check()
        _check_choice("augment.codec.kinds", self.kinds)
        self._check_pair("bandwidth_hertz", 1, 1_000_000, "frequency")


@dataclass(frozen=True, kw_only=True)
class FilterAugmentConfig(_Group):
    """Gains over frequency, straight lines between a few random bins (FilterAugment).

    Args:
      bands: between whose edges the lines run, fewest and most.
      deviations: largest gain, up or down, in standard deviations of the standardised features; 1 is some 8 to 10 dB
        for log-mel features of recordings in the field.
    """

    section: ClassVar[str] = "augment.filter_augment"

    bands: tuple[int, ...] = (3, 6)
    deviations: float = 0.7

    def check(self) -> None:
        super().check()
        self._check_pair("bands", 1, 100, "number")
        check_range("augment.filter_augment.deviations", self.deviations, 0, 100)


@dataclass(frozen=True, kw_only=True)
class _Mixture(_Group):
    """What mixes examples in shares that are drawn from Beta(alpha, alpha)."""

    alpha: float = 1.0

    def check(self) -> None:
        super().check()
        check(0 < self.alpha <= 1000, f"{self.section}.alpha must be above 0 and at most 1000, not {self.alpha}.")


@dataclass(frozen=True, kw_only=True)
class CutMixConfig(_Mixture):
    """A stretch of time taken from another example, and its label by the share of time.

    Args:
      alpha: the example keeps a share drawn from Beta(alpha, alpha).
    """

    section: ClassVar[str] = "augment.cutmix"


@dataclass(frozen=True, kw_only=True)
class SameClassConfig(_Mixture):
    """A mixture with another example of the same class, which keeps its label.

    Args:
      alpha: the example keeps a share drawn from Beta(alpha, alpha), at least one half.
    """

    section: ClassVar[str] = "augment.same_class"


@dataclass(frozen=True, kw_only=True)
class BetweenClassConfig(_Mixture):
    """A mixture of the waveforms of two examples as if equally loud, and of their labels (between-class learning).

    Args:
      alpha: the example keeps a share drawn from Beta(alpha, alpha), at least one half.
    """

    section: ClassVar[str] = "augment.between_class"


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Config):
    """Random changes to training examples; a value or a probability of 0 switches a change off.

    Args:
      random_crop: a recording longer than a window is cut anywhere; otherwise at its start.
      time_shift: largest circular shift, as a share of the clip.
      polarity_probability: share of examples whose sign is turned.
      gain_db: largest change of level, up or down.
      noise_probability: share of examples that get noise.
      noise_snr_db: lowest and highest signal-to-noise ratio of that noise.
      noise_colors: of that noise, one of which is drawn for each example: "white" has equal power in every hertz,
        "pink" falls by 3 dB an octave, "brown" by 6.
      time_masks: stretches of frames set to the mean (SpecAugment).
      time_mask_fraction: longest stretch, as a share of the frames.
      frequency_masks: bands set to the mean; left out before a learnt filter bank, which has no bands yet.
      frequency_mask_fraction: widest band, as a share of the bins.
      time_warp: farthest that an instant is moved (SpecAugment), as a share of the frames.
      frequency_shift: farthest that the bins are moved, up or down; what moves in is the mean.
      mixup_alpha: parameter of the Beta distribution that mixes pairs of examples and their labels.
      mixup_probability: share of examples that are so mixed.

    The groups are told in their classes.
    """

    section: ClassVar[str] = "augment"

    random_crop: bool = True
    time_shift: float = 0.5
    polarity_probability: float = 0.0
    gain_db: float = 6.0
    noise_probability: float = 0.25
    noise_snr_db: tuple[float, ...] = (10.0, 40.0)
    noise_colors: tuple[NoiseColor, ...] = ("white",)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    time_stretch: TimeStretchConfig = field(default_factory=TimeStretchConfig)
    pitch_shift: PitchShiftConfig = field(default_factory=PitchShiftConfig)
    reverb: ReverbConfig = field(default_factory=ReverbConfig)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    clipping: ClippingConfig = field(default_factory=ClippingConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    time_masks: int = 2
    time_mask_fraction: float = 0.12
    frequency_masks: int = 2
    frequency_mask_fraction: float = 0.12
    time_warp: float = 0.0
    frequency_shift: int = 0
    filter_augment: FilterAugmentConfig = field(default_factory=FilterAugmentConfig)
    mixup_alpha: float = 0.3
    mixup_probability: float = 1.0
    cutmix: CutMixConfig = field(default_factory=CutMixConfig)
    same_class: SameClassConfig = field(default_factory=SameClassConfig)
    between_class: BetweenClassConfig = field(default_factory=BetweenClassConfig)

    def check(self) -> None:
        for name in (
            *("time_shift", "polarity_probability", "noise_probability", "mixup_probability"),
            *("time_mask_fraction", "frequency_mask_fraction"),
        ):
            _check_share(f"augment.{name}", getattr(self, name))
        limits = {"gain_db": 120, "time_masks": 1000, "frequency_masks": 1000, "mixup_alpha": 1000, "time_warp": 0.5}
        for name, most in {**limits, "frequency_shift": 1000}.items():
            check_range(f"augment.{name}", getattr(self, name), 0, most)
        _check_pair("augment.noise_snr_db", self.noise_snr_db, -200, 200, "ratio")
        _check_choice("augment.noise_colors", self.noise_colors)
