"""A recogniser of strings of words: trained on single words joined, tested on speakers that it never heard."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

import tfaudio
from tfaudio.augment.seeds import fold_in, split_seed
from tfaudio.augment.spectrogram import change_features, spec_augment
from tfaudio.bundle import RECOGNIZER, WEIGHTS, clear, read_weights, write_weights
from tfaudio.config import RunConfig
from tfaudio.data.augmentation import check_backgrounds, waveform_augmentation
from tfaudio.data.labelled import LabelledData
from tfaudio.data.split import Split
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import bootstrap_draws
from tfaudio.features.family import smallest_deviations
from tfaudio.features.front_end import compute_features
from tfaudio.features.normalization import Normalization, NormalizationFitter
from tfaudio.files import write_json
from tfaudio.labels import LabelMap
from tfaudio.models.ctc import ctc_recognizer, steps_of
from tfaudio.registry import unknown_name_message
from tfaudio.training.optimizer import make_optimizer
from tfaudio.training.trainer import Progress
from tfaudio.transcription.decoding import beam_decode, edit_distance, greedy_decode
from tfaudio.transcription.strings import Spoken, StringConfig, draw_strings

FORMAT_VERSION = 1
LONGEST_SECONDS = 300  # attention over n steps takes memory of n * n: 2 GB here, and four times that for twice as long
_RESAMPLES = 10_000
_TEST = 1_000_003  # what the seed of the strings to test on has and no epoch's

Search = Literal["greedy", "beam"]
Words = dict[str, list[tuple[npt.NDArray[np.float32], int]]]


@dataclass(frozen=True)
class Recognizer:
    """A trained recogniser.

    Args:
      config: front_end, augment, training and model.options were used.
      strings: how words were joined.
      labels: the words.
      speakers: those it was trained on.
      normalization: of the features.
      model: as `ctc_recognizer` builds it.
    """

    config: RunConfig
    strings: StringConfig
    labels: LabelMap
    speakers: tuple[str, ...]
    normalization: Normalization
    model: keras.Model

    def logits(self, waveforms: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        """Returns float32 [steps, words + 1] of each waveform float32 [samples]; the blank comes first.

        Raises:
          TfaudioError: if a waveform is longer than `LONGEST_SECONDS`.
        """
        longest = max(map(len, waveforms), default=0) / self.config.front_end.sample_rate
        if longest > LONGEST_SECONDS:
            raise TfaudioError(
                f"The recording is {longest:.0f} s long, and a recogniser takes {LONGEST_SECONDS} s at most; cut it in "
                "a pause."
            )
        found = []
        for batch in _batches(waveforms, self.config, self.normalization):
            logits = self.model.predict_on_batch(batch)
            steps = steps_of(batch["mask"].sum(axis=1))
            found += [row[:count] for row, count in zip(logits, steps, strict=True)]
        return found

    def transcribe(self, waveforms: Sequence[npt.NDArray[np.float32]], *, width: int = 16) -> list[tuple[str, ...]]:
        """Returns the words of each waveform: the likeliest that a beam of this width finds, the greedy ones for 1."""
        search: Search = "greedy" if width == 1 else "beam"
        return [
            tuple(self.labels.names[symbol - 1] for symbol in _decoded(logits, search, width))
            for logits in self.logits(waveforms)
        ]

    def save(self, folder: Path) -> None:
        """Writes all that `load_recognizer` needs into a folder that is there, the weights last."""
        clear(folder)  # weights of other settings, or a classifier's run
        write_json(
            folder / RECOGNIZER,
            {
                "format": FORMAT_VERSION,
                "tfaudio": tfaudio.__version__,
                "config": self.config.to_dict(),
                "strings": self.strings.to_dict(),
                "labels": list(self.labels.names),
                "speakers": list(self.speakers),
                "normalization": self.normalization.to_dict(),
            },
        )
        write_weights(folder / WEIGHTS, self.model)


def load_recognizer(folder: str | Path) -> Recognizer:
    """Reads what `Recognizer.save` wrote.

    Raises:
      TfaudioError: if a part is missing, damaged, or of a later version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TfaudioError(f"There is no folder {folder}; train a recogniser by `tfaudio transcribe --output_dir=...`.")
    for name in (RECOGNIZER, WEIGHTS):
        if not (folder / name).is_file():
            raise TfaudioError(
                f"{folder} is not the folder of a recogniser: it holds no {name}; train one with `tfaudio transcribe "
                "--output_dir=...`."
            )
    file = folder / RECOGNIZER
    try:
        document = json.loads(file.read_text("utf-8"))
        if document["format"] > FORMAT_VERSION:
            raise TfaudioError(f"its format {document['format']} is of a later tfaudio")
        config = RunConfig.from_dict(document["config"])
        labels = LabelMap(tuple(document["labels"]))
        recognizer = Recognizer(
            config,
            StringConfig.from_dict(document["strings"]),
            labels,
            tuple(document["speakers"]),
            Normalization.from_dict(document["normalization"]),
            _build(config, len(labels)),
        )
    except (TfaudioError, ValueError, KeyError, TypeError) as error:
        reason = str(error).rstrip(".")
        raise TfaudioError(f"{file} cannot be used ({reason}); restore it or train again.") from error
    read_weights(folder / WEIGHTS, recognizer.model)
    return recognizer


