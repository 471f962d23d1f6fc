"""Reading every recording of a data set once: what cannot be used is found before training, not in the middle.

What was decoded is kept in memory while it fits; a larger set is decoded anew whenever a clip is asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfaudio.audio.decode import DecodeError, Engine, diagnose, load, read_bytes, resample_any
from tfaudio.audio.wav import require
from tfaudio.config import LARGEST_SAMPLE, RESAMPLER, DataConfig
from tfaudio.data.spec import Clip, Skipped
from tfaudio.errors import TfaudioError
from tfaudio.sound_file import open_recording, read_stretch, seekable_frames


@dataclass(frozen=True)
class Recordings:
    """The usable clips of a data set.

    Args:
      clips: in the order that every index refers to.
      lengths: int64 [clips], in samples at the front end's rate.
      sample_rate: Hz.
      source_rates: Hz, all that the files have.
      engine: how files are decoded.
      samples: float32 [sum of lengths], all waveforms one after the other; None if they are left on disk.
      skipped: what could not be used, and why.
    """

    clips: tuple[Clip, ...]
    lengths: np.ndarray
    sample_rate: int
    source_rates: tuple[int, ...]
    engine: Engine
    samples: tf.Tensor | None
    skipped: tuple[Skipped, ...]

    def waveform_loader(self) -> _Loader:
        """Returns a function of the graph: clip index (integer scalar) to waveform float32 [samples]."""
        return _Loader(self)

    def select(self, wanted: Sequence[Clip]) -> np.ndarray:
        """Returns the indices, int64, of those of the wanted clips that are usable."""
        place = {clip: index for index, clip in enumerate(self.clips)}
        return np.array([place[clip] for clip in wanted if clip in place], np.int64)


class _Loader:
    """Holds the tensors that the pipeline's graph captures (not constants: graphs end at 2 GB)."""

    def __init__(self, recordings: Recordings) -> None:
        self._samples = recordings.samples
        self._lengths = tf.constant(recordings.lengths, tf.int64)
        self._offsets = tf.constant(np.concatenate([[0], np.cumsum(recordings.lengths)[:-1]]), tf.int64)
        # What is known of all files need not be found out anew from each.
        source_rate = recordings.source_rates[0] if len(recordings.source_rates) == 1 else None
        self._decode = _clip_decoder(recordings.clips, recordings.sample_rate, recordings.engine, source_rate)

    def __call__(self, index: tf.Tensor) -> tf.Tensor:
        if self._samples is None:
            return self._decode(index)[0]
        offset, length = tf.gather(self._offsets, index), tf.gather(self._lengths, index)
        return tf.slice(self._samples, offset[None], length[None])


