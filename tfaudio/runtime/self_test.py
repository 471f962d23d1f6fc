"""Does a model compute here what it computed where it was made? Replays the golden vectors that lie beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfaudio import golden
from tfaudio.errors import TfaudioError
from tfaudio.golden import Golden
from tfaudio.interpreter import interpreter_module
from tfaudio.model_settings import ModelMetadata
from tfaudio.runtime.classifier import Array, Classifier
from tfaudio.runtime.metadata import parse_metadata, read_model_file
from tfaudio.runtime.scorers import StepModel

# Standardised features, so in deviations of the training data. Front ends but those of float32 and of the float step
# model hold half-precision mel bands; and integer kernels round differently from one processor to the next.
_FEATURE_TOLERANCE = {"float32": 1e-3, "streaming": 1e-3}
_SCORE_TOLERANCE = {"float32": 1e-4, "streaming": 1e-4}
_OTHER_FEATURE_TOLERANCE, _OTHER_SCORE_TOLERANCE = 5e-3, 5e-2


@dataclass(frozen=True)
class SelfTest:
    """What a replay found.

    Args:
      model: the file.
      vectors: number of waveforms replayed.
      feature_difference: largest difference to the features of the Keras front end; inf where one is no number.
      feature_tolerance: what is allowed.
      score_difference: largest difference to the scores that this very file gave at its export.
      score_tolerance: what is allowed.
    """

    model: str
    vectors: int
    feature_difference: float
    feature_tolerance: float
    score_difference: float
    score_tolerance: float

    @property
    def ok(self) -> bool:
        return self.feature_difference <= self.feature_tolerance and self.score_difference <= self.score_tolerance

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, ready for JSON, which knows no infinity."""
        numbers = {key: value if np.isfinite(value) else None for key, value in vars(self).items() if key != "model"}
        return {"model": self.model, "ok": self.ok, **numbers}


def run_self_test(model: str | os.PathLike[str], vectors: str | os.PathLike[str] | None = None) -> SelfTest:
    """Replays golden vectors through a model file: the features of its front end, and its scores.

    Args:
      model: a `.tflite` file that `tfaudio export` wrote.
      vectors: golden.npz of the same export; None takes the one in the model's folder.

    Raises:
      TfaudioError: if a file cannot be used, or the vectors are of another export.
    """
    path = Path(model)
    content = read_model_file(path)
    expected = Golden.read(path.parent / golden.FILE if vectors is None else Path(vectors))
    name = next((name for name, digest in expected.sha256.items() if digest == golden.sha256(content)), None)
    if name is None:
        raise TfaudioError(f"The golden vectors are not of {path}; copy {golden.FILE} of the same export beside it.")
    metadata = parse_metadata(content, str(path))
    variant = metadata.variant
    if metadata.streaming is None:
        classifier = Classifier(path)
        scores = np.stack([classifier.scores(waveform) for waveform in expected.inputs])
    else:
        step_model = StepModel(path)
        scores = np.stack([_last_scores(step_model, hops) for hops in _hops_of(expected.inputs, metadata)])
    features = front_end_features(content, expected.inputs, metadata)
    return SelfTest(
        model=str(path),
        vectors=len(expected.waveforms),
        feature_difference=_largest_difference(features, expected.features),
        feature_tolerance=_FEATURE_TOLERANCE.get(variant, _OTHER_FEATURE_TOLERANCE),
        score_difference=_largest_difference(scores, expected.scores[name]),
        score_tolerance=_SCORE_TOLERANCE.get(variant, _OTHER_SCORE_TOLERANCE),
    )


def front_end_features(content: bytes, waveforms: Array, metadata: ModelMetadata | None = None) -> Array:
    """Returns what the front end inside a model file gives.

    Args:
      content: the file.
      waveforms: float32 [batch, num_samples].
      metadata: of the file, needed where it takes a stream.

    Returns:
      float32 [batch, frames, bins].

    Raises:
      TfaudioError: if the file does not name its features.
    """
    module = interpreter_module()
    interpreter = module.Interpreter(
        model_content=content,
        # Delegates merge operators, and tensors between operators share memory, unless told otherwise.
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    found = [t for t in interpreter.get_tensor_details() if t["name"] == golden.FEATURES_TENSOR]
    if len(found) != 1:
        raise TfaudioError("The model file does not say where its features are; export it again.")
    waveform_input, *state_input = (details["index"] for details in interpreter.get_input_details())
    next_state = [details["index"] for details in interpreter.get_output_details()][1:]

    def features_of(calls: Array) -> Array:
        """Of consecutive calls [calls, samples], from a state of zeros on where the model has one."""
        frames = []
        for index in state_input:
            interpreter.set_tensor(index, np.zeros_like(interpreter.get_tensor(index)))
        for call in calls:
            interpreter.set_tensor(waveform_input, call[np.newaxis])
            interpreter.invoke()
            frames.append(interpreter.get_tensor(found[0]["index"])[0])
            for index, after in zip(state_input, next_state, strict=False):  # tokens come from no call before
                interpreter.set_tensor(index, interpreter.get_tensor(after))
        return np.asarray(np.concatenate(frames), np.float32)

    if metadata is None or metadata.streaming is None:
        return np.stack([features_of(waveform[np.newaxis]) for waveform in waveforms])
    early = metadata.streaming.delay_samples // metadata.front_end.frame_step - 1  # centred before the first sample
    return np.stack([features_of(hops)[early:] for hops in _hops_of(waveforms, metadata)])


def _hops_of(waveforms: Array, metadata: ModelMetadata) -> Array:
    """float32 [batch, num_samples] to [batch, hops, hop_samples], with silence until the last frame is complete."""
    assert metadata.streaming is not None
    hop, step = metadata.streaming.hop_samples, metadata.front_end.frame_step
    total = waveforms.shape[1] // step * step + metadata.streaming.delay_samples
    count = -(-total // hop)
    filled = np.pad(waveforms, [[0, 0], [0, max(0, count * hop - waveforms.shape[1])]])
    return filled[:, : count * hop].reshape(len(waveforms), count, hop)


def _last_scores(model: StepModel, hops: Array) -> Array:
    model.reset()
    return [model.step(hop) for hop in hops][-1]


def _largest_difference(actual: Array, expected: Array) -> float:
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.abs(actual - expected).max())
