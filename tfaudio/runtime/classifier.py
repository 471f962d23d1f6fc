"""Classifies recordings of any rate and length with an exported file: NumPy and a TFLite interpreter."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import IO, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from tfaudio.config import LARGEST_SAMPLE
from tfaudio.errors import TfaudioError, first_line
from tfaudio.interpreter import interpreter_module
from tfaudio.labels import LabelMap
from tfaudio.model_settings import tags_of
from tfaudio.runtime.audio import read_windows
from tfaudio.runtime.metadata import ModelMetadata, parse_metadata, read_model_file

Array = npt.NDArray[np.float32]
TAKES_NO_TEXT = "takes no text; leave the text (--text) out."
ScoreBatch = Callable[[Array], npt.NDArray[Any]]  # float32 [batch, num_samples] to scores [batch, classes]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Scores of a stretch of a recording.

    Args:
      start: seconds from the beginning of the recording.
      end: seconds; of a recording's last window the end of the window, which may lie in the silence added.
      scores: float32 [classes].
      labels: of the scores.
      unknown_below: the score below which the best label is not believed; None believes every one.
      thresholds: of a tagger, the score from which on each class is given, by label; None of what gives one class.
    """

    start: float
    end: float
    scores: Array
    labels: LabelMap
    unknown_below: float | None = None
    thresholds: Mapping[str, float] | None = None

    def top(self, k: int = 1) -> list[tuple[str, float]]:
        """Returns the k best labels with their scores, best first; all of them if there are fewer."""
        if k < 1:
            raise TfaudioError(f"The number of labels to show must be at least 1, not {k}.")
        best = np.argsort(-self.scores, kind="stable")[:k]
        return [(self.labels[int(i)], float(self.scores[i])) for i in best]

    def tags(self) -> list[tuple[str, float]]:
        """Returns the classes that reach their thresholds, with their scores, best first; of what gives one, that one.

        A tagger may give none.
        """
        return self.top() if self.thresholds is None else tags_of(self.scores, self.labels, self.thresholds)

    def to_dict(self) -> dict[str, Any]:
        """Returns start, end, label and score, rounded, ready for JSON.

        Of a tagger its labels with their scores; "unknown" too where the model can tell.
        """
        times = {"start": round(self.start, 3), "end": round(self.end, 3)}
        if self.thresholds is not None:
            return {**times, "labels": {label: round(score, 6) for label, score in self.tags()}}
        label, score = self.top(1)[0]
        found = {**times, "label": label, "score": round(score, 6)}
        return found if self.unknown_below is None else {**found, "unknown": self.unknown}

    @property
    def label(self) -> str:
        """The best label."""
        return self.top(1)[0][0]

    @property
    def score(self) -> float:
        """Score of the best label."""
        return self.top(1)[0][1]

    @property
    def unknown(self) -> bool:
        """Whether this is probably none of the labels."""
        return self.unknown_below is not None and self.score < self.unknown_below


