"""Classifiers as functional Keras models, by name."""

from tfaudio.models import attention, bc_resnet, cnn, dense, ds_cnn  # noqa: F401  (each files itself in the registry)
from tfaudio.models.registry import MODELS, build_model

__all__ = ["MODELS", "build_model"]
