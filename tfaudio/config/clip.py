"""What length of audio a classifier sees, and what both resamplers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tfaudio.config.base import Config, check
from tfaudio.errors import TfaudioError

_LONGEST_SECONDS = 3_600.0  # a longer recording is cut into windows, or taken whole


@dataclass(frozen=True, kw_only=True)
class ClipConfig(Config):
    """What length of audio one call of the classifier sees, and how recordings are brought to it.

    Args:
      seconds: length of one window; None takes each recording whole, padded under a mask.
      hop_seconds: from one window of a long recording to the next, at most `seconds`, which None stands for (no
        overlap).
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
            check(
                value is None or 0 < value <= _LONGEST_SECONDS,
                f"clip.{name} must be positive and at most {_LONGEST_SECONDS:g}, not {value}.",
            )

        if self.hop_seconds is not None:
            check(
                self.seconds is not None and self.hop_seconds <= self.seconds,
                f"clip.hop_seconds {self.hop_seconds:g} must be at most clip.seconds, which is {self.seconds}: windows "
                "are to cover the recording.",
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

    def reach(self, source_rate: int, target_rate: int) -> float:
        """How far the kernel extends to either side, in source samples."""
        return self.zero_crossings / (self.rolloff * min(1.0, target_rate / source_rate))


RESAMPLER = ResamplerKernel()

# Hz that a recording may have. What lies outside is a damaged header, and would ask for terabytes.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
