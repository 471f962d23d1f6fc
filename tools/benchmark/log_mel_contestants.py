"""Ways to a log-mel spectrogram of many clips; each runs in a process of its own (worker.py).

All take float32 [clips, samples] in memory and leave log-mel spectrograms of all clips in memory, as arrays of their
library. Each gets as many threads as the case says.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import numpy.typing as npt

Case = dict[str, Any]
_LOG_OFFSET = 1e-6  # that of FrontEndConfig
_CHECKED = 2  # clips


def waveforms(case: Case) -> npt.NDArray[np.float32]:
    """Noise and a tone: a spectrum without depths, in which rounding would drown a comparison."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((case["clips"], case["samples"]), np.float32) * np.float32(0.1)
    time = np.arange(case["samples"]) / case["sample_rate"]
    return noise + 0.3 * np.sin(2 * np.pi * 440 * time).astype(np.float32)


class Contestant:
    """Runs a function of waveforms on all of a case's, and compares its result for the first few.

    Args:
      versions: of the libraries that do the work.
      run: does the work, once, to its end.
      check: returns the result for the first clips, [clips, frames, bands].
      expected: what that should be; NaN where this contestant's convention differs.
    """

    def __init__(
        self,
        versions: dict[str, str],
        run: Callable[[], Any],
        check: Callable[[], Any],
        expected: npt.NDArray[np.float64],
    ) -> None:
        self.versions = versions
        self.run = run
        self._check = check
        self._expected = expected

    def check(self) -> float:
        """Returns the largest difference of the logarithms."""
        actual = np.asarray(self._check(), np.float64)
        if actual.shape != self._expected.shape:
            raise ValueError(f"{actual.shape} instead of {self._expected.shape}")
        return float(np.nanmax(np.abs(actual - self._expected)))


def _versions(*modules: Any) -> dict[str, str]:
    return {module.__name__: module.__version__ for module in modules}


def _mel_filters(case: Case) -> npt.NDArray[np.float32]:
    """librosa's, float32 [bins, bands]."""
    import librosa

    return np.ascontiguousarray(
        librosa.filters.mel(sr=case["sample_rate"], n_fft=case["fft_length"], n_mels=case["num_mel_bins"]).T
    )


def reference(case: Case, *, filters: npt.NDArray[Any] | None = None, exponent: float = 2.0) -> npt.NDArray[np.float64]:
    """What the first clips should give, in float64: [clips, frames, bands].

    Args:
      case: lengths and bands.
      filters: [bins, bands] in place of librosa's.
      exponent: 2 for power, 1 for magnitude.
    """
    import librosa

    wave = waveforms(case)[:_CHECKED].astype(np.float64)
    magnitude = np.abs(librosa.stft(wave, dtype=np.complex128, **_librosa_lengths(case), pad_mode="constant"))
    filters = _mel_filters(case) if filters is None else filters
    mel = np.einsum("cft,fm->ctm", magnitude**exponent, np.asarray(filters, np.float64))
    return np.log(mel + _LOG_OFFSET)


def _librosa_lengths(case: Case) -> dict[str, int]:
    return {"n_fft": case["fft_length"], "hop_length": case["frame_step"], "win_length": case["frame_length"]}


def _tfaudio(case: Case) -> tuple[Any, Any, Callable[[Any], Any]]:
    import tensorflow as tf

    import tfaudio
    from tfaudio.config import FrontEndConfig
    from tfaudio.features.front_end import compute_features

    names = ("sample_rate", "frame_length", "frame_step", "fft_length", "num_mel_bins")
    config = FrontEndConfig(**{name: case[name] for name in names}, log_offset=_LOG_OFFSET)
    return tf, _versions(tfaudio, tf), functools.partial(compute_features, config=config)


def tfaudio_in_batch(case: Case, *, compiled: bool) -> Contestant:
    tf, versions, features = _tfaudio(case)
    wave = tf.constant(waveforms(case))
    function = tf.function(features, jit_compile=compiled)
    return Contestant(
        versions, lambda: function(wave).numpy(), lambda: function(wave).numpy()[:_CHECKED], reference(case)
    )


