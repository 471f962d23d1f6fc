"""A causal run to a step model: one hop of a waveform and a state in, scores and the next state out.

The file is stateless, so that any runtime can drive it: a stream begins with a state of zeros, and each call gets the
state that the call before gave. After the hops of a clip the scores are those that the Keras model gives the clip.
A value that is no number leaves the state after a window: nothing in it accumulates.

Three parts are converted by themselves and joined, as for clips: a float front end, the layers up to the pooling over
time (float or int8), and the pooling with what comes behind it, in float again. The int8 model of clips is made of the
same parts, with all frames of a clip as its only hop, so that both compute with the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError
from tfaudio.export import quantize
from tfaudio.export.flatbuffer import halve_energy_matrices, join
from tfaudio.export.streaming_layers import Step
from tfaudio.export.streaming_model import NEXT_STATE, STATE, Runner, check_runs
from tfaudio.export.streaming_timing import Timing, check_front_end
from tfaudio.export.tflite import INPUT, OUTPUT, Conversion, convert_function
from tfaudio.features.front_end import compute_features
from tfaudio.golden import FEATURES_TENSOR
from tfaudio.model_settings import StreamingSettings
from tfaudio.terminal import native_messages_hidden

HOP_SECONDS = 0.02

_BLOCKS, _VALID, _COUNT = "blocks", "valid", "count"

Tensors = dict[str, tf.Tensor]


@dataclass
class _Layout:
    """Where each tensor lies in the flat state."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    def unpack(self, state: tf.Tensor) -> Tensors:
        """float32 [1, size] to tensors by name, [1, ...] each."""
        parts = tf.split(state, [math.prod(shape) for shape in self.shapes.values()], axis=1)
        return {n: tf.reshape(x, [1, *shape]) for (n, shape), x in zip(self.shapes.items(), parts, strict=True)}

    def pack(self, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.concat([tf.reshape(tensors[n], [1, math.prod(s)]) for n, s in self.shapes.items()], axis=1)


class StreamingConverter:
    """Converts a run of a causal model to step models.

    Args:
      bundle: the run.
      num_samples: of the clip whose frames are pooled.
      calibration: float32 [clips, num_samples], training audio that tells the ranges for int8.
      folder: for what conversion leaves lying about; the caller removes it.
      hop_seconds: of audio that one call is to take; rounded to whole frames.

    Raises:
      TfaudioError: if the front end or a layer cannot run frame by frame.
    """

    def __init__(
        self,
        bundle: Bundle,
        num_samples: int,
        calibration: npt.NDArray[np.float32],
        folder: Path,
        *,
        hop_seconds: float = HOP_SECONDS,
    ) -> None:
        config = bundle.config.front_end
        check_front_end(config)
        self._bundle, self._calibration, self._folder = bundle, calibration, folder
        self._num_samples, self._body = num_samples, bundle.body()
        self._parts: dict[str, bytes] = {}
        self._int8_of_clips: quantize.Int8 | None = None
        self.timing = Timing.of(config, num_samples=num_samples, hop_seconds=hop_seconds)
        probe = self._step(tf.ones([1, self.timing.hop_frames, 1]))
        probe.run(tf.zeros([1, self.timing.hop_frames, config.num_bins]))
        # Keras numbers layers by what was built before in the process; a file must not depend on that.
        self._states = {name: f"state_{index}" for index, name in enumerate(probe.kept)}
        self._pools = {name: f"embeddings_{index}" for index, name in enumerate(probe.to_pool)}
        self._layout = _Layout({_BLOCKS: (1,), "audio": (self.timing.audio_samples,)})
        self._layout.shapes |= {self._states[n]: tuple(x.shape[1:]) for n, x in probe.kept.items()}
        self._rings = {
            name: (self.timing.window_frames, int(probe.to_pool[layer].shape[2])) for layer, name in self._pools.items()
        }
        self._layout.shapes |= {f"window_of_{name}": shape for name, shape in self._rings.items()}

    @property
    def settings(self) -> StreamingSettings:
        """What a runtime has to know."""
        timing = self.timing
        return StreamingSettings(
            hop_samples=timing.hop_samples,
            delay_samples=timing.delay_frames * timing.frame_step,
            window_samples=timing.window_frames * timing.frame_step,
            state_size=self._layout.size,
        )

    def convert(self, *, int8: bool) -> Conversion:
        """Converts, and runs the result.

        Returns:
          (waveform float32 [1, hop_samples], state float32 [1, state_size]) to (scores float32 [1, classes],
          next_state like state), builtin operators only.

        Raises:
          TfaudioError: if this model cannot be converted; the message says why.
        """
        body = self._part("body")
        notes: tuple[str, ...] = ()
        if int8:
            clips = self._quantized_clips()
            with native_messages_hidden():
                body, notes = quantize.int8_like(body, clips), clips.notes
        front_end = self._part("front_end")
        parts = [halve_energy_matrices(front_end) if int8 else front_end, body, self._part("head")]
        content = join(parts, inputs=(INPUT, STATE), outputs=(OUTPUT, NEXT_STATE))
        activation = self._bundle.config.model.score_activation
        check_runs(content, self.settings, num_classes=len(self._bundle.labels), activation=activation)
        return Conversion(content, notes)

    def clip_classifier(self, *, int8: bool = True) -> Conversion:
        """Converts the layers for whole clips, in int8 with the integers that the step model has.

        Returns:
          features float32 [1, frames, bins] to logits float32 [1, classes].

        Raises:
          TfaudioError: if this model cannot be converted; the message says why.
        """
        body = self._part("clip_body")
        notes: tuple[str, ...] = ()
        if int8:
            clips = self._quantized_clips()
            body, notes = clips.content, clips.notes
        parts = [self._part("clip_start"), body, self._part("clip_end")]
        return Conversion(join(parts, inputs=(FEATURES_TENSOR,), outputs=("logits",)), notes)

    def _quantized_clips(self) -> quantize.Int8:
        """The layers up to the pooling, of all frames of a clip."""
        if self._int8_of_clips is None:
            quantize.check_can_be_int8(self._body)
            if len(self._calibration) == 0:
                raise TfaudioError("int8 needs training clips to find the ranges of values; pass some.")
            body = self._part("clip_body")
            with native_messages_hidden():
                self._int8_of_clips = quantize.int8(
                    body, self._calibration_inputs(body), judged_by=list(self._pools.values())
                )
        return self._int8_of_clips

    def _part(self, name: str) -> bytes:
        if name not in self._parts:
            clip_inputs = self._body_inputs(self.timing.window_frames)
            kinds: dict[str, tuple[Callable[..., Tensors], dict[str, tuple[int, ...]]]] = {
                "front_end": (self._front_end, {INPUT: (self.timing.hop_samples,), STATE: (self._layout.size,)}),
                "body": (self._body_step, self._body_inputs(self.timing.hop_frames)),
                "head": (self._head, self._head_inputs()),
                "clip_start": (self._clip_start, {FEATURES_TENSOR: clip_inputs[FEATURES_TENSOR]}),
                "clip_body": (self._body_step, clip_inputs),
                "clip_end": (self._clip_end, dict(self._rings)),
            }
            function, shapes = kinds[name]
            specs = [tf.TensorSpec((1, *shape), tf.float32, name=n) for n, shape in shapes.items()]
            folder = self._folder / f"streaming_{name}"
            self._parts[name] = convert_function(function, specs, folder, self._body)
        return self._parts[name]

    def _front_end(self, waveform: tf.Tensor, state: tf.Tensor) -> Tensors:
        """Takes the state apart, and computes the features of the newest frames."""
        timing = self.timing
        tensors = self._layout.unpack(state)
        audio = tf.concat([tensors["audio"], waveform], axis=1)
        features = compute_features(
            audio, self._bundle.config.front_end, self._bundle.normalization, check_values=False
        )[:, timing.lead_frames : timing.lead_frames + timing.hop_frames]
        blocks = tensors[_BLOCKS]  # frame steps heard, as far as that matters
        index = blocks + tf.range(1.0, timing.hop_frames + 1.0) - timing.delay_frames  # of each frame in the stream
        heard = blocks + timing.hop_frames
        passed = {name: tensors[name] for name in (*self._states.values(), *(f"window_of_{n}" for n in self._rings))}
        return {
            FEATURES_TENSOR: features,
            _VALID: tf.reshape(tf.cast(index >= 0.0, tf.float32), [1, timing.hop_frames, 1]),
            _COUNT: tf.clip_by_value(heard - timing.delay_frames + 1.0, 1.0, timing.window_frames),
            f"next_{_BLOCKS}": tf.minimum(heard, float(timing.window_frames + timing.delay_frames)),
            "next_audio": audio[:, timing.hop_samples :],
            **{name: tf.identity(tensor) for name, tensor in passed.items()},
        }

    def _body_step(self, **inputs: tf.Tensor) -> Tensors:
        """The layers up to the pooling."""
        step = self._step(inputs[_VALID], {layer: inputs[name] for layer, name in self._states.items()})
        step.run(inputs[FEATURES_TENSOR])
        embeddings = {name: step.to_pool[layer] for layer, name in self._pools.items()}
        return embeddings | {f"next_{name}": step.kept[layer] for layer, name in self._states.items()}

    def _head(self, **inputs: tf.Tensor) -> Tensors:
        """Pools the newest window of frames, scores it, and puts the next state together."""
        pooled, after = {}, {n: inputs[f"next_{n}"] for n in (_BLOCKS, "audio", *self._states.values())}
        for layer, name in self._pools.items():
            # The window is summed anew each time: a running sum would drift, and keep a NaN for ever.
            window = tf.concat([inputs[f"window_of_{name}"], inputs[name] * inputs[_VALID]], axis=1)
            window = window[:, self.timing.hop_frames :]
            pooled[layer] = tf.reduce_sum(window, axis=1) / inputs[_COUNT]
            after[f"window_of_{name}"] = window
        logits = self._logits(pooled)
        scores = tf.nn.sigmoid(logits) if self._bundle.config.multi_label else tf.nn.softmax(logits)
        return {OUTPUT: scores, NEXT_STATE: self._layout.pack(after)}

    def _logits(self, pooled: Tensors) -> tf.Tensor:
        """The layers behind the pooling."""
        frames, bins = self.timing.hop_frames, self._bundle.config.front_end.num_bins
        step = self._step(tf.ones([1, frames, 1]), pooled=pooled)
        return step.run(tf.zeros([1, frames, bins]))  # these only stand in: what depends on them is cut off

    def _clip_start(self, features: tf.Tensor) -> Tensors:
        """A clip is a stream whose first hop is all that it has."""
        nothing = {name: tf.zeros([1, *self._layout.shapes[name]]) for name in self._states.values()}
        return {FEATURES_TENSOR: tf.identity(features), _VALID: tf.ones([1, features.shape[1], 1]), **nothing}

    def _clip_end(self, **embeddings: tf.Tensor) -> Tensors:
        return {
            "logits": self._logits(
                {layer: tf.reduce_mean(embeddings[name], axis=1) for layer, name in self._pools.items()}
            )
        }

    def _step(
        self, valid: tf.Tensor, states: Mapping[str, Any] | None = None, *, pooled: Mapping[str, Any] | None = None
    ) -> Step:
        return Step(self._body, valid, states or {}, pooled or {})

    def _body_inputs(self, frames: int) -> dict[str, tuple[int, ...]]:
        features = {FEATURES_TENSOR: (frames, self._bundle.config.front_end.num_bins), _VALID: (frames, 1)}
        return features | {name: self._layout.shapes[name] for name in self._states.values()}

    def _head_inputs(self) -> dict[str, tuple[int, ...]]:
        shapes = self._layout.shapes
        frames = self.timing.hop_frames
        inputs: dict[str, tuple[int, ...]] = {_VALID: (frames, 1), _COUNT: (1,)}
        for name, (window, channels) in self._rings.items():
            inputs |= {name: (frames, channels), f"window_of_{name}": (window, channels)}
        return inputs | {f"next_{n}": shapes[n] for n in (_BLOCKS, "audio", *self._states.values())}

    def _calibration_inputs(self, body: bytes) -> Iterator[list[npt.NDArray[np.float32]]]:
        """What the body takes of each calibration clip, in the order of its inputs."""
        front_end, names = self._bundle.front_end(self._num_samples), Runner(body).input_names
        for clip in self._calibration:
            made = self._clip_start(front_end(clip[np.newaxis], training=False))
            yield [made[name].numpy() for name in names]
