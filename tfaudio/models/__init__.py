"""Classifiers as functional Keras models, by name."""

from tfaudio.models import (  # noqa: F401  (each files itself in the registry)
    ast,
    attention,
    audio_text,
    backbone,
    bc_resnet,
    cnn,
    conformer,
    crnn,
    dense,
    ds_cnn,
    efficientnet,
    ensemble,
    kwt,
    mha_rnn,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    vgg,
    waveform_cnn,
    yamnet,
)
from tfaudio.models.registry import MODELS, build_model

__all__ = ["MODELS", "build_model"]