def tfaudio_in_dataset(case: Case, *, batch: int | None) -> Contestant:
    """In tf.data: clip by clip, or batch first as the training pipeline has it."""
    tf, versions, features = _tfaudio(case)
    dataset = tf.data.Dataset.from_tensor_slices(waveforms(case))
    if batch:
        # A last batch of another size would be compiled for itself.
        batch = max(size for size in range(1, batch + 1) if case["clips"] % size == 0)
        dataset = dataset.batch(batch, drop_remainder=True)
        features = tf.function(features, jit_compile=True)
    dataset = dataset.map(lambda wave: features(wave), num_parallel_calls=case["threads"]).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = case["threads"]
    dataset = dataset.with_options(options)

    def run() -> None:
        for _ in dataset:
            pass

    def check() -> Any:
        first = [part.numpy() for part in dataset.take(_CHECKED)]
        return first[0][:_CHECKED] if batch else np.stack(first)

    return Contestant(versions, run, check, reference(case))


def _librosa_call(case: Case) -> tuple[Any, Callable[[Any], Any]]:
    import librosa

    def features(wave: Any) -> Any:
        mel = librosa.feature.melspectrogram(
            y=wave, sr=case["sample_rate"], n_mels=case["num_mel_bins"], pad_mode="constant", **_librosa_lengths(case)
        )
        return np.log(mel + np.float32(_LOG_OFFSET))

    return librosa, features


def librosa_by_clip(case: Case, *, threads: int) -> Contestant:
    librosa, features = _librosa_call(case)
    wave = waveforms(case)
    if threads == 1:

        def run() -> Any:
            return [features(clip) for clip in wave]
    else:
        pool = ThreadPool(case["threads"])

        def run():
            return pool.map(features, wave, chunksize=4)

    def check():
        return np.stack([features(clip) for clip in wave[:_CHECKED]]).swapaxes(1, 2)

    return Contestant(_versions(librosa, np), run, check, reference(case))


def librosa_in_batch(case: Case) -> Contestant:
    librosa, features = _librosa_call(case)
    wave = waveforms(case)

    def check():
        return features(wave[:_CHECKED]).swapaxes(1, 2)

    return Contestant(_versions(librosa, np), lambda: features(wave), check, reference(case))


def torchaudio_in_batch(case: Case) -> Contestant:
    """torchaudio's MelSpectrogram; where its wheel does not load, the same on torch.stft."""
    import torch

    torch.set_num_threads(case["threads"])
    versions = _versions(torch)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchaudio

        transform: Callable[[Any], Any] = torchaudio.transforms.MelSpectrogram(
            sample_rate=case["sample_rate"],
            n_fft=case["fft_length"],
            win_length=case["frame_length"],
            hop_length=case["frame_step"],
            n_mels=case["num_mel_bins"],
            norm="slaney",
            mel_scale="slaney",
            pad_mode="constant",
        )
        versions |= _versions(torchaudio)
    except (ImportError, OSError) as error:
        versions["torchaudio"] = f"does not load ({type(error).__name__}), so the same on torch.stft"
        window = torch.hann_window(case["frame_length"])
        filters = torch.from_numpy(_mel_filters(case)).T
        options = {**_librosa_lengths(case), "pad_mode": "constant", "return_complex": True}

        def transform(wave: Any) -> Any:
            return filters @ torch.stft(wave, window=window, **options).abs().square()

    wave = torch.from_numpy(waveforms(case))

    @torch.inference_mode()
    def features(clips: Any) -> Any:
        return torch.log(transform(clips) + _LOG_OFFSET).numpy()

    def check():
        return features(wave[:_CHECKED]).swapaxes(1, 2)

    return Contestant(versions, lambda: features(wave), check, reference(case))


