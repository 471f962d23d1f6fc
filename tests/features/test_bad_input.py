"""What is no waveform is refused in one sentence, or gives a defined result; never a silent NaN."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.features.family import CONFIGS, EVERY, RATE, SMALL
from tfaudio.config import LARGEST_SAMPLE, FrontEndConfig
from tfaudio.data.recordings import read_recordings
from tfaudio.errors import TfaudioError
from tfaudio.features.family import bin_names
from tfaudio.features.front_end import FrontEnd, compute_features

# What each feature is of silence, whatever its length; the logarithm's is that of log_offset.
OF_SILENCE = {
    "mel": np.log(1e-6),
    "spectrogram": np.log(1e-6),
    "chroma": 0.0,
    "spectral_contrast": 0.0,
    "spectral_centroid": 0.0,
    "spectral_bandwidth": 0.0,
    "spectral_rolloff": 0.0,
    "spectral_flatness": 1.0,
    "rms": 0.0,
    "zero_crossing_rate": 0.0,
    "cqt": np.log(1e-6),
    "db": -100.0,
    "magnitude": 0.0,
    "pcen": 0.0,
}


@pytest.mark.parametrize("num_samples", [0, 1, 100, 512, 2_000])
@pytest.mark.parametrize("name", CONFIGS)
def test_silence_of_any_length(name: str, num_samples: int) -> None:
    config = CONFIGS[name]
    features = compute_features(np.zeros([2, num_samples], np.float32), config).numpy()
    assert features.shape == (2, config.num_frames(num_samples), config.num_bins)
    assert np.isfinite(features).all()
    if name in OF_SILENCE:
        np.testing.assert_allclose(features, OF_SILENCE[name], rtol=1e-5)
    elif name == "mfcc":
        assert features[..., 0] == pytest.approx(np.log(1e-6) * np.sqrt(config.num_mel_bins), rel=1e-5)
        np.testing.assert_allclose(features[..., 1:], 0.0, atol=1e-4)


@pytest.mark.parametrize("value", [1e-30, 1e-10, 1.0, -1.0, LARGEST_SAMPLE, -LARGEST_SAMPLE])
@pytest.mark.parametrize("num_samples", [1, 100, 2_000])
def test_constants_are_finite(value: float, num_samples: int) -> None:
    features = compute_features(np.full(num_samples, value, np.float32), EVERY).numpy()
    assert np.isfinite(features).all()
    by_name = dict(zip(bin_names(EVERY), features[0], strict=True))
    assert by_name["zero_crossing_rate"] == 0.0
    assert 0.0 <= by_name["spectral_flatness"] <= 1.0 + 1e-5
    assert 0.0 <= by_name["spectral_rolloff"] <= RATE / 2
    # The frame is centred on the first sample, so that half of it is before the waveform.
    inside = min(num_samples, EVERY.frame_length // 2) / EVERY.frame_length
    assert by_name["rms"] == pytest.approx(abs(value) * np.sqrt(inside), rel=1e-4, abs=1e-22)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (-np.inf, "not finite"),
        (1e30, "16-bit integers; divide it by 32768"),
        (-12_000.0, "16-bit integers; divide it by 32768"),
    ],
)
def test_values_that_are_none_are_refused(value: float, message: str) -> None:
    waveform = np.zeros([2, 1_000], np.float32)
    waveform[1, 500] = value
    with pytest.raises(TfaudioError, match=message):
        compute_features(waveform, SMALL)
    with pytest.raises(TfaudioError, match=message):
        FrontEnd(SMALL)(waveform)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("name", ["mel", "rms"])
def test_graphs_models_and_saved_models_refuse_them_too(name: str, value: float, tmp_path: Path) -> None:
    config = CONFIGS[name]
    waveform = np.zeros([2, 1_000], np.float32)
    waveform[1, 500] = value
    inputs = keras.Input((1_000,), name="waveform")
    model = keras.Model(inputs, FrontEnd(config)(inputs))
    model.export(str(tmp_path / "m"), input_signature=[tf.TensorSpec([None, 1_000])], verbose=False)
    graph = tf.function(lambda w: compute_features(w, config))
    dataset = tf.data.Dataset.from_tensors(waveform).map(lambda w: compute_features(w, config))
    refusing = [
        lambda: graph(waveform),
        lambda: list(dataset.as_numpy_iterator()),
        lambda: model.predict(waveform, verbose=0),
        lambda: tf.saved_model.load(str(tmp_path / "m")).serve(waveform),
    ]
    for refuse in refusing:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"16-bit integers(.|\n)*not finite"):
            refuse()
    assert np.isfinite(model.predict(np.zeros_like(waveform), verbose=0)).all()


def test_the_check_can_be_left_out() -> None:
    features = compute_features(np.full(1_000, 100.0, np.float32), SMALL, check_values=False)
    assert np.isfinite(features.numpy()).all()


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(100, np.int16), r"int16 samples / 32768"),
        (np.zeros(100, np.complex64), "complex64"),
        (np.float32(1.0), "single number"),
        (3, "int32"),
    ],
)
def test_what_holds_no_samples_is_refused(waveform: object, message: str) -> None:
    with pytest.raises(TfaudioError, match=message):
        compute_features(waveform, SMALL)


def test_an_unknown_rank_is_refused() -> None:
    with pytest.raises(TfaudioError, match="number of the waveform's axes"):
        tf.function(lambda w: compute_features(w, SMALL), autograph=False).get_concrete_function(tf.TensorSpec(None))


@pytest.mark.parametrize("shape", [(1_000,), (2, 1_000, 1)])
def test_the_layer_takes_a_batch_of_mono(shape: tuple[int, ...]) -> None:
    with pytest.raises(TfaudioError, match=r"\[batch, samples\], mono"):
        FrontEnd(SMALL)(np.zeros(shape, np.float32))
    with pytest.raises(TfaudioError, match=r"\[batch, samples\], mono"):
        FrontEnd(SMALL)(keras.Input(batch_shape=shape))


def test_another_rate_is_refused() -> None:
    compute_features(np.zeros(100, np.float32), SMALL, sample_rate=RATE)
    with pytest.raises(TfaudioError, match=r"44100 Hz, but front_end.sample_rate is 8000 Hz; resample"):
        compute_features(np.zeros(100, np.float32), SMALL, sample_rate=44_100)


def test_half_precision_becomes_float32() -> None:
    rng = np.random.default_rng(0)
    waveform = (0.1 * rng.normal(size=2_000)).astype(np.float16)
    features = compute_features(waveform, SMALL)
    assert features.dtype == tf.float32
    np.testing.assert_array_equal(features, compute_features(waveform.astype(np.float32), SMALL))


def test_recordings_of_integers_stored_as_floats_are_skipped(tmp_path: Path) -> None:
    import soundfile

    from tfaudio.config import DataConfig
    from tfaudio.data.spec import Clip

    rng = np.random.default_rng(0)
    clips = []
    for name, scale in (("good", 0.1), ("integers", 3_000.0)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, scale * rng.normal(size=RATE), RATE, subtype="FLOAT")
        clips.append(Clip(path=str(path), label="a"))
    recordings = read_recordings(clips, sample_rate=RATE, config=DataConfig(), progress=False)
    assert [clip.path for clip in recordings.clips] == [clips[0].path]
    assert "integers stored as floats" in recordings.skipped[0].reason


@pytest.mark.parametrize("kind", ["leaf", "sincnet"])
def test_a_learnt_filter_bank_is_given_the_waveform(kind: str) -> None:
    config = FrontEndConfig(feature=kind, frame_length=512, frame_step=256, fft_length=512, num_mel_bins=20)
    waveform = np.random.default_rng(0).uniform(-1, 1, [2, 1_000]).astype(np.float32)
    steps = compute_features(waveform, config).numpy()
    assert steps.shape == (2, config.num_frames(1_000), config.num_bins) == (2, 4, 256)
    np.testing.assert_array_equal(steps.reshape(2, -1)[:, :1_000], waveform)
    assert not steps.reshape(2, -1)[:, 1_000:].any()
    unknown = tf.function(lambda w: compute_features(w, config), input_signature=[tf.TensorSpec([None, None])])
    np.testing.assert_array_equal(unknown(waveform), steps)


def test_trainable_pcen_is_given_energies() -> None:
    config = SMALL.override({"compression": "pcen", "pcen.trainable": True})
    waveform = np.random.default_rng(0).uniform(-1, 1, 1_000).astype(np.float32)
    energies = compute_features(waveform, SMALL.replace(compression="none"))
    np.testing.assert_array_equal(compute_features(waveform, config), energies)
