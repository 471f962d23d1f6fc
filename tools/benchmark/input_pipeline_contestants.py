"""Ways from audio files to batches of log-mel spectrograms; each runs in a process of its own (worker.py).

All decode every file anew, mix it down, resample it, bring it to one length and hand over batches of features; the
floors decode and do nothing else. Each gets as many processor cores as the case says, and divides its work as its users
do: threads in TensorFlow, worker processes for librosa and PyTorch.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from log_mel_contestants import _versions

Case = dict[str, Any]
Batch = npt.NDArray[np.float32]
_BATCH = 32
_LOG_OFFSET = 1e-6  # that of FrontEndConfig
_CHECKED = 4  # clips


class Contestant:
    """Reads all files and gives their features in batches.

    Args:
      case: the files and the settings.
      versions: of the libraries that do the work.
      batches: gives everything once, float32 [clips, frames, bands].
    """

    def __init__(self, case: Case, versions: dict[str, str], batches: Callable[[], Iterator[Batch]]) -> None:
        self.versions = versions
        self._case = case
        self._batches = batches

    def run(self) -> None:
        # A long recording has more than one window in tfaudio, whose work is then the larger.
        count = sum(len(batch) for batch in self._batches())
        if count < len(self._case["files"]):
            raise ValueError(f"{count} clips instead of {len(self._case['files'])}")

    def check(self) -> float:
        """Returns the median difference of the logarithms of the first clips.

        Resamplers differ at the upper end of the band, and by rounding where there is next to nothing: hence no
        maximum, and nothing above 0.8 of the band.
        """
        actual = np.concatenate(list(self._batches()))[:_CHECKED]
        expected = _reference(self._case)
        if actual.shape != expected.shape:
            raise ValueError(f"{actual.shape} instead of {expected.shape}")
        bands = int(0.8 * expected.shape[-1])
        return float(np.median(np.abs(actual - expected)[..., :bands]))


class Floor:
    """Decodes and lets go of the samples.

    Args:
      versions: of the libraries that do the work.
      run: decodes all files.
    """

    def __init__(self, versions: dict[str, str], run: Callable[[], Any]) -> None:
        self.versions = versions
        self.run = run

    def check(self) -> None:
        """There is nothing to compare."""


def _num_samples(case: Case) -> int:
    return round(case["clip_seconds"] * case["sample_rate"])


def _fixed(waveform: Any, num_samples: int) -> Any:
    """Cropped, or filled up with silence; NumPy."""
    return np.pad(waveform[:num_samples], (0, max(0, num_samples - len(waveform))))


def _librosa_features(waveform: Any, case: Case, dtype: Any = np.complex64) -> Any:
    import librosa

    lengths = {"n_fft": case["fft_length"], "hop_length": case["frame_step"], "win_length": case["frame_length"]}
    power = np.abs(librosa.stft(waveform, dtype=dtype, pad_mode="constant", **lengths)) ** 2
    mel = librosa.feature.melspectrogram(S=power, sr=case["sample_rate"], n_mels=case["num_mel_bins"])
    return np.log(mel + np.float32(_LOG_OFFSET)).T


def _reference(case: Case) -> npt.NDArray[np.float64]:
    """The first clips by libsndfile, soxr at its best, and librosa in float64."""
    import soundfile
    import soxr

    features = []
    for file in case["files"][:_CHECKED]:
        samples, rate = soundfile.read(file, dtype="float64", always_2d=True)
        waveform = soxr.resample(samples.mean(axis=1), rate, case["sample_rate"], quality="VHQ")
        features.append(_librosa_features(_fixed(waveform, _num_samples(case)), case, np.complex128))
    return np.stack(features)


def tfaudio_pipeline(case: Case) -> Contestant:
    """The pipeline as evaluation has it, with no recording kept in memory."""
    import tensorflow as tf

    import tfaudio
    from tfaudio.config import RunConfig
    from tfaudio.data.pipeline import Pipeline
    from tfaudio.data.recordings import read_recordings
    from tfaudio.data.spec import Clip

    names = ("sample_rate", "frame_length", "frame_step", "fft_length", "num_mel_bins")
    config = RunConfig().override(
        {
            **{f"front_end.{name}": case[name] for name in names},
            "front_end.log_offset": _LOG_OFFSET,
            "clip.seconds": case["clip_seconds"],
            "data.memory_gigabytes": 0.0,
            "training.batch_size": _BATCH,
        }
    )
    clips = [Clip(path=file, label="any") for file in case["files"]]
    recordings = read_recordings(clips, sample_rate=case["sample_rate"], config=config.data, progress=False)
    indices = np.arange(len(recordings.clips))
    pipeline = Pipeline(recordings, np.zeros(len(indices), np.int64), 1, config)
    dataset = pipeline.evaluation(indices)
    return Contestant(case, _versions(tfaudio, tf), lambda: (inputs.numpy() for inputs, _ in dataset))


class _LibrosaClip:
    """A file to features: what a process of the pool does."""

    def __init__(self, case: Case) -> None:
        self._case = {key: value for key, value in case.items() if key != "files"}

    def __call__(self, file: str) -> Batch:
        import librosa

        waveform, _ = librosa.load(file, sr=self._case["sample_rate"])
        features: Batch = _librosa_features(_fixed(waveform, _num_samples(self._case)), self._case)
        return features


def _one_thread() -> None:
    """Each process of a pool has one core: more threads would be in each other's way."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def librosa_pool(case: Case) -> Contestant:
    """librosa.load and librosa.feature, one process a core."""
    import librosa

    librosa.stft(np.zeros(2048, np.float32))  # compiled before the processes part
    pool = get_context("fork").Pool(case["threads"], initializer=_one_thread)

    def batches() -> Iterator[Batch]:
        clips: list[Batch] = []
        for features in pool.imap(_LibrosaClip(case), case["files"], chunksize=8):
            clips.append(features)
            if len(clips) == _BATCH:
                yield np.stack(clips)
                clips = []
        if clips:
            yield np.stack(clips)

    return Contestant(case, _versions(librosa, np), batches)