def keras_layer(case: Case) -> Contestant:
    """keras.layers.MelSpectrogram without its decibels, then the same logarithm.

    Its bands are HTK's, and the ends of a clip are reflected: these frames are not compared.
    """
    import keras
    import tensorflow as tf

    layer = keras.layers.MelSpectrogram(
        fft_length=case["fft_length"],
        sequence_stride=case["frame_step"],
        sequence_length=case["frame_length"],
        sampling_rate=case["sample_rate"],
        num_mel_bins=case["num_mel_bins"],
        min_freq=0.0,
        max_freq=case["sample_rate"] / 2,
        mag_exp=2.0,
        power_to_db=False,
    )
    wave = tf.constant(waveforms(case))
    function = tf.function(lambda clips: tf.math.log(layer(clips) + _LOG_OFFSET))

    bands = layer.linear_to_mel_weight_matrix(
        num_mel_bins=case["num_mel_bins"],
        num_spectrogram_bins=case["fft_length"] // 2 + 1,
        sampling_rate=case["sample_rate"],
        lower_edge_hertz=0.0,
        upper_edge_hertz=case["sample_rate"] / 2,
    )
    expected = reference(case, filters=np.asarray(bands))
    ends = -(-case["fft_length"] // (2 * case["frame_step"]))
    expected[:, :ends] = expected[:, -ends:] = np.nan

    def check():
        return function(wave).numpy()[:_CHECKED].swapaxes(1, 2)

    return Contestant(_versions(keras, tf), lambda: function(wave).numpy(), check, expected)


def kapre_layer(case: Case) -> Contestant:
    """kapre's mel spectrogram, which is one of magnitudes."""
    import kapre
    import tensorflow as tf
    from kapre.composed import get_melspectrogram_layer

    layer = get_melspectrogram_layer(
        n_fft=case["fft_length"],
        win_length=case["frame_length"],
        hop_length=case["frame_step"],
        sample_rate=case["sample_rate"],
        n_mels=case["num_mel_bins"],
        pad_begin=False,
        pad_end=False,
        return_decibel=False,
        mel_norm="slaney",
        input_data_format="channels_last",
        output_data_format="channels_last",
        input_shape=(None, 1),
    )
    # kapre does not centre frames: the silence around a clip is given to it.
    before = case["fft_length"] // 2 - (case["fft_length"] - case["frame_length"]) // 2
    wave = np.pad(waveforms(case), [[0, 0], [before, case["frame_length"] - before]])[..., None]
    clips = tf.constant(wave)
    function = tf.function(lambda x: tf.math.log(layer(x) + _LOG_OFFSET))

    def check():
        return function(clips[:_CHECKED]).numpy()[..., 0]

    return Contestant(_versions(kapre, tf), lambda: function(clips).numpy(), check, reference(case, exponent=1.0))


def floor(case: Case, *, block: int | None) -> Contestant:
    """SciPy's real FFT of frames that stand ready, windowed and filled up, and one BLAS product; nothing else.

    With `block`, so many frames are transformed at a time: SciPy's result is a new array every time, and while that is
    small, the system need not find memory for it.
    """
    import scipy
    import scipy.fft

    before = case["fft_length"] // 2 - (case["fft_length"] - case["frame_length"]) // 2
    padded = np.pad(waveforms(case), [[0, 0], [before, case["frame_length"]]])
    frames = np.lib.stride_tricks.sliding_window_view(padded, case["frame_length"], axis=1)[:, :: case["frame_step"]]
    frames = frames[:, : 1 + case["samples"] // case["frame_step"]]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(case["frame_length"]) / case["frame_length"])
    filled = np.zeros((*frames.shape[:2], case["fft_length"]), np.float32)
    np.multiply(frames, window.astype(np.float32), out=filled[..., : case["frame_length"]])
    filled = filled.reshape(-1, case["fft_length"])
    filters = _mel_filters(case)
    power = np.empty((len(filled), len(filters)), np.float32)
    for first in range(0, len(filled), 4096):
        spectrum = scipy.fft.rfft(filled[first : first + 4096])
        power[first : first + 4096] = spectrum.real**2 + spectrum.imag**2
    size = block or len(filled)

    def run() -> Any:
        for first in range(0, len(filled), size):
            scipy.fft.rfft(filled[first : first + size], workers=case["threads"])
        return power @ filters

    def check() -> Any:
        mel = (power @ filters).reshape(case["clips"], -1, case["num_mel_bins"])
        return np.log(mel[:_CHECKED] + _LOG_OFFSET)

    return Contestant(_versions(scipy, np), run, check, reference(case))


CONTESTANTS: dict[str, Callable[[Case], Contestant]] = {
    "tfaudio, compiled": functools.partial(tfaudio_in_batch, compiled=True),
    "tfaudio, not compiled": functools.partial(tfaudio_in_batch, compiled=False),
    "tfaudio, tf.data, batch first": functools.partial(tfaudio_in_dataset, batch=32),
    "tfaudio, tf.data, clip by clip": functools.partial(tfaudio_in_dataset, batch=None),
    "librosa, clip by clip": functools.partial(librosa_by_clip, threads=1),
    "librosa, clip by clip, threads": functools.partial(librosa_by_clip, threads=2),
    "librosa, in batch": librosa_in_batch,
    "torchaudio": torchaudio_in_batch,
    "keras.layers.MelSpectrogram": keras_layer,
    "kapre": kapre_layer,
    "floor": functools.partial(floor, block=None),
    "floor, in blocks": functools.partial(floor, block=4096),
}
