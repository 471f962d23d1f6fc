"""When the frames of a stream are complete, and which features can be computed frame by frame; no TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError


@dataclass(frozen=True)
class Timing:
    """How the frames of a clip come out of a stream.

    A frame is centred on a sample, so it is complete some samples later.

    Args:
      frame_step: samples.
      hop_frames: frames, and frame steps, that one call takes.
      delay_frames: the newest frame of a call is centred this many frame steps before the call's last sample.
      lead_frames: frame steps of audio that are kept ahead of the centre of the first frame of a call.
      window_frames: that are pooled: those of a clip.
    """

    frame_step: int
    hop_frames: int
    delay_frames: int
    lead_frames: int
    window_frames: int

    @classmethod
    def of(cls, config: FrontEndConfig, *, num_samples: int, hop_seconds: float) -> Timing:
        """Chooses the hop nearest to hop_seconds, and a delay with which a clip ends where a hop does."""
        step, length = config.frame_step, config.frame_length
        before = max(config.fft_length // 2 - (config.fft_length - length) // 2, length // 2)
        after = length - length // 2
        hop = max(1, round(hop_seconds * config.sample_rate / step))
        window = int(config.num_frames(num_samples))
        delay = max(1, math.ceil(after / step))
        delay += -(window - 1 + delay) % hop
        return cls(step, hop, delay, math.ceil(before / step), window)

    @property
    def hop_samples(self) -> int:
        return self.hop_frames * self.frame_step

    @property
    def audio_samples(self) -> int:
        """Samples that are kept from one call to the next."""
        return (self.lead_frames + self.delay_frames - 1) * self.frame_step

    @property
    def hops_of_clip(self) -> int:
        """Calls until the last frame of a clip is the newest."""
        return (self.window_frames - 1 + self.delay_frames) // self.hop_frames


def check_front_end(config: FrontEndConfig) -> None:
    """Refuses features that look further than their frame.

    Raises:
      TfaudioError: names the setting.
    """
    problem = None
    if config.learnt:
        problem = "a learnt front end (front_end.feature 'leaf' or 'sincnet', or front_end.pcen.trainable)"
    elif config.takes_steps:
        problem = f"front_end.feature '{config.feature}', whose frames are no spectra"
    elif "cqt" in config.features:
        problem = "front_end.feature 'cqt', whose filters are longer than a frame"
    elif config.compression == "pcen":
        problem = "front_end.compression 'pcen', whose running mean begins with the clip"
    elif config.compression == "db" and config.top_db is not None:
        problem = "front_end.top_db, which looks for the loudest value of the whole clip"
    elif config.deltas:
        problem = "front_end.deltas, which look at later frames"
    if problem is not None:
        raise TfaudioError(f"A stream cannot have {problem}; train with other features, such as log-mel bands.")