def words_of_speakers(data: LabelledData) -> Words:
    """Sorts a data set's recordings by speaker: waveform and class of each.

    Raises:
      TfaudioError: if it does not say who speaks, has several labels a recording, or does not fit into memory.
    """
    spec, recordings = data.spec, data.recordings
    if recordings.samples is None:
        raise TfaudioError(
            f"The recordings of '{spec.name}' do not fit into data.memory_gigabytes, from which strings are joined; "
            "raise it."
        )
    if any(clip.group is None for clip in spec.clips):
        raise TfaudioError(
            f"Data set '{spec.name}' does not say who speaks; name the speakers in a manifest's `group`."
        )
    if spec.multi_label:
        raise TfaudioError(f"Recordings of '{spec.name}' have several labels, and strings are of single words.")
    waveforms = np.split(recordings.samples.numpy(), np.cumsum(recordings.lengths)[:-1])
    words: Words = {}
    for clip, waveform in zip(recordings.clips, waveforms, strict=True):
        words.setdefault(str(clip.group), []).append((waveform, data.spec.labels.index(clip.label)))
    return words


def train_recognizer(
    config: RunConfig,
    strings: StringConfig,
    data: LabelledData,
    *,
    test_speakers: Sequence[str],
    progress: bool = True,
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Recognizer:
    """Trains on all speakers but those to test on; the last epoch's weights are kept.

    Args:
      config: front_end, augment (of single waveforms, and masks), training and model.options are used.
      strings: how words are joined.
      data: single words, in memory.
      test_speakers: whom training never hears.
      progress: show a bar.
      log: takes lines about the way.

    Raises:
      TfaudioError: if there is no such speaker, or none is left to train on, or augmentation would have it hear one
        that is to test on.
    """
    _check_heeded(config)
    words = words_of_speakers(data)
    for speaker in test_speakers:
        if speaker not in words:
            raise TfaudioError(unknown_name_message(f"speaker of data set '{data.spec.name}'", speaker, sorted(words)))
    known = {speaker: spoken for speaker, spoken in words.items() if speaker not in test_speakers}
    if not known:
        raise TfaudioError("All speakers are to test on, and none is left to train on; leave one out.")
    unheard = tuple(clip for clip in data.spec.clips if clip.group in test_speakers)
    check_backgrounds(config, Split((), (), unheard, "speakers left out"))
    training, labels = config.training, data.spec.labels
    keras.utils.clear_session()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(training.seed)
    normalization = _fit_normalization(words=known, config=config)
    steps = max(1, strings.per_epoch // training.batch_size)
    model = _build(config, len(labels))
    model.compile(optimizer=make_optimizer(training, total_steps=steps * training.epochs))
    bar = Progress(training.epochs, log)
    try:
        model.fit(
            _training_batches(known, config, strings, normalization, steps),
            epochs=training.epochs,
            steps_per_epoch=steps,
            verbose=0,
            shuffle=False,
            callbacks=[bar] if progress else [],
        )
    finally:
        bar.close()
    return Recognizer(config, strings, labels, tuple(sorted(known)), normalization, model)


def _check_heeded(config: RunConfig) -> None:
    """Refuses settings that this training would pass over."""
    config.training.check_plain("the training of a recogniser")
    if config.training.mixed_precision or config.training.strategy not in ("auto", "cpu"):
        raise TfaudioError(
            "The training of a recogniser is in float32 on one device; leave out training.mixed_precision and "
            "training.strategy."
        )
    augment = config.augment
    mixing = {
        "mixup_alpha": augment.mixup_alpha * augment.mixup_probability,
        "cutmix.probability": augment.cutmix.probability,
        "same_class.probability": augment.same_class.probability,
        "between_class.probability": augment.between_class.probability,
    }
    if mixed := [name for name, value in mixing.items() if value]:
        raise TfaudioError(
            f"Strings of words are not mixed with each other, so augment.{mixed[0]} must be 0 in the training of a "
            "recogniser."
        )
    if augment.time_shift:
        raise TfaudioError(
            "A string of words is not rotated, or its first word would be its last, so augment.time_shift must be 0 in "
            "the training of a recogniser."
        )
    lengthening = {"speed": augment.speed, "time_stretch": augment.time_stretch}
    if cutting := [name for name, change in lengthening.items() if change.probability]:
        raise TfaudioError(
            f"A string that is slowed down would lose words at its ends, so augment.{cutting[0]}.probability must be 0 "
            "in the training of a recogniser."
        )
    if not config.front_end.standardized:
        raise TfaudioError(
            "A recogniser takes standardised features of which nothing is learnt; leave out "
            "front_end.standardize=false, front_end.pcen.trainable and the features leaf, sincnet and waveform."
        )


def evaluate_recognizer(recognizer: Recognizer, words: Words, *, width: int = 16) -> dict[str, Any]:
    """Measures how wrong a recogniser is about new strings.

    Args:
      recognizer: to measure.
      words: of the speakers to test on, as `words_of_speakers` gives them.
      width: of the beam.

    Returns:
      by speaker, and by search ("greedy", "beam"): "word_error_rate", words to mend by words said; "interval", its
      95 % bootstrap interval over strings; "strings_right", share of strings without an error; "strings", "words".
    """
    result: dict[str, Any] = {}
    config, rate = recognizer.strings, recognizer.config.front_end.sample_rate
    seed = (recognizer.config.training.seed, _TEST)
    for speaker in sorted(words):
        spoken = list(draw_strings({speaker: words[speaker]}, config.per_speaker, config, rate, seed))
        said = [(string.words + 1).tolist() for string in spoken]
        logits = recognizer.logits([string.waveform for string in spoken])
        searches: tuple[Search, ...] = ("greedy", "beam")
        result[speaker] = {search: _errors([_decoded(x, search, width) for x in logits], said) for search in searches}
    return result


def _errors(found: Sequence[Sequence[int]], said: Sequence[Sequence[int]]) -> dict[str, Any]:
    errors = np.array([edit_distance(f, s) for f, s in zip(found, said, strict=True)], np.float64)
    lengths = np.array([len(s) for s in said], np.float64)
    # Strings are drawn anew with all their words: how long they are is no doubt about the rate.
    draws = bootstrap_draws(len(said), np.random.default_rng(0), _RESAMPLES)
    rates = np.concatenate([(drawn @ errors) / (drawn @ lengths) for drawn in draws])
    low, high = map(float, np.quantile(rates, [0.025, 0.975]))
    return {
        "word_error_rate": float(errors.sum() / lengths.sum()),
        "interval": [low, high],
        "strings_right": float(np.mean(errors == 0)),
        "strings": len(said),
        "words": int(lengths.sum()),
    }


def _decoded(logits: npt.NDArray[np.float32], search: Search, width: int) -> tuple[int, ...]:
    return greedy_decode(logits) if search == "greedy" else beam_decode(logits, width=width)[0].symbols


def _build(config: RunConfig, num_symbols: int) -> keras.Model:
    shape = (None, config.front_end.num_bins)
    try:
        return ctc_recognizer(input_shape=shape, num_symbols=num_symbols, **config.model.options)
    except TypeError as error:  # Python's own complaint of an argument
        raise TfaudioError(f"model.options do not fit the recogniser: {error}.") from error


def _fit_normalization(*, words: Words, config: RunConfig) -> Normalization:
    fitter = NormalizationFitter(smallest_deviations(config.front_end))
    for spoken in words.values():
        for batch in _batches([waveform for waveform, _ in spoken], config, None):
            fitter.add(batch["features"][batch["mask"]])
    return fitter.result()


def _batches(
    waveforms: Sequence[npt.NDArray[np.float32]], config: RunConfig, normalization: Normalization | None
) -> Any:
    """Yields batches of the model's inputs, in order."""

    def features(waveform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = compute_features(waveform, config.front_end, normalization)
        return found, tf.ones_like(found[:, 0], tf.bool)

    dataset = tf.data.Dataset.from_generator(
        lambda: iter(waveforms), output_signature=tf.TensorSpec([None], tf.float32)
    )
    dataset = dataset.map(features, num_parallel_calls=tf.data.AUTOTUNE).padded_batch(config.training.batch_size)
    return dataset.map(lambda features, mask: {"features": features, "mask": mask}).as_numpy_iterator()


def _training_batches(
    words: Words, config: RunConfig, strings: StringConfig, normalization: Normalization, steps: int
) -> tf.data.Dataset:
    """All epochs' batches of inputs and targets, as a seed has them."""
    training, front_end = config.training, config.front_end
    augmentation = waveform_augmentation(config)

    def draw() -> Any:
        for epoch in range(training.epochs):
            seed = (training.seed, epoch)
            count = steps * training.batch_size
            for number, spoken in enumerate(draw_strings(words, count, strings, front_end.sample_rate, seed)):
                yield (*spoken, np.array([training.seed, epoch * count + number], np.int64))

    def example(waveform: tf.Tensor, classes: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        wave_seed, mask_seed = split_seed(fold_in(seed, 0), 2)
        waveform = augmentation(waveform, wave_seed)
        features = compute_features(waveform, front_end, normalization, check_values=False)
        features = change_features(features[tf.newaxis], None, config.augment, mask_seed)
        features = spec_augment(features, config.augment, mask_seed)[0]
        return features, tf.ones_like(features[:, 0], tf.bool), classes

    signature = Spoken(tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32))
    dataset = tf.data.Dataset.from_generator(draw, output_signature=(*signature, tf.TensorSpec([2], tf.int64)))
    dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    shapes = ([None, front_end.num_bins], [None], [strings.longest])
    filling = (0.0, False, tf.constant(-1, tf.int32))
    dataset = dataset.padded_batch(training.batch_size, shapes, filling, drop_remainder=True)
    return dataset.map(lambda features, mask, classes: ({"features": features, "mask": mask}, classes)).prefetch(2)
