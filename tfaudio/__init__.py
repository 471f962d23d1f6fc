"""tfaudio: from a labelled folder of recordings to a classifier that runs on a device.

The public names are imported when they are first used, so that `import tfaudio` costs nothing, and a device
that has no TensorFlow can use those that need none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors read; the table below is what runs
    from tfaudio.bundle import load_bundle as load_bundle
    from tfaudio.config import AugmentConfig as AugmentConfig
    from tfaudio.config import ClipConfig as ClipConfig
    from tfaudio.config import DataConfig as DataConfig
    from tfaudio.config import FrontEndConfig as FrontEndConfig
    from tfaudio.config import ModelConfig as ModelConfig
    from tfaudio.config import RunConfig as RunConfig
    from tfaudio.config import TrainingConfig as TrainingConfig
    from tfaudio.errors import TfaudioError as TfaudioError
    from tfaudio.evaluation.evaluate import evaluate as evaluate
    from tfaudio.export.artifact import export_run as export_run
    from tfaudio.features.front_end import FrontEnd as FrontEnd
    from tfaudio.labels import LabelMap as LabelMap
    from tfaudio.models import MODELS as MODELS
    from tfaudio.models import build_model as build_model
    from tfaudio.runtime.classifier import Classifier as Classifier
    from tfaudio.training.trainer import train as train

__version__ = "0.1.0"

# A public name must not be that of a subpackage (`export`, say): importing the subpackage would replace it.
_MODULES = {
    "AugmentConfig": "tfaudio.config",
    "Classifier": "tfaudio.runtime.classifier",
    "ClipConfig": "tfaudio.config",
    "DataConfig": "tfaudio.config",
    "FrontEnd": "tfaudio.features.front_end",
    "FrontEndConfig": "tfaudio.config",
    "LabelMap": "tfaudio.labels",
    "MODELS": "tfaudio.models",
    "ModelConfig": "tfaudio.config",
    "RunConfig": "tfaudio.config",
    "TfaudioError": "tfaudio.errors",
    "TrainingConfig": "tfaudio.config",
    "build_model": "tfaudio.models",
    "evaluate": "tfaudio.evaluation.evaluate",
    "export_run": "tfaudio.export.artifact",
    "load_bundle": "tfaudio.bundle",
    "train": "tfaudio.training.trainer",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tfaudio' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # so that the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
