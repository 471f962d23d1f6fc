"""Settings: frozen dataclasses that go to JSON and back, and refuse what they do not know.

Every parameter of the package has its one default here. Nothing in this module imports TensorFlow, so a
command can check its flags, and a device can read a model's settings, in milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar

from tfaudio.errors import TfaudioError
from tfaudio.registry import unknown_name_message

C = TypeVar("C", bound="Config")

# Bounds beyond which nothing is computed, only memory or a number format exhausted.
_LONGEST_FRAME = 2**16  # samples
_MOST_MEL_BINS = 1024
_LONGEST_CLIP_SECONDS = 3_600.0  # a longer recording is cut into windows, or taken whole
_MOST_SEEDS = 2**32  # NumPy takes no other
_MOST_STEPS = 1_000_000
_MOST_EXAMPLES = 65_536


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise TfaudioError(message)


def _check_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise TfaudioError(f"{key} must be {low:.15g} to {high:.15g}, not {value}.")


def _coerce(value: Any, kind: Any, key: str) -> Any:
    """Checks a JSON value against a field's annotation and gives it the field's exact type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return _coerce(value, inner, key)
    if origin is Literal:
        if value not in arguments:
            raise TfaudioError(unknown_name_message(f"value for {key}", str(value), [str(a) for a in arguments]))
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, typing.Iterable):
            raise TfaudioError(f"{key} must be a list, not {value!r}.")
        return tuple(_coerce(v, arguments[0], key) for v in value)
    if origin is dict:
        _check(isinstance(value, Mapping), f"{key} must be a mapping, not {value!r}.")
        return dict(value)
    if isinstance(kind, type) and issubclass(kind, Config):
        return value if isinstance(value, kind) else kind.from_dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise TfaudioError(f"{key} must be a finite number.")
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise TfaudioError(f"{key} must be of type {kind.__name__}, not {value!r}.")
    return value


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all settings: typed, frozen, to and from JSON; an unknown key or a wrong type raises."""

    section: ClassVar[str] = ""  # of RunConfig, by which messages name a setting as the user sets it

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        prefix = f"{self.section}." if self.section else ""
        for f in fields(self):
            object.__setattr__(self, f.name, _coerce(getattr(self, f.name), hints[f.name], prefix + f.name))
        self.check()

    def check(self) -> None:
        """Raises TfaudioError if the values do not fit together."""

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
        """Builds the settings from a mapping; missing keys keep their defaults.

        Raises:
          TfaudioError: on an unknown key, a wrong type or values that do not fit together.
        """
        known = [f.name for f in fields(cls)]
        prefix = f"{cls.section}." if cls.section else ""
        if not isinstance(values, Mapping):
            name, first = cls.section or cls.__name__, prefix + known[0]
            raise TfaudioError(f"{name} must be a mapping of settings such as {first}, not {values!r}.")
        for key in values:
            if key not in known:
                raise TfaudioError(unknown_name_message("setting", f"{prefix}{key}", [prefix + k for k in known]))
        return cls(**values)

    @classmethod
    def from_json(cls: type[C], text: str, *, source: str = "the configuration") -> C:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # a number of too many digits, brackets too deep
            raise TfaudioError(f"{source} is not valid JSON: {error}.") from error
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def replace(self: C, **changes: Any) -> C:
        return dataclasses.replace(self, **changes)

    def override(self: C, overrides: Mapping[str, Any]) -> C:
        """Returns a copy with dotted keys replaced.

        >>> RunConfig().override({"front_end.num_mel_bins": 40}).front_end.num_mel_bins
        40
        """
        values = self.to_dict()
        for key, value in overrides.items():
            *parents, leaf = key.split(".")
            target = values
            for parent in parents:
                if not isinstance(target.get(parent), dict):
                    raise TfaudioError(unknown_name_message("setting", key, _dotted_keys(self.to_dict())))
                target = target[parent]
            if leaf not in target and not (parents and parents[-1] == "options"):
                raise TfaudioError(unknown_name_message("setting", key, _dotted_keys(self.to_dict())))
            target[leaf] = value
        return type(self).from_dict(values)


def _dotted_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in values.items():
        keys += _dotted_keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return keys


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig(Config):
    """How a waveform becomes features: the only place that states a rate, a hop or a band edge.

    Args:
      sample_rate: Hz; every waveform is resampled to it.
      feature: "mel" for a mel spectrogram, "spectrogram" for a linear one.
      frame_length: samples under the periodic Hann window.
      frame_step: samples from one frame to the next.
      fft_length: points of the Fourier transform, at least frame_length; a power of two for "rfft",
        since on-device transforms take no other.
      num_mel_bins: mel bands (feature "mel" only).
      lower_edge_hertz: lower edge of the lowest mel band, Hz.
      upper_edge_hertz: upper edge of the highest mel band, Hz; None is half the sample rate.
      mel_scale: "slaney" (librosa's default) or "htk".
      mel_norm: "slaney" makes each band's area one; "none" makes its peak one.
      compression: "log" is ln(power + log_offset); "db" is 10 log10(max(power, log_offset)); "none".
      log_offset: power; keeps the logarithm finite on silence.
      top_db: with "db", values further than this below the loudest of the same example are raised to
        that floor; None keeps them.
      implementation: "rfft", or "matmul": the Fourier transform as a matrix product, for runtimes
        without a Fourier operator.
    """

    section: ClassVar[str] = "front_end"

    sample_rate: int = 16_000
    feature: Literal["mel", "spectrogram"] = "mel"
    frame_length: int = 1024
    frame_step: int = 512
    fft_length: int = 1024
    num_mel_bins: int = 64
    lower_edge_hertz: float = 0.0
    upper_edge_hertz: float | None = None
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    compression: Literal["log", "db", "none"] = "log"
    log_offset: float = 1e-6
    top_db: float | None = None
    implementation: Literal["rfft", "matmul"] = "rfft"

    def check(self) -> None:
        _check_range("front_end.sample_rate", self.sample_rate, 1_000, 384_000)  # Hz
        _check_range("front_end.frame_length", self.frame_length, 2, _LONGEST_FRAME)
        _check_range("front_end.frame_step", self.frame_step, 1, _LONGEST_FRAME)
        _check_range("front_end.fft_length", self.fft_length, 2, _LONGEST_FRAME)
        _check(
            self.fft_length >= self.frame_length,
            f"front_end.fft_length ({self.fft_length}) must be at least frame_length ({self.frame_length}).",
        )
        if self.implementation == "rfft":
            _check(
                self.fft_length & (self.fft_length - 1) == 0,
                "front_end.fft_length must be a power of two for front_end.implementation 'rfft', not "
                f"{self.fft_length}; choose one, or implementation 'matmul'.",
            )
        if self.feature == "mel":
            # A Fourier bin lies in two bands at most. Whether each band has one depends on the scale: mel_matrix tells.
            _check_range("front_end.num_mel_bins", self.num_mel_bins, 1, min(self.fft_length, _MOST_MEL_BINS))
        _check(
            0 <= self.lower_edge_hertz < self.upper_edge <= self.sample_rate / 2,
            "the mel edges must satisfy 0 <= front_end.lower_edge_hertz < front_end.upper_edge_hertz <= "
            f"{self.sample_rate / 2:g}, not {self.lower_edge_hertz:g} and {self.upper_edge:g}.",
        )
        _check_range("front_end.log_offset", self.log_offset, 1e-30, 1e30)  # what float32 holds
        if self.top_db is not None:
            _check(self.top_db > 0, f"front_end.top_db must be positive, not {self.top_db}.")

    @property
    def upper_edge(self) -> float:
        """Upper band edge in Hz, with None resolved to half the sample rate."""
        return self.sample_rate / 2 if self.upper_edge_hertz is None else self.upper_edge_hertz

    @property
    def num_bins(self) -> int:
        """Size of the last axis of the features."""
        return self.num_mel_bins if self.feature == "mel" else self.fft_length // 2 + 1

    def num_frames(self, num_samples: Any) -> Any:
        """Number of frames of a waveform: one centred on every frame_step-th sample.

        Works on integers, arrays and tensors alike, so that the layer, the pipeline and the export share it.

        >>> FrontEndConfig(frame_step=160).num_frames(16_000)
        101
        """
        return 1 + num_samples // self.frame_step


@dataclass(frozen=True, kw_only=True)
class ClipConfig(Config):
    """What length of audio one call of the classifier sees, and how recordings are brought to it.

    Args:
      seconds: length of one window; None takes each recording whole, padded under a mask.
      hop_seconds: from one window of a long recording to the next; None is `seconds` (no overlap).
      short: what fills a recording shorter than a window: "pad" with silence (which the classifier
        hears, on the device as in training) or "tile" by repeating it.
    """

    section: ClassVar[str] = "clip"

    seconds: float | None = 5.0
    hop_seconds: float | None = None
    short: Literal["pad", "tile"] = "pad"

    def check(self) -> None:
        for name in ("seconds", "hop_seconds"):
            value = getattr(self, name)
            _check(
                value is None or 0 < value <= _LONGEST_CLIP_SECONDS,
                f"clip.{name} must be positive and at most {_LONGEST_CLIP_SECONDS:g}, not {value}.",
            )

    def num_samples(self, sample_rate: int) -> int:
        """Samples in a window.

        Raises:
          TfaudioError: if the length is left open (seconds is None).
        """
        if self.seconds is None:
            raise TfaudioError("This model takes recordings whole (clip.seconds is null), so it has no window length.")
        return max(1, round(self.seconds * sample_rate))

    def hop_samples(self, sample_rate: int) -> int:
        if self.hop_seconds is None:
            return self.num_samples(sample_rate)
        return max(1, round(self.hop_seconds * sample_rate))

    def num_windows(self, num_samples: Any, sample_rate: int) -> Any:
        """Number of windows of a recording: enough to cover it, at least one.

        A remainder shorter than half a window after the last whole one is dropped where at least one whole
        window stands, so that a recording a few samples too long does not count its last instant as a window.
        Works on integers, arrays and tensors alike, so that the pipeline and the device share it.

        >>> clip = ClipConfig(seconds=1.0)
        >>> [clip.num_windows(n, 8000) for n in (1, 8000, 8001, 12000, 16000)]
        [1, 1, 1, 2, 2]
        """
        window, hop = self.num_samples(sample_rate), self.hop_samples(sample_rate)
        least_rest = max(1, hop - window // 2)
        rest = num_samples - window
        rest = (rest + abs(rest)) // 2  # max(rest, 0), for integers and tensors alike
        return 1 + (rest + hop - least_rest) // hop


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """Where recordings come from and how they are read.

    Args:
      dataset: a name from `tfaudio datasets`, or "folder" or "manifest".
      data_dir: the data set's folder (for "manifest", the CSV file); None only for built-in data.
      engine: "auto" takes the faster decoder for each format; "graph" runs no Python in the pipeline;
        "soundfile" always uses libsndfile.
      validation_fraction: share of the training groups held out for early stopping and the best
        checkpoint, by a hash of the group; 0 trains on all and keeps the last epoch.
      test_fold: the official fold to test on; None uses the data set's split column, or else test_fraction.
      test_fraction: share of the groups held out for testing where the data set has no official split.
      strict: stop at the first recording that cannot be used, instead of skipping and listing it.
      memory_gigabytes: decoded waveforms are kept in memory up to this size; beyond it they are decoded
        anew in every epoch.
      parallel_calls: recordings prepared at a time; 0 lets tf.data tune it.
    """

    section: ClassVar[str] = "data"

    dataset: str = "folder"
    data_dir: str | None = None
    engine: Literal["auto", "graph", "soundfile"] = "auto"
    validation_fraction: float = 0.0
    test_fold: int | None = None
    test_fraction: float = 0.2
    strict: bool = False
    memory_gigabytes: float = 4.0
    parallel_calls: int = 0

    def check(self) -> None:
        _check(self.data_dir != "", "data.data_dir (--data_dir) is empty; name the folder, or leave the setting out.")
        _check(
            0 <= self.validation_fraction < 1,
            f"data.validation_fraction must be in [0, 1), not {self.validation_fraction}.",
        )
        _check(0 < self.test_fraction < 1, f"data.test_fraction must be in (0, 1), not {self.test_fraction}.")
        _check_range("data.memory_gigabytes", self.memory_gigabytes, 0, 1_000_000)
        _check_range("data.parallel_calls", self.parallel_calls, 0, 1024)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Config):
    """Random changes to training examples; a value of 0 switches a change off.

    Args:
      time_shift: largest circular shift, as a share of the clip.
      gain_db: largest change of level, up or down.
      noise_probability: share of examples that get white noise.
      noise_snr_db: lowest and highest signal-to-noise ratio of that noise.
      time_masks: stretches of frames set to the mean (SpecAugment).
      time_mask_fraction: longest stretch, as a share of the frames.
      frequency_masks: bands set to the mean.
      frequency_mask_fraction: widest band, as a share of the bins.
      mixup_alpha: parameter of the Beta distribution that mixes pairs of examples and their labels.
    """

    section: ClassVar[str] = "augment"

    time_shift: float = 0.5
    gain_db: float = 6.0
    noise_probability: float = 0.25
    noise_snr_db: tuple[float, ...] = (10.0, 40.0)
    time_masks: int = 2
    time_mask_fraction: float = 0.12
    frequency_masks: int = 2
    frequency_mask_fraction: float = 0.12
    mixup_alpha: float = 0.3

    def check(self) -> None:
        for name in ("time_shift", "noise_probability", "time_mask_fraction", "frequency_mask_fraction"):
            _check(0 <= getattr(self, name) <= 1, f"augment.{name} must be in [0, 1], not {getattr(self, name)}.")
        for name, most in {"gain_db": 120, "time_masks": 1000, "frequency_masks": 1000, "mixup_alpha": 1000}.items():
            _check_range(f"augment.{name}", getattr(self, name), 0, most)
        _check(
            len(self.noise_snr_db) == 2 and self.noise_snr_db[0] <= self.noise_snr_db[1],
            f"augment.noise_snr_db must be a lowest and a highest ratio, not {list(self.noise_snr_db)}.",
        )
        for ratio in self.noise_snr_db:
            _check_range("augment.noise_snr_db", ratio, -200, 200)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Which classifier, and keyword arguments for its builder.

    Args:
      name: a name from `tfaudio.models.MODELS`.
      options: keyword arguments of that builder; an unknown one raises when the model is built.
    """

    section: ClassVar[str] = "model"

    name: str = "cnn"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """How weights are found.

    Args:
      epochs: passes over the training examples.
      batch_size: examples a step, over all replicas.
      learning_rate: peak rate of AdamW.
      warmup_fraction: share of the steps over which the rate rises from 0; it falls to 0 by a cosine after.
      weight_decay: decoupled decay of kernels (not of biases and normalisation).
      label_smoothing: share of each target spread evenly over the classes.
      class_weights: weigh examples by the inverse frequency of their class.
      early_stopping_patience: epochs without a better validation loss before stopping; 0 never stops.
        Needs data.validation_fraction.
      strategy: where to train: "auto" takes all GPUs, or the CPU where there is none.
      mixed_precision: compute in float16 on GPU, bfloat16 on TPU.
      seed: every random choice follows from it.
    """

    section: ClassVar[str] = "training"

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup_fraction: float = 0.1
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    class_weights: bool = False
    early_stopping_patience: int = 0
    strategy: Literal["auto", "cpu", "mirrored", "multi_worker", "tpu"] = "auto"
    mixed_precision: bool = False
    seed: int = 0

    def check(self) -> None:
        _check_range("training.epochs", self.epochs, 1, _MOST_STEPS)
        _check_range("training.batch_size", self.batch_size, 1, _MOST_EXAMPLES)
        _check(0 < self.learning_rate <= 100, f"training.learning_rate must be in (0, 100], not {self.learning_rate}.")
        for name in ("warmup_fraction", "label_smoothing"):
            _check(0 <= getattr(self, name) < 1, f"training.{name} must be in [0, 1), not {getattr(self, name)}.")
        _check_range("training.weight_decay", self.weight_decay, 0, 100)
        _check_range("training.early_stopping_patience", self.early_stopping_patience, 0, _MOST_STEPS)
        _check_range("training.seed", self.seed, 0, _MOST_SEEDS - 1)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """All settings of a training run; stored in its folder."""

    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def check(self) -> None:
        _check(
            self.training.early_stopping_patience == 0 or self.data.validation_fraction > 0,
            "training.early_stopping_patience needs data.validation_fraction above 0: stopping on the test "
            "set would flatter the result.",
        )


@dataclass(frozen=True)
class ResamplerKernel:
    """The low-pass kernel of both resamplers, in TensorFlow and in NumPy: a sinc under a Kaiser window.

    The transition band ends at the lower of the two Nyquist frequencies, so that nothing folds back.

    Args:
      zero_crossings: of the sinc on either side of its centre.
      rolloff: the sinc's cut-off (its -6 dB point), as a share of the lower Nyquist frequency.
      kaiser_beta: shape of the window; 9.5 puts the stop band 95 dB down.
      matrix_limit: entries of the resampling matrix above which (for nearly coprime rates) the kernel is
        interpolated between `phases` instead.
      phases: of the kernel that linear interpolation chooses from; 1024 keep its error below -115 dB.
    """

    zero_crossings: int = 64
    rolloff: float = 0.95
    kaiser_beta: float = 9.5
    matrix_limit: int = 2**20
    phases: int = 1024


RESAMPLER = ResamplerKernel()

# Hz that a recording may have. What lies outside is a damaged header, and would ask for terabytes.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