def _clip_decoder(
    clips: Sequence[Clip], sample_rate: int, engine: Engine, source_rate: int | None = None
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function of the graph from clip index to the clip's waveform and its file's rate, both read anew."""
    if engine != "graph" and any(clip.start is not None or clip.end is not None for clip in clips):
        return _part_decoder(clips, sample_rate)
    paths = tf.constant([clip.path for clip in clips])
    starts = tf.constant([round((clip.start or 0.0) * sample_rate) for clip in clips], tf.int64)
    ends = tf.constant([-1 if clip.end is None else round(clip.end * sample_rate) for clip in clips], tf.int64)
    whole = all(clip.start is None and clip.end is None for clip in clips)

    def decode_clip(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        contents = tf.io.read_file(tf.gather(paths, index))
        waveform, rate = load(contents, sample_rate, engine=engine, source_rate=source_rate)
        if whole:
            return waveform, rate
        length = tf.shape(waveform, tf.int64)[0]
        end = tf.gather(ends, index)
        end = tf.where(end < 0, length, tf.minimum(end, length))
        return waveform[tf.minimum(tf.gather(starts, index), end) : end], rate

    return decode_clip


def _part_decoder(clips: Sequence[Clip], sample_rate: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The same for parts of files, of which little more is decoded: some cut an hour into a thousand."""

    @tf.autograph.experimental.do_not_convert
    def read(index: np.int64) -> tuple[np.ndarray, np.int32, np.int64, np.int64, bytes]:
        try:
            part = _read_part(clips[int(index)], sample_rate)
        except (DecodeError, OSError) as error:
            return np.zeros(0, np.float32), np.int32(1), np.int64(0), np.int64(0), str(error).encode()
        return part.samples, np.int32(part.rate), np.int64(part.begin), np.int64(part.end), b""

    def decode_clip(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        types = [tf.float32, tf.int32, tf.int64, tf.int64, tf.string]
        samples, rate, begin, end, problem = tf.numpy_function(read, [index], types, stateful=False)
        samples = require(samples, tf.equal(tf.reshape(problem, []), ""), problem)
        samples, rate = tf.ensure_shape(samples, [None]), tf.ensure_shape(rate, [])
        waveform = resample_any(samples, rate, sample_rate)
        return waveform[tf.ensure_shape(begin, []) : tf.ensure_shape(end, [])], rate

    return decode_clip


class _Part(NamedTuple):
    """A part of a file, with what resampling hears of its surroundings.

    Args:
      samples: float32 [n] at the rate of the file.
      rate: Hz.
      begin: where the part begins in them, in samples after resampling.
      end: where it ends, likewise.
    """

    samples: np.ndarray
    rate: int
    begin: int
    end: int


def _read_part(clip: Clip, sample_rate: int) -> _Part:
    begin = round((clip.start or 0.0) * sample_rate)
    with open_recording(clip.path, clip.path) as sound:
        rate, length, samples = sound.samplerate, seekable_frames(sound), None
        if length is None:
            samples, _ = read_bytes(Path(clip.path).read_bytes(), clip.path)
            length = len(samples)
        whole = -(-length * sample_rate // rate)
        end = whole if clip.end is None else min(whole, round(clip.end * sample_rate))
        if begin >= end:
            return _Part(np.zeros(0, np.float32), rate, 0, 0)
        if samples is not None:
            return _Part(samples, rate, begin, end)
        # From a sample that one of the result falls on, so that the result is a stretch of that of the whole file.
        margin = math.ceil(RESAMPLER.reach(rate, sample_rate)) + 1
        divisor = math.gcd(rate, sample_rate)
        down, up = rate // divisor, sample_rate // divisor
        cycles = max(0, begin * down // up - margin) // down
        last = min(length, end * down // up + margin + 1)
        samples = read_stretch(sound, clip.path, cycles * down, last)
    return _Part(samples, rate, begin - cycles * up, end - cycles * up)


def read_recordings(
    clips: Sequence[Clip],
    *,
    sample_rate: int,
    config: DataConfig,
    skipped: Sequence[Skipped] = (),
    progress: bool = True,
) -> Recordings:
    """Decodes every clip once.

    Args:
      clips: to read.
      sample_rate: Hz, to resample to.
      config: engine, strict, memory_gigabytes and parallel_calls are used.
      skipped: files left out earlier, to be listed with those found here.
      progress: show a bar on a terminal.

    Raises:
      TfaudioError: if no clip is usable; with config.strict, for the first that is not.
    """
    decode_clip = _clip_decoder(clips, sample_rate, config.engine)
    # Recordings that fail vanish from this pass instead of ending it; their absence is noticed below.
    dataset = (
        tf.data.Dataset.range(len(clips))
        .map(lambda index: (index, *decode_clip(index)), num_parallel_calls=parallel_calls(config))
        .ignore_errors()
    )
    dataset = untuned(dataset).prefetch(8)
    budget = config.memory_gigabytes * 2**30
    waveforms: dict[int, np.ndarray] | None = {}
    lengths: dict[int, int] = {}
    faults: dict[int, str] = {}
    source_rates: set[int] = set()
    used_bytes = 0
    bar = tqdm(
        total=len(clips), desc="reading recordings", unit="clip", disable=None if progress else True, leave=False
    )
    with bar:
        for index, waveform, rate in dataset.as_numpy_iterator():
            bar.update()
            fault = _fault(waveform, clips[index], sample_rate)
            if fault:
                faults[int(index)] = fault
                continue
            lengths[int(index)] = len(waveform)
            source_rates.add(int(rate))
            used_bytes += waveform.nbytes
            if waveforms is not None and used_bytes > budget:
                waveforms = None
            if waveforms is not None:
                waveforms[int(index)] = waveform
    for index, clip in enumerate(clips):
        if index not in lengths and index not in faults:
            reason = f"cannot be decoded by engine '{config.engine}'"
            found = diagnose(clip.path) or f"{reason}; try --engine=soundfile"
            # The path stands before the reason wherever it is told.
            faults[index] = found.removeprefix(f"{clip.path} ").removesuffix(".")
    if faults and config.strict:
        first = min(faults)
        raise TfaudioError(f"{clips[first].path}: {faults[first]}; mend or remove it, or train without --strict.")
    if not lengths:
        example = f" (first: {clips[0].path}: {faults[0]})" if clips else ""
        raise TfaudioError(f"None of the {len(clips)} recordings can be used{example}.")
    kept = sorted(lengths)
    return Recordings(
        clips=tuple(clips[i] for i in kept),
        lengths=np.array([lengths[i] for i in kept], np.int64),
        sample_rate=sample_rate,
        source_rates=tuple(sorted(source_rates)),
        engine=config.engine,
        samples=None if waveforms is None else _joined(waveforms, kept),
        skipped=(*skipped, *(Skipped(clips[i].path, faults[i]) for i in sorted(faults))),
    )


def _joined(waveforms: dict[int, np.ndarray], order: list[int]) -> tf.Tensor:
    """Moves waveforms into one tensor; what is moved leaves the dict: all are held twice, and never three times."""
    samples = np.empty(sum(len(waveform) for waveform in waveforms.values()), np.float32)
    place = 0
    for index in order:
        waveform = waveforms.pop(index)
        samples[place : place + len(waveform)] = waveform
        place += len(waveform)
    return tf.constant(samples)


def _fault(waveform: np.ndarray, clip: Clip, sample_rate: int) -> str | None:
    if not len(waveform):
        # A clip of less than half a sample is as empty, wherever it lies.
        if clip.start and (clip.end is None or round(clip.end * sample_rate) > round(clip.start * sample_rate)):
            return f"its start ({clip.start:g} s) lies beyond the end of the file"
        return "holds no samples"
    if not np.isfinite(waveform).all():
        return "holds samples that are not finite numbers (NaN or infinity)"
    if np.abs(waveform).max() > LARGEST_SAMPLE:
        return f"holds samples beyond {LARGEST_SAMPLE:g} where full scale is 1: integers stored as floats"
    return None


def parallel_calls(config: DataConfig) -> int:
    """Recordings, or batches of them, to prepare at a time."""
    return config.parallel_calls or 2 * (os.cpu_count() or 1)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Takes tf.data's own tuning out of a data set, whose parallel calls are numbers then.

    The tuner begins with one core's worth in every pass, and each pass waits for it at the end: up to 0.2 s, half of
    what 100 recordings take.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
