"""Exported classifiers on a device: NumPy and a TFLite interpreter, no TensorFlow."""

from tfaudio.runtime.classifier import Classifier, Prediction, average, classify_windows
from tfaudio.runtime.detection import Detection, DetectorConfig
from tfaudio.runtime.metadata import ModelMetadata, read_metadata
from tfaudio.runtime.scorers import open_scorer
from tfaudio.runtime.stream import Stream

__all__ = [
    "Classifier",
    "Detection",
    "DetectorConfig",
    "ModelMetadata",
    "Prediction",
    "Stream",
    "average",
    "classify_windows",
    "open_scorer",
    "read_metadata",
]
