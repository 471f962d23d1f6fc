"""Which TFLite interpreter is installed."""

from __future__ import annotations

import importlib
from typing import Any

from tfaudio.errors import TfaudioError

# The second is the older package of the same interpreter, for boards that the first has no wheels for.
_INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


def interpreter_module() -> Any:
    """Returns the module of whichever TFLite interpreter is installed.

    Raises:
      TfaudioError: if there is none.
    """
    for name in _INTERPRETERS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise TfaudioError("Running a .tflite file takes an interpreter; install one with `pip install ai-edge-litert`.")
