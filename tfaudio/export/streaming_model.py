"""Running a step model where it was made: over whole clips, to compare it with the model that takes clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError, first_line
from tfaudio.export.streaming_timing import Timing
from tfaudio.export.tflite import INPUT, OUTPUT, check_are_scores, refuse_foreign_operators
from tfaudio.model_settings import StreamingSettings

STATE, NEXT_STATE = "state", "next_state"

Array = npt.NDArray[np.float32]


class Runner:
    """A TFLite file of one signature; takes and gives tensors by name."""

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_content=content, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TfaudioError(f"The converted file does not run: {first_line(error)}") from error
        self._run = self._interpreter.get_signature_runner()
        by_index = {details["index"]: name for name, details in self._run.get_input_details().items()}
        self.input_names = [by_index[details["index"]] for details in self._interpreter.get_input_details()]

    def input_shape(self, name: str) -> tuple[int, ...]:
        return tuple(int(n) for n in self._run.get_input_details()[name]["shape"])

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(self._run(**inputs))


class StreamingModel:
    """A step model that scores whole clips, hop by hop from a state of zeros.

    Args:
      content: the file.
      timing: of it.
      num_threads: that the interpreter may use.
    """

    def __init__(self, content: bytes, timing: Timing, *, num_threads: int = 1) -> None:
        self._runner, self._timing = Runner(content, num_threads), timing

    def score(self, waveforms: Array) -> Array:
        """Scores float32 [batch, num_samples], one by one; gives float32 [batch, classes]."""
        return np.stack([self.step_scores(waveform)[-1] for waveform in waveforms])

    def step_scores(self, waveform: Array) -> Array:
        """Scores after each hop, float32 [hops, classes]; silence follows until the last frame is complete."""
        return np.stack([made[OUTPUT][0] for _, made in self.calls(waveform)])

    def calls(self, waveform: Array) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """What each call takes and what it gives, by name."""
        timing = self._timing
        frames = len(waveform) // timing.frame_step + timing.delay_frames
        state = np.zeros(self._runner.input_shape(STATE), np.float32)
        for hop in hops(waveform, timing.hop_samples, -(-frames // timing.hop_frames)):
            given = {INPUT: hop, STATE: state}
            made = self._runner(given)
            yield given, made
            state = made[NEXT_STATE]


def hops(waveform: Array, hop_samples: int, count: int) -> Iterator[Array]:
    """Cuts float32 [num_samples] into `count` hops [1, hop_samples], with silence behind its end."""
    filled = np.pad(waveform.astype(np.float32, copy=False), [0, max(0, count * hop_samples - len(waveform))])
    yield from filled[: count * hop_samples].reshape(count, 1, hop_samples)


def check_runs(content: bytes, settings: StreamingSettings, *, num_classes: int, activation: str = "softmax") -> None:
    """Proves that a step model has the promised form and runs.

    Raises:
      TfaudioError: if it holds operators that are not builtin, has other shapes, does not run, or gives what its
        activation cannot give.
    """
    refuse_foreign_operators(content)
    runner = Runner(content)
    state = np.zeros([1, settings.state_size], np.float32)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, settings.hop_samples)
    for samples in (np.zeros(settings.hop_samples), noise):
        made = runner({INPUT: samples[np.newaxis].astype(np.float32), STATE: state})
        scores, state = made[OUTPUT], made[NEXT_STATE]
        if scores.shape != (1, num_classes) or state.shape != (1, settings.state_size):
            raise TfaudioError(f"The converted step model gives {scores.shape} and {state.shape}; report this.")
        check_are_scores(scores, activation, "step model")
