"""Classifiers as functional Keras models, by name."""

from tfaudio.models import (  # noqa: F401  (each files itself in the registry)
    ast,
    attention,
    audio_text,
    backbone,
    bc_resnet,
    cnn,
    crnn,
    dense,
    ds_cnn,
    kwt,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    vgg,
)
from tfaudio.models.registry import MODELS, build_model

__all__ = ["MODELS", "build_model"]
