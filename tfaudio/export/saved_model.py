"""A trained run to a SavedModel: raw audio or encoded WAV in, scores out, core operators only.

Loading it takes TensorFlow and nothing else, so TensorFlow Serving and a bare `tf.saved_model.load` can both run it.
"""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfaudio.audio.framing import windows
from tfaudio.audio.resample import resample
from tfaudio.audio.wav import decode_wav, is_wav, require, usable
from tfaudio.config import ClipConfig
from tfaudio.data.vocabulary import GraphTokenizer
from tfaudio.errors import TfaudioError, first_line
from tfaudio.export.parity import Array, Score
from tfaudio.export.serving_cost import ServingCost, serving_cost
from tfaudio.labels import LabelMap
from tfaudio.model_settings import ModelMetadata
from tfaudio.text import Tokenizer

# Windows scored at a time, so that an hour of audio takes no more memory for its features than a minute.
_CHUNK = 32


class Server(tf.Module):
    """The functions of the SavedModel.

    Args:
      model: Keras model from waveform [batch, num_samples], or a dict of it and "tokens", to scores [batch, classes].
      clip: window and hop; `seconds` None scores every recording whole.
      sample_rate: Hz, of the waveform that the model takes.
      labels: of the scores.
      assets: files that travel with the model.
    """

    def __init__(
        self, model: keras.Model, *, clip: ClipConfig, sample_rate: int, labels: LabelMap, assets: Sequence[Path]
    ) -> None:
        super().__init__(name="tfaudio")
        # Only the variables are tracked: Keras' own objects would put their configuration into the file.
        self.model_variables = [variable.value for variable in model.variables]
        self.assets = [tf.saved_model.Asset(str(file)) for file in assets]
        self._score = lambda inputs: model(inputs, training=False)
        self._clip, self._sample_rate, self._labels = clip, sample_rate, labels

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="waveform")])
    def waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores float32 [batch, samples], at the model's sample rate, of any length; {"scores": [batch, classes]}."""
        return {"scores": self._score_waveforms(waveform)}

    def _score_waveforms(self, waveform: tf.Tensor, tokens: tf.Tensor | None = None) -> tf.Tensor:
        if self._clip.seconds is None:
            return self._score(_inputs(waveform, tokens))
        batch, num_windows = tf.shape(waveform)[0], self._num_windows(tf.shape(waveform)[1])
        num_samples = self._clip.num_samples(self._sample_rate)
        cut = tf.map_fn(
            lambda row: self._windows(row, num_windows),
            tf.pad(waveform, [[0, tf.cast(batch == 0, tf.int32)], [0, 0]]),  # map_fn fails on an empty batch
            fn_output_signature=tf.TensorSpec([None, num_samples], tf.float32),
        )
        if tokens is not None:
            tokens = tf.repeat(tf.pad(tokens, [[0, tf.cast(batch == 0, tf.int32)], [0, 0]]), num_windows, axis=0)
        scores = self._score_in_chunks(tf.reshape(cut, [-1, num_samples]), tokens)
        scores = tf.reshape(scores, [-1, num_windows, len(self._labels)])[:batch]
        return tf.reduce_mean(scores, axis=1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="wav")])
    def wav(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores string [batch]: encoded WAV, linear or floating-point, of any rate, channels and length, each its own.

        Returns {"scores": [batch, classes], "labels": string [batch, classes]}.
        """
        scores = tf.map_fn(self._score_wav, wav, fn_output_signature=tf.TensorSpec([len(self._labels)], tf.float32))
        return self._with_labels(scores)

    def _with_labels(self, scores: tf.Tensor) -> dict[str, tf.Tensor]:
        labels = tf.tile(tf.constant(self._labels.names)[tf.newaxis], [tf.shape(scores)[0], 1])
        return {"scores": scores, "labels": labels}

    def _score_wav(self, content: tf.Tensor, tokens: tf.Tensor | None = None) -> tf.Tensor:
        content = require(content, is_wav(content), "What was sent is no WAV; convert the recording to one.")
        waveform, rate = usable(*decode_wav(content, way_out="convert it to 16-bit PCM"))
        waveform = resample(waveform, rate, self._sample_rate)
        return self._score_waveforms(waveform[tf.newaxis], None if tokens is None else tokens[tf.newaxis])[0]

    def _num_windows(self, num_samples: tf.Tensor) -> tf.Tensor:
        return self._clip.num_windows(num_samples, self._sample_rate)

    def _windows(self, waveform: tf.Tensor, num_windows: tf.Tensor) -> tf.Tensor:
        return windows(
            waveform,
            num_samples=self._clip.num_samples(self._sample_rate),
            hop=self._clip.hop_samples(self._sample_rate),
            num_windows=num_windows,
            short=self._clip.short,
        )

    def _score_in_chunks(self, waveforms: tf.Tensor, tokens: tf.Tensor | None = None) -> tf.Tensor:
        """float32 [windows, num_samples], and their tokens, to [windows, classes]."""
        count = tf.shape(waveforms)[0]

        def chunk(first: tf.Tensor, parts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            of_chunk = None if tokens is None else tokens[first : first + _CHUNK]
            scores = self._score(_inputs(waveforms[first : first + _CHUNK], of_chunk))
            return first + _CHUNK, parts.write(first // _CHUNK, scores)

        shape = [None, len(self._labels)]
        parts = tf.TensorArray(tf.float32, size=-(-count // _CHUNK), infer_shape=False, element_shape=shape)
        _, parts = tf.while_loop(lambda first, _: first < count, chunk, (tf.constant(0), parts), parallel_iterations=1)
        return tf.ensure_shape(parts.concat(), shape)


class TextServer(Server):
    """The functions of the SavedModel of a run that takes text beside the sound.

    Args:
      tokenizer: of the texts.
      **settings: of `Server`.
    """

    def __init__(self, *, tokenizer: Tokenizer, **settings: Any) -> None:
        super().__init__(**settings)
        self.tokenizer = GraphTokenizer(tokenizer)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.float32, name="waveform"),
            tf.TensorSpec([None], tf.string, name="text"),
        ]
    )
    def waveform(self, waveform: tf.Tensor, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """As of `Server`, with a text each, string [batch] in UTF-8, composed (NFC); "" where there is none."""
        _check_one_each(waveform, text)
        return {"scores": self._score_waveforms(waveform, self.tokenizer(text))}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="wav"), tf.TensorSpec([None], tf.string, name="text")]
    )
    def wav(self, wav: tf.Tensor, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """As of `Server`, with a text each, string [batch] in UTF-8, composed (NFC); "" where there is none."""
        _check_one_each(wav, text)
        scores = tf.map_fn(
            lambda given: self._score_wav(*given),
            (wav, self.tokenizer(text)),
            fn_output_signature=tf.TensorSpec([len(self._labels)], tf.float32),
        )
        return self._with_labels(scores)


def _check_one_each(sounds: tf.Tensor, text: tf.Tensor) -> None:
    tf.debugging.assert_equal(
        tf.shape(text)[0],
        tf.shape(sounds)[0],
        'Give one text for each sound, "" where there is none; the counts differ.',
    )


def _inputs(waveform: tf.Tensor, tokens: tf.Tensor | None) -> Any:
    return waveform if tokens is None else {"waveform": waveform, "tokens": tokens}


def write_saved_model(model: keras.Model, path: Path, metadata: ModelMetadata) -> None:
    """Writes a SavedModel with the signatures "serving_default", "waveform" (the same) and "wav".

    Of a model that takes text each has a second input "text".

    Args:
      model: as of `Server`; num_samples is that of the clip, or open where clip.seconds is None.
      path: folder to write.
      metadata: labels, sample rate and clip of the model: recordings longer than a window are scored by the mean over
        their windows. It becomes the assets labels.txt and tfaudio.json.

    Raises:
      TfaudioError: if the model holds operators that are not TensorFlow's own.
    """
    with tempfile.TemporaryDirectory() as folder:
        texts = metadata.to_files()
        assets = [Path(folder) / name for name in texts]
        for file in assets:
            file.write_text(texts[file.name], "utf-8")
        kind = Server if metadata.tokenizer is None else partial(TextServer, tokenizer=metadata.tokenizer)
        server = kind(
            model=model, clip=metadata.clip, sample_rate=metadata.sample_rate, labels=metadata.labels, assets=assets
        )
        signatures = {"serving_default": server.waveform, "waveform": server.waveform, "wav": server.wav}
        tf.saved_model.save(server, str(path), signatures=signatures)
    foreign = sorted(name for name in operators(path) if not hasattr(tf.raw_ops, name))
    if foreign:
        raise TfaudioError(f"The SavedModel needs operators outside TensorFlow: {', '.join(foreign)}.")


def operators(path: Path) -> set[str]:
    """Names of all operators in a SavedModel, those in its functions too."""
    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    names: set[str] = set()
    for meta in proto.meta_graphs:
        library = meta.graph_def.library.function
        functions = {function.signature.name for function in library}
        nodes = [*meta.graph_def.node, *(node for function in library for node in function.node_def)]
        names |= {node.op for node in nodes} - functions
    return names


def serving_cost_of(path: Path, num_samples: int, *, num_threads: int) -> ServingCost | None:
    """Measures a SavedModel of this package on one window; as `tfaudio.export.serving_cost.serving_cost`."""
    content = saved_model_pb2.SavedModel()
    content.ParseFromString((path / "saved_model.pb").read_bytes())
    signature = content.meta_graphs[0].signature_def["waveform"]
    shapes = {"waveform": (1, num_samples), "text": None}
    return serving_cost(
        path,
        inputs={tensor.name: shapes[name] for name, tensor in signature.inputs.items()},
        output=signature.outputs["scores"].name,
        num_threads=num_threads,
    )


def load_score(path: Path) -> Score:
    """Loads a SavedModel and returns a function from float32 [batch, samples] to scores [batch, classes].

    Of a model that takes text it takes the texts too, a list of one each; without them they are missing.

    Raises:
      TfaudioError: if the folder is no SavedModel of this package.
    """
    try:
        loaded: Any = tf.saved_model.load(str(path))
    except (OSError, ValueError, LookupError, RuntimeError, TypeError, tf.errors.OpError) as error:
        reason = first_line(error)
        raise TfaudioError(f"{path} cannot be loaded as a SavedModel ({reason}); export it again.") from error
    if "waveform" not in loaded.signatures:
        raise TfaudioError(f"{path} has no signature 'waveform'; name a SavedModel that `tfaudio export` wrote.")
    signature = loaded.signatures["waveform"]

    takes_text = "text" in signature.structured_input_signature[1]

    def score(waveforms: Array, texts: Sequence[str] | None = None) -> Array:
        composed = [unicodedata.normalize("NFC", text) for text in texts or [""] * len(waveforms)]  # a graph cannot
        beside = {"text": tf.constant(composed)} if takes_text else {}
        result: Array = signature(waveform=tf.constant(waveforms), **beside)["scores"].numpy()
        return result

    score.loaded = loaded  # type: ignore[attr-defined]  # signatures hold no reference to the object that owns them
    return score