class _TorchFiles:
    """A torch data set of waveforms of one length, by soundfile and torchaudio's resampler with these options."""

    def __init__(self, case: Case, **resampling: Any) -> None:
        self._case = case
        self._resampling = resampling
        self._resamplers: dict[int, Any] = {}  # which keep their kernels

    def __len__(self) -> int:
        return len(self._case["files"])

    def __getitem__(self, index: int) -> Any:
        import soundfile
        import torch
        import torchaudio

        samples, rate = soundfile.read(self._case["files"][index], dtype="float32", always_2d=True)
        waveform = torch.from_numpy(samples.mean(axis=1))
        if rate not in self._resamplers:
            self._resamplers[rate] = torchaudio.transforms.Resample(rate, self._case["sample_rate"], **self._resampling)
        waveform = self._resamplers[rate](waveform)[: _num_samples(self._case)]
        return torch.nn.functional.pad(waveform, (0, _num_samples(self._case) - len(waveform)))


class _TorchFeatures:
    """Puts waveforms into a batch and transforms it, in the worker: a batch at a time is faster."""

    def __init__(self, case: Case) -> None:
        import torchaudio

        self._transform = torchaudio.transforms.MelSpectrogram(
            sample_rate=case["sample_rate"],
            n_fft=case["fft_length"],
            win_length=case["frame_length"],
            hop_length=case["frame_step"],
            n_mels=case["num_mel_bins"],
            norm="slaney",
            mel_scale="slaney",
            pad_mode="constant",
        )

    def __call__(self, waveforms: list[Any]) -> Any:
        import torch

        return torch.log(self._transform(torch.stack(waveforms)) + _LOG_OFFSET).swapaxes(1, 2)


def torch_loader(case: Case, **resampling: Any) -> Contestant:
    """soundfile and torchaudio in a DataLoader, one worker a core; its resampler with these options."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchaudio

    loader: Any = torch.utils.data.DataLoader(
        _TorchFiles(case, **resampling),  # type: ignore[arg-type]
        batch_size=_BATCH,
        num_workers=case["threads"],
        collate_fn=_TorchFeatures(case),
        persistent_workers=True,
        prefetch_factor=2,
    )
    return Contestant(case, _versions(torch, torchaudio), lambda: (batch.numpy() for batch in loader))


def _count_samples(file: str) -> int:
    import soundfile

    return len(soundfile.read(file, dtype="float32")[0])


def floor_in_threads(case: Case) -> Floor:
    """soundfile in threads."""
    import soundfile

    pool = ThreadPool(case["threads"])
    return Floor(_versions(soundfile), lambda: pool.map(_count_samples, case["files"], chunksize=4))


def floor_in_processes(case: Case) -> Floor:
    """soundfile in processes, which keep the samples to themselves."""
    import soundfile

    pool = get_context("fork").Pool(case["threads"])
    return Floor(_versions(soundfile), lambda: pool.map(_count_samples, case["files"], chunksize=8))


def floor_in_graph(case: Case) -> Floor:
    """TensorFlow's and tensorflow-io's operators in tf.data."""
    import tensorflow as tf

    import tfaudio
    from tfaudio.audio.decode import decode

    for file in {os.path.splitext(file)[1]: file for file in case["files"]}.values():
        decode(Path(file).read_bytes(), engine="graph")  # says why if it cannot
    files = tf.data.Dataset.from_tensor_slices(case["files"])

    def count(file: Any) -> Any:
        return tf.size(decode(tf.io.read_file(file), engine="graph")[0])

    dataset = files.map(count, num_parallel_calls=case["threads"]).batch(_BATCH)
    return Floor(_versions(tfaudio, tf), lambda: [None for _ in dataset])


CONTESTANTS: dict[str, Callable[[Case], Any]] = {
    "tfaudio": tfaudio_pipeline,
    "librosa, process pool": librosa_pool,
    "torchaudio, DataLoader": torch_loader,
    # As long a kernel as tfaudio's.
    "torchaudio, DataLoader, 64 zeros": functools.partial(torch_loader, lowpass_filter_width=64, rolloff=0.95),
    "floor, soundfile in threads": floor_in_threads,
    "floor, soundfile in processes": floor_in_processes,
    "floor, operators in tf.data": floor_in_graph,
}
