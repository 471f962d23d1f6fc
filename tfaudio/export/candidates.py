"""The artifacts of one export on their way to the gate: made, measured and, where they fail, taken apart."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from tfaudio import golden
from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError, first_line
from tfaudio.export import microcontroller, saved_model
from tfaudio.export.layer_errors import LayerError, layer_errors
from tfaudio.export.metadata import with_metadata
from tfaudio.export.parity import Score, median_latency_ms
from tfaudio.export.quantize import check_can_be_int8
from tfaudio.export.report import (
    CALIBRATED,
    FORMATS,
    SAVED_MODEL,
    STEP_MODELS,
    STREAMING_INT8,
    TFLM,
    WAVEFORM_FILES,
    WITH_TEXT,
)
from tfaudio.export.streaming import StreamingConverter
from tfaudio.export.streaming_model import STATE, StreamingModel
from tfaudio.export.tflite import INPUT, Conversion, TfliteConverter, TfliteModel
from tfaudio.memory import memory_of
from tfaudio.model_settings import Calibration, ModelMetadata

Waveforms = npt.NDArray[np.float32]

_CLIPS_TAKEN_APART = 4  # clips on which the layers of a withheld file are compared
_HOPS_TAKEN_APART = 4  # of each of them, where it is taken hop by hop


@dataclass
class Candidate:
    """An artifact on its way to the gate.

    Args:
      name: of its format.
      content: bytes of a file or, where the format is a folder, the folder.
      score: float32 [batch, num_samples], of a run with text beside the texts, to scores [batch, classes].
      notes: what else to know.
      problem: why it could not be made; the other fields are then empty.
      model: the TFLite file that counts in a folder of several.
      memory_bytes: where it is known without a measurement.
      calls: of the file that scoring one window takes: one for each hop of a step model.
    """

    name: str
    content: bytes | Path | None = None
    score: Score | None = None
    notes: tuple[str, ...] = ()
    problem: str | None = None
    model: bytes | None = None
    memory_bytes: int | None = None
    calls: int = 1

    @property
    def size_bytes(self) -> int | None:
        if self.model is not None:
            return len(self.model)
        if isinstance(self.content, Path):
            return sum(file.stat().st_size for file in self.content.rglob("*") if file.is_file())
        return None if self.content is None else len(self.content)


@dataclass(frozen=True)
class Cost:
    """What running an artifact takes, beside what the gate measures; None where it cannot be told.

    Args:
      latency_ms: on one thread, in a process of its own, where that differs from what the gate measures.
      latency_2_threads_ms: likewise, on two.
      memory_bytes: in a process of its own.
      problem: why a measurement failed.
    """

    latency_ms: float | None = None
    latency_2_threads_ms: float | None = None
    memory_bytes: int | None = None
    problem: str | None = None


def check_text(bundle: Bundle, name: str) -> None:
    """Raises TfaudioError for a format that a run which takes text cannot be had in."""
    if bundle.tokenizer is not None and name not in WITH_TEXT:
        raise TfaudioError(
            f"{name} cannot be made of a model that takes text beside the sound, which is converted with float "
            f"activations and a waveform and tokens at a time; export {', '.join(WITH_TEXT)}."
        )


def default_formats(bundle: Bundle) -> tuple[str, ...]:
    """Returns those of FORMATS that a run's kind of model can be had in, by the rules that refuse the others."""

    def fits(name: str) -> bool:
        try:
            check_text(bundle, name)
            if name in CALIBRATED:
                check_can_be_int8(bundle.body())
        except TfaudioError:
            return False
        return True

    return tuple(name for name in FORMATS if fits(name))


@contextlib.contextmanager
def _failure_told(what: str, way_out: str) -> Iterator[None]:
    """Turns what an interpreter raises (RuntimeError, ValueError) into a sentence."""
    try:
        yield
    except TfaudioError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = first_line(error).rstrip(".")
        raise TfaudioError(f"{what} ({reason}); {way_out}.") from error


