"""Any Keras model of one input to TFLite, by the way that runs go."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from tfaudio.export.tflite import convert_folder, save_function


def save_static(model: keras.Model, folder: Path, *, shape: tuple[int, ...] | None = None) -> Path:
    """Writes a SavedModel from "input", one example of a shape, to "output"; returns its folder."""
    spec = tf.TensorSpec(shape or (1, *model.inputs[0].shape[1:]), tf.float32, name="input")
    return save_function(lambda input: {"output": model(input, training=False)}, [spec], folder, model)


def convert_static(
    model: keras.Model, folder: Path, variant: str = "float32", *, shape: tuple[int, ...] | None = None
) -> bytes:
    """Converts to TFLite by way of that folder."""
    return convert_folder(save_static(model, folder, shape=shape), variant)