def classify_windows(
    windows: Iterable[tuple[float, Array]],
    score_batch: ScoreBatch,
    *,
    labels: LabelMap,
    sample_rate: int,
    batch_size: int = 1,
    unknown_below: float | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Iterator[Prediction]:
    """Scores windows as they come, so that a recording of any length takes bounded memory.

    The same function serves a TFLite file, a SavedModel and a Keras model: they differ in `score_batch`.

    Args:
      windows: (start in seconds, float32 [num_samples]), as `read_windows` yields them.
      score_batch: float32 [up to batch_size, num_samples] to scores [the same, classes].
      labels: of the scores.
      sample_rate: Hz, of the windows.
      batch_size: windows scored at a time; they must then be of one length.
      unknown_below: as of `Prediction`.
      thresholds: of a tagger, by label.

    Yields:
      One prediction a window.

    Raises:
      TfaudioError: if the scores are not one a label, or are not finite numbers.
    """
    rows = iter(windows)
    while chunk := list(itertools.islice(rows, batch_size)):
        scores = np.asarray(score_batch(np.stack([window for _, window in chunk])), np.float32)
        if scores.shape != (len(chunk), len(labels)):
            raise TfaudioError(f"The model gives {scores.shape[-1]} scores, but there are {len(labels)} labels.")
        if not np.isfinite(scores).all():
            raise TfaudioError(
                "The model's scores are not numbers (NaN or infinity), as after a training that diverged; train it "
                "again with a lower learning rate (--learning_rate)."
            )
        for (start, window), row in zip(chunk, scores, strict=True):
            end = start + len(window) / sample_rate
            yield Prediction(start, end, row, labels, unknown_below, thresholds)


def average(predictions: Iterable[Prediction]) -> Prediction:
    """Joins the predictions of windows into one of the whole: the mean of their scores, each window counting alike.

    Raises:
      TfaudioError: if there are none.
    """
    total: npt.NDArray[np.float64] | None = None
    count, end = 0, 0.0
    first: Prediction | None = None
    for prediction in predictions:
        if total is None or first is None:
            total, first = np.zeros(len(prediction.scores)), prediction
        total += prediction.scores
        count, end = count + 1, max(end, prediction.end)
    if total is None or first is None:
        raise TfaudioError("There is no window to average over.")
    return replace(first, end=end, scores=(total / count).astype(np.float32))


class Classifier:
    """An exported `.tflite` file, ready to classify; labels, rate and window length come from the file itself.

    One object serves one thread at a time: the interpreter keeps its tensors between calls.

    Args:
      path: a file that `tfaudio export` wrote.
      num_threads: that the interpreter may use.

    Raises:
      TfaudioError: if the file cannot be used, or no interpreter is installed; the message says what to do.

    Example:

        classifier = Classifier("model_int8.tflite")
        classifier.classify("dog.wav").top(3)
        classifier.classify("dog.wav", text="walk in the park").top(3)  # of a model that takes text too
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1) -> None:
        content = read_model_file(path)
        self._name = str(path)
        self.metadata: ModelMetadata = parse_metadata(content, self._name)
        if self.metadata.streaming is not None:
            raise TfaudioError(
                f"{path} takes a stream, not recordings; run it with `python -m tfaudio.runtime.listen`, or name a "
                "file of another format."
            )
        self._interpreter = load_interpreter(content, str(path), num_threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        tokenizer = self.metadata.tokenizer
        wanted = [f"float32 [1, {self.num_samples}]", *([f"int32 [1, {tokenizer.length}]"] if tokenizer else [])]
        if forms_of(inputs) != wanted:
            raise TfaudioError(
                f"{path} takes {listed(forms_of(inputs))}, but its metadata says {listed(wanted)}; export it again."
            )
        if forms_of(outputs) != [f"float32 [1, {len(self.labels)}]"]:
            raise TfaudioError(
                f"{path} gives {listed(forms_of(outputs))}, but its {len(self.labels)} labels want "
                f"float32 [1, {len(self.labels)}]; export it again."
            )
        self._input, *texts = inputs
        (self._output,) = outputs
        self._tokens = [int(details["index"]) for details in texts]

    @property
    def labels(self) -> LabelMap:
        return self.metadata.labels

    @property
    def sample_rate(self) -> int:
        """Hz, of the waveform that `scores` takes; `classify` resamples by itself."""
        return self.metadata.sample_rate

    @property
    def num_samples(self) -> int:
        """Length of the waveform that `scores` takes."""
        return self.metadata.num_samples

    def scores(self, waveform: npt.ArrayLike, text: str | None = None) -> Array:
        """Scores one window.

        Args:
          waveform: float [num_samples], mono, in [-1, 1], at `sample_rate`. Of a model that takes text, zeros alone are
            missing sound.
          text: about the recording; None or "" is none.

        Returns:
          float32 [classes], summing to one; of a tagger each by itself.

        Raises:
          TfaudioError: if the waveform has another shape, holds integers, NaN or values far beyond full scale, or the
            model takes no text.
        """
        tokenizer = self.metadata.tokenizer
        if text and tokenizer is None:
            raise TfaudioError(f"{self._name} {TAKES_NO_TEXT}")
        samples = np.asarray(waveform)
        if samples.dtype.kind != "f":
            raise TfaudioError(
                f"The waveform holds {samples.dtype.name} values; scale it to floats in [-1, 1] first "
                "(int16 samples / 32768)."
            )
        if samples.shape != (self.num_samples,):
            raise TfaudioError(
                f"The waveform has shape {samples.shape}, the model takes ({self.num_samples},): "
                f"{self.num_samples / self.sample_rate:g} s of mono audio at {self.sample_rate} Hz. "
                "`classify` takes recordings of any length."
            )
        if not np.isfinite(samples).all():
            raise TfaudioError("The waveform holds NaN or infinite samples; repair its source.")
        if np.abs(samples).max(initial=0.0) > LARGEST_SAMPLE:
            raise TfaudioError(
                f"The waveform reaches {np.abs(samples).max():g} where full scale is 1, which looks like 16-bit "
                "integers; divide it by 32768."
            )
        self._interpreter.set_tensor(self._input["index"], samples.astype(np.float32, copy=False)[np.newaxis])
        if tokenizer is not None:
            self._interpreter.set_tensor(self._tokens[0], tokenizer.tokens([text]))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output["index"])[0], np.float32)

    @overload
    def classify(
        self, file: str | os.PathLike[str] | IO[bytes], *, per_window: Literal[False] = False, text: str | None = None
    ) -> Prediction: ...

    @overload
    def classify(
        self, file: str | os.PathLike[str] | IO[bytes], *, per_window: Literal[True], text: str | None = None
    ) -> list[Prediction]: ...

    def classify(
        self, file: str | os.PathLike[str] | IO[bytes], *, per_window: bool = False, text: str | None = None
    ) -> Prediction | list[Prediction]:
        """Classifies a recording of any rate, number of channels and length.

        Args:
          file: path, or a binary file object.
          per_window: return one prediction a window instead of their average.
          text: about the recording, for a model that takes one; None or "" is none.

        Raises:
          TfaudioError: if the recording cannot be read, or the model takes no text.
        """
        predictions = self.windows(file, text=text)
        return list(predictions) if per_window else average(predictions)

    def windows(self, file: str | os.PathLike[str] | IO[bytes], *, text: str | None = None) -> Iterator[Prediction]:
        """Yields one prediction a window while the recording is being read; for long ones."""
        windows = read_windows(file, sample_rate=self.sample_rate, clip=self.metadata.clip)
        return classify_windows(
            windows,
            functools.partial(self.score_batch, text=text),
            labels=self.labels,
            sample_rate=self.sample_rate,
            unknown_below=self.metadata.unknown_below,
            thresholds=self.metadata.tag_thresholds,
        )

    def score_batch(self, waveforms: Array, text: str | None = None) -> Array:
        """Scores windows of a recording one after the other: float32 [batch, num_samples] to [batch, classes]."""
        return np.stack([self.scores(waveform, text) for waveform in waveforms])


def forms_of(tensors: Iterable[Mapping[str, Any]]) -> list[str]:
    """Type and shape of each input or output, by what the interpreter tells of it."""
    return [f"{np.dtype(t['dtype']).name} {[int(n) for n in t['shape']]}" for t in tensors]


def listed(forms: Iterable[str]) -> str:
    """Names forms in a sentence."""
    return " and ".join(forms) or "nothing"


def load_interpreter(content: bytes, name: str, num_threads: int) -> Any:
    """Returns an interpreter of a file's bytes, ready to be invoked; `name` is what messages call it.

    Raises:
      TfaudioError: if it does not run here, or no interpreter is installed.
    """
    if num_threads < 1:
        raise TfaudioError(f"num_threads must be at least 1, not {num_threads}.")
    try:
        interpreter = interpreter_module().Interpreter(model_content=content, num_threads=num_threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise TfaudioError(
            f"{name} does not run on this interpreter ({first_line(error)}); update it with "
            "`pip install --upgrade ai-edge-litert`."
        ) from error
    return interpreter