class Maker:
    """Makes candidates; the parts that the variants share are made once.

    Args:
      bundle: the run.
      keras_model: from waveform to scores.
      metadata: what all formats say of themselves; the variant is filled in.
      calibration: float32 [clips, num_samples], training audio.
      calibration_names: of the recordings it is from.
      classifiers: TFLite files from features to logits to take for a variant, in place of the run's classifier.
      folder: for what conversion leaves lying about; the caller removes it.
    """

    def __init__(
        self,
        bundle: Bundle,
        keras_model: keras.Model,
        metadata: ModelMetadata,
        calibration: Waveforms,
        calibration_names: Sequence[str],
        classifiers: Mapping[str, bytes],
        folder: Path,
    ) -> None:
        self._bundle, self._keras_model, self._folder = bundle, keras_model, folder
        self._about, self._calibration, self._classifiers = metadata, calibration, classifiers
        self._calibrated = Calibration.of_names(len(calibration), calibration_names)
        self._tflite_converter: TfliteConverter | None = None
        self._streaming_converter: StreamingConverter | None = None

    def make(self, name: str) -> Candidate:
        """Makes the candidate of a format; one that cannot be made says why."""
        try:
            with _failure_told(f"{name} cannot be made", "export another format"):
                return self._make(name)
        except TfaudioError as error:
            return Candidate(name, problem=str(error))

    def _make(self, name: str) -> Candidate:
        check_text(self._bundle, name)
        if name in STEP_MODELS:
            return self._streaming(name)
        if name == SAVED_MODEL:
            return self._saved_model()
        return self._microcontroller() if name == TFLM else self._tflite(name)

    def cost(self, candidate: Candidate) -> Cost:
        """Measures a candidate that could be made; that it cannot be measured here says nothing against it."""
        try:
            with _failure_told(f"Time and memory of {candidate.name} cannot be measured", "they are not told"):
                return self._cost(candidate)
        except TfaudioError as error:
            return Cost(problem=str(error))

    def _cost(self, candidate: Candidate) -> Cost:
        if candidate.name == SAVED_MODEL and isinstance(candidate.content, Path):
            return self._serving_cost(candidate.content)
        if not isinstance(candidate.content, bytes):
            return Cost(memory_bytes=candidate.memory_bytes)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".tflite") as file:
            file.write(candidate.content)
            file.flush()
            memory = memory_of(file.name)
        score: Score
        if candidate.name in STEP_MODELS:
            score = StreamingModel(candidate.content, self._streams.timing, num_threads=2).score
        elif candidate.name in WAVEFORM_FILES:
            score = TfliteModel(candidate.content, num_threads=2).score
        else:
            return Cost(memory_bytes=memory)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, [1, self._about.num_samples]).astype(np.float32)
        return Cost(latency_2_threads_ms=median_latency_ms(score, noise) / candidate.calls, memory_bytes=memory)

    def _serving_cost(self, path: Path) -> Cost:
        if self._about.clip.seconds is None:
            return Cost()  # recordings of any length: no call is like the other
        on_one, on_two = (saved_model.serving_cost_of(path, self._about.num_samples, num_threads=n) for n in (1, 2))
        if on_one is None or on_two is None:
            return Cost()
        return Cost(on_one.latency_ms, on_two.latency_ms, on_one.memory_bytes)

    def layer_errors(self, candidate: Candidate) -> tuple[list[LayerError], str | None]:
        """Compares the operators of a TFLite file with those of the float32 one.

        Returns:
          One entry an operator, none for what is no other's form; and, where comparing failed, why.
        """
        try:
            with _failure_told(f"The layers of {candidate.name} cannot be compared", "compare the scores alone"):
                return self._layer_errors(candidate), None
        except TfaudioError as error:
            return [], str(error)

    def _layer_errors(self, candidate: Candidate) -> list[LayerError]:
        clips = self._calibration[:_CLIPS_TAKEN_APART]
        if not len(clips):
            clips = golden.to_float(golden.waveforms(self._about.num_samples, self._about.sample_rate))
        content = candidate.content if candidate.model is None else candidate.model
        if not isinstance(content, bytes):
            return []
        if candidate.name in WAVEFORM_FILES[1:]:
            converter = self._converter
            if candidate.name == "int8" and "int8" not in self._classifiers:
                alike = self._int8_of_streams(int8=False)
                converter = converter if alike is None else self._tflite_converter_of({"float32": alike.content})
            return layer_errors(converter.convert("float32").content, content, clips[:, np.newaxis, np.newaxis])
        if candidate.name == STREAMING_INT8:
            reference = self._streams.convert(int8=False).content
            return layer_errors(reference, content, self._calls(reference, clips))
        if candidate.name == TFLM:
            features = self._bundle.front_end(self._about.num_samples)(clips, training=False)
            reference = self._converter.classifier("float32")
            return layer_errors(reference, content, np.asarray(features)[:, np.newaxis, np.newaxis])
        return []

    def _calls(self, step_model: bytes, clips: Waveforms) -> Iterator[list[Waveforms]]:
        """What a step model takes in a few hops of each clip."""
        timing = self._streams.timing
        for clip in clips:
            calls = StreamingModel(step_model, timing).calls(clip)
            every = max(1, timing.hops_of_clip // _HOPS_TAKEN_APART)
            for given, _ in itertools.islice(calls, every - 1, None, every):
                yield [given[INPUT], given[STATE]]

    @property
    def _converter(self) -> TfliteConverter:
        if self._tflite_converter is None:
            self._tflite_converter = self._tflite_converter_of(self._classifiers)
        return self._tflite_converter

    def _tflite_converter_of(self, classifiers: Mapping[str, bytes]) -> TfliteConverter:
        about = self._about
        return TfliteConverter(
            self._bundle, about.num_samples, self._calibration, self._folder, classifiers, self._int8_of_streams
        )

    def _int8_of_streams(self, *, int8: bool = True) -> Conversion | None:
        """The classifier of clips with the integers that a step model has; None of a model that takes no streams."""
        try:
            streams = self._streams
        except TfaudioError:
            return None
        return streams.clip_classifier(int8=int8)

    @property
    def _streams(self) -> StreamingConverter:
        if self._streaming_converter is None:
            self._streaming_converter = StreamingConverter(
                self._bundle, self._about.num_samples, self._calibration, self._folder
            )
        return self._streaming_converter

    def _saved_model(self) -> Candidate:
        path = self._folder / SAVED_MODEL
        saved_model.write_saved_model(self._keras_model, path, self._metadata(SAVED_MODEL))
        return Candidate(SAVED_MODEL, path, saved_model.load_score(path))

    def _tflite(self, variant: str) -> Candidate:
        conversion = self._converter.convert(variant)
        content = with_metadata(conversion.content, self._metadata(variant))
        model = TfliteModel(content, tokenizer=self._bundle.tokenizer)
        return Candidate(variant, content, model.score, conversion.notes)

    def _streaming(self, variant: str) -> Candidate:
        converter = self._streams
        conversion = converter.convert(int8=variant == STREAMING_INT8)
        content = with_metadata(conversion.content, replace(self._metadata(variant), streaming=converter.settings))
        score = StreamingModel(content, converter.timing).score
        return Candidate(variant, content, score, conversion.notes, calls=converter.timing.hops_of_clip)

    def _microcontroller(self) -> Candidate:
        content = self._converter.convert_bare()
        front_end = self._bundle.front_end(self._about.num_samples)
        classifier = microcontroller.BareClassifier(content, front_end, self._about.score_activation)
        package = microcontroller.package(content, classifier, self._metadata(TFLM))
        folder = self._folder / microcontroller.FOLDER
        folder.mkdir()
        for name, data in package.files.items():
            (folder / name).write_bytes(data)
        return Candidate(TFLM, folder, classifier.score, package.notes, model=content, memory_bytes=package.arena_bytes)

    def _metadata(self, variant: str) -> ModelMetadata:
        return replace(self._about, variant=variant, calibration=self._calibrated if variant in CALIBRATED else None)
