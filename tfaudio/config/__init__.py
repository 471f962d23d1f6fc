"""Settings: frozen dataclasses that go to JSON and back, and refuse what they do not know.

Every parameter of the package has its one default here. Nothing in this package imports TensorFlow, so a
command can check its flags, and a device can read a model's settings, in milliseconds.
"""

from tfaudio.config.augment import AugmentConfig
from tfaudio.config.base import Config
from tfaudio.config.clip import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, RESAMPLER, ClipConfig, ResamplerKernel
from tfaudio.config.front_end import LARGEST_SAMPLE, FrontEndConfig
from tfaudio.config.run import DataConfig, ModelConfig, RunConfig, TrainingConfig
from tfaudio.config.text import TextConfig

__all__ = [
    "LARGEST_SAMPLE",
    "MAX_SAMPLE_RATE",
    "MIN_SAMPLE_RATE",
    "RESAMPLER",
    "AugmentConfig",
    "ClipConfig",
    "Config",
    "DataConfig",
    "FrontEndConfig",
    "ModelConfig",
    "ResamplerKernel",
    "RunConfig",
    "TextConfig",
    "TrainingConfig",
]
