"""Scores of a stream, hop by hop: a step model, which was made for it, or a model of clips in a sliding window."""

from __future__ import annotations

import math
import os
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.model_settings import ModelMetadata
from tfaudio.runtime.classifier import Classifier, forms_of, listed, load_interpreter
from tfaudio.runtime.metadata import parse_metadata, read_model_file

Array = npt.NDArray[np.float32]

_HOPS_PER_WINDOW = 4  # of a model of clips, unless told otherwise


class Scorer(Protocol):
    """What a stream asks for its scores."""

    metadata: ModelMetadata
    hop_samples: int
    delay_samples: int

    @property
    def labels(self) -> LabelMap: ...

    def step(self, hop: Array) -> Array:
        """Takes the next float32 [hop_samples] and returns scores, float32 [classes]."""
        ...

    def reset(self) -> None:
        """Begins another stream."""
        ...


class StepModel:
    """A file of the format "streaming": each call gets the state that the call before gave.

    Args:
      path: of the file.
      num_threads: that the interpreter may use.

    Raises:
      TfaudioError: if the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1) -> None:
        content = read_model_file(path)
        self.metadata = parse_metadata(content, str(path))
        if self.metadata.streaming is None:
            raise TfaudioError(f"{path} takes clips, not a stream; export it with --formats=streaming.")
        settings = self.metadata.streaming
        self.hop_samples, self.delay_samples = settings.hop_samples, settings.delay_samples
        self._interpreter = load_interpreter(content, str(path), num_threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        state = (1, settings.state_size)
        wanted = [[f"float32 {[1, width]}", f"float32 {list(state)}"] for width in (self.hop_samples, len(self.labels))]
        for verb, found, told in zip(("takes", "gives"), (forms_of(inputs), forms_of(outputs)), wanted, strict=True):
            if found != told:
                raise TfaudioError(
                    f"{path} {verb} {listed(found)}, but its metadata says {listed(told)}; export it again."
                )
        self._waveform, self._state = (details["index"] for details in inputs)
        self._scores, self._next_state = (details["index"] for details in outputs)
        self._last = np.zeros(state, np.float32)

    @property
    def labels(self) -> LabelMap:
        return self.metadata.labels

    def step(self, hop: Array) -> Array:
        self._interpreter.set_tensor(self._waveform, hop[np.newaxis])
        self._interpreter.set_tensor(self._state, self._last)
        self._interpreter.invoke()
        self._last = self._interpreter.get_tensor(self._next_state)
        return np.asarray(self._interpreter.get_tensor(self._scores)[0], np.float32)

    def reset(self) -> None:
        self._last = np.zeros_like(self._last)


class SlidingWindow:
    """A model of clips, asked for the newest window after every hop; before the stream there was silence.

    Args:
      classifier: the model.
      hop_seconds: from one window to the next; None takes what the model was exported with, or a quarter of a window.

    Raises:
      TfaudioError: if the hop is longer than the window, which would leave sound unheard.
    """

    delay_samples = 0

    def __init__(self, classifier: Classifier, *, hop_seconds: float | None = None) -> None:
        self._classifier = classifier
        self.metadata = classifier.metadata
        rate, window = classifier.sample_rate, classifier.num_samples
        if hop_seconds is None:
            hop_seconds = self.metadata.clip.hop_seconds or window / rate / _HOPS_PER_WINDOW
        self.hop_samples = round(hop_seconds * rate) if math.isfinite(hop_seconds) else 0
        if not 1 <= self.hop_samples <= window:
            raise TfaudioError(
                f"The hop (--hop_seconds) must be above 0 and at most {window / rate:g} s, the model's window, not "
                f"{hop_seconds:g} s."
            )
        self._window = np.zeros(window, np.float32)

    @property
    def labels(self) -> LabelMap:
        return self.metadata.labels

    def step(self, hop: Array) -> Array:
        self._window = np.concatenate([self._window[len(hop) :], hop])
        return self._classifier.scores(self._window)

    def reset(self) -> None:
        self._window = np.zeros_like(self._window)


def open_scorer(
    path: str | os.PathLike[str], *, hop_seconds: float | None = None, num_threads: int = 1
) -> StepModel | SlidingWindow:
    """Opens a model file for a stream, whichever kind it is.

    Args:
      path: a `.tflite` file that `tfaudio export` wrote.
      hop_seconds: from one score to the next, of a model of clips; a step model has its own.
      num_threads: that the interpreter may use.

    Raises:
      TfaudioError: if the file cannot be used, or a step model is given another hop.
    """
    metadata = parse_metadata(read_model_file(path), str(path))
    if metadata.streaming is None:
        return SlidingWindow(Classifier(path, num_threads=num_threads), hop_seconds=hop_seconds)
    if hop_seconds is not None:
        own = metadata.streaming.hop_samples / metadata.sample_rate
        raise TfaudioError(f"{path} is a step model, whose hop is {own:g} s; leave --hop_seconds out.")
    return StepModel(path, num_threads=num_threads)
