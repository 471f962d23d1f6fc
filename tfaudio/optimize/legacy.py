"""tf-keras and the optimisation toolkit that only knows it, imported when they are needed and not before."""

from __future__ import annotations

import functools
import os
from types import ModuleType

_SWITCH = "TF_USE_LEGACY_KERAS"


@functools.cache
def tf_keras() -> ModuleType:
    """Returns tf-keras, the Keras 2 that tensorflow-model-optimization is written for."""
    import tf_keras as module

    return module


@functools.cache
def tfmot() -> ModuleType:
    """Returns tensorflow-model-optimization, and leaves the environment as it was.

    Its import sets a variable under which `tf.keras` means tf-keras. This package never asks for `tf.keras`; but the
    processes that it starts, and the caller's own, would inherit the choice.
    """
    before = os.environ.get(_SWITCH)
    try:
        import tensorflow_model_optimization as module
    finally:
        os.environ.pop(_SWITCH, None)
        if before is not None:
            os.environ[_SWITCH] = before
    return module
