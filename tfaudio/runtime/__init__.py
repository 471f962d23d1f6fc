"""Exported classifiers on a device: NumPy and a TFLite interpreter, no TensorFlow."""

from tfaudio.runtime.classifier import Classifier, Prediction, average, classify_windows
from tfaudio.runtime.metadata import ModelMetadata, read_metadata

__all__ = ["Classifier", "ModelMetadata", "Prediction", "average", "classify_windows", "read_metadata"]
