"""The front end against librosa, NumPy in float64 and analytic signals."""

from __future__ import annotations

import keras
import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.front_end import FrontEnd, compute_features
from tfaudio.features.mel import mel_matrix
from tfaudio.features.normalization import Normalization, NormalizationFitter

RATE = 16_000


def _signals() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    time = np.arange(int(0.7 * RATE)) / RATE
    clicks = np.zeros_like(time)
    clicks[::1777] = 1.0
    signals = {
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "chirp": 0.9 * np.sin(2 * np.pi * (100 * time + 5000 * time**2)),
        "noise": 0.1 * rng.normal(size=time.shape),
        "clicks": clicks,
        "silence": np.zeros_like(time),
    }
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


def _librosa(waveform: np.ndarray, config: FrontEndConfig) -> np.ndarray:
    """librosa's features in float64, [frames, bins]."""
    common = {
        "n_fft": config.fft_length,
        "hop_length": config.frame_step,
        "win_length": config.frame_length,
        "pad_mode": "constant",
    }
    y = waveform.astype(np.float64)
    power = np.abs(librosa.stft(y, dtype=np.complex128, **common)) ** 2
    if config.feature == "mel":
        bank = librosa.filters.mel(
            sr=config.sample_rate,
            n_fft=config.fft_length,
            n_mels=config.num_mel_bins,
            fmin=config.lower_edge_hertz,
            fmax=config.upper_edge_hertz,
            htk=config.mel_scale == "htk",
            norm=None if config.mel_norm == "none" else config.mel_norm,
            dtype=np.float64,
        )
        power = bank @ power
    if config.compression == "db":
        power = librosa.power_to_db(power, amin=config.log_offset, top_db=config.top_db)
    elif config.compression == "log":
        power = np.log(power + config.log_offset)
    return power.T


CONFIGS = {
    "default": FrontEndConfig(),
    "speech": FrontEndConfig(frame_length=400, frame_step=160, fft_length=512, num_mel_bins=40),
    "odd frame": FrontEndConfig(frame_length=401, frame_step=123, fft_length=512, num_mel_bins=40),
    "htk": FrontEndConfig(mel_scale="htk", mel_norm="none", lower_edge_hertz=60, upper_edge_hertz=7600),
    "htk, area": FrontEndConfig(mel_scale="htk", num_mel_bins=40),
    "linear": FrontEndConfig(feature="spectrogram"),
}


@pytest.mark.parametrize("implementation", ["rfft", "matmul"])
@pytest.mark.parametrize("name", CONFIGS)
def test_power_equals_librosa_within_1e_4_of_full_scale(name, implementation):
    config = CONFIGS[name].replace(compression="none", implementation=implementation)
    for signal_name, waveform in _signals().items():
        expected = _librosa(waveform, config)
        actual = compute_features(waveform, config).numpy()
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= 1e-4 * max(expected.max(), 1e-12), signal_name


# librosa transforms in float64 whatever it is given. A float32 transform errs by about 2e-8 of the loudest bin, which
# is 1e-3 dB some 70 dB below it: hence two tolerances. Noise, clicks and real recordings have no such depths.
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("top_db", "tolerance"), [(60.0, 1e-3), (80.0, 5e-3)])
def test_decibels_equal_librosa(name, top_db, tolerance):
    config = CONFIGS[name].replace(compression="db", top_db=top_db, log_offset=1e-10)
    for signal_name, waveform in _signals().items():
        difference = compute_features(waveform, config).numpy() - _librosa(waveform, config)
        limit = 1e-3 if signal_name in ("noise", "clicks", "silence") else tolerance
        assert np.abs(difference).max() <= limit, signal_name


def test_natural_logarithm_equals_librosa_within_1e_3_db():
    for config in (CONFIGS["speech"], CONFIGS["linear"]):
        for name, waveform in _signals().items():
            peak = _librosa(waveform, config.replace(compression="none")).max()
            config = config.replace(log_offset=max(1e-6, 1e-6 * float(peak)))
            difference = compute_features(waveform, config).numpy() - _librosa(waveform, config)
            assert np.abs(difference).max() <= 1e-3 * np.log(10) / 10, name


@pytest.mark.parametrize(("dataset", "file"), [("esc10", "1-100032-A.ogg"), ("fsdd", "0_jackson_0.wav")])
def test_real_recordings_equal_librosa(shared_data, dataset, file):
    path = next((shared_data / dataset).rglob(file))
    waveform, rate = soundfile.read(path, dtype="float32")
    config = FrontEndConfig(sample_rate=rate, frame_length=512, frame_step=256, fft_length=512, num_mel_bins=40)
    power = config.replace(compression="none")
    expected = _librosa(waveform, power)
    assert np.abs(compute_features(waveform, power).numpy() - expected).max() <= 1e-4 * expected.max()
    decibel = config.replace(compression="db", top_db=80.0, log_offset=1e-10)
    assert np.abs(compute_features(waveform, decibel).numpy() - _librosa(waveform, decibel)).max() <= 1e-3


def test_a_tone_lies_in_its_band():
    config = FrontEndConfig(num_mel_bins=40, compression="none")
    for hertz in (300.0, 1000.0, 4000.0):
        waveform = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32)
        loudest = compute_features(waveform, config).numpy()[10].argmax()
        weights = mel_matrix(config)[round(hertz / RATE * config.fft_length)]
        assert loudest == weights.argmax()


def test_parseval_holds_for_the_linear_spectrogram():
    # The power of a frame's spectrum is the energy of the windowed frame times the transform's length.
    config = FrontEndConfig(feature="spectrogram", compression="none", frame_step=512)
    waveform = _signals()["noise"]
    power = compute_features(waveform, config).numpy().astype(np.float64)
    both_sides = power[:, 0] + power[:, -1] + 2 * power[:, 1:-1].sum(axis=1)
    padded = np.pad(waveform.astype(np.float64), 512)
    window = np.hanning(1025)[:-1]
    energy = [np.sum((padded[512 * i : 512 * i + 1024] * window) ** 2) for i in range(len(power))]
    np.testing.assert_allclose(both_sides, 1024 * np.array(energy), rtol=1e-4)


@given(st.integers(0, 3000), st.sampled_from([64, 100, 257]))
def test_frames_are_counted_by_one_formula(num_samples, frame_step):
    config = FrontEndConfig(frame_length=256, frame_step=frame_step, fft_length=256, num_mel_bins=20)
    features = compute_features(np.zeros(num_samples, np.float32), config).numpy()
    assert features.shape == (config.num_frames(num_samples), 20)
    assert np.isfinite(features).all()


def test_a_batch_of_one_equals_its_row_in_a_batch():
    waveforms = np.stack(list(_signals().values()))
    config = FrontEndConfig(compression="db", top_db=80.0)
    together = compute_features(waveforms, config).numpy()
    for row, waveform in zip(together, waveforms, strict=True):
        np.testing.assert_array_equal(compute_features(waveform[None], config).numpy()[0], row)


def test_eager_graph_and_pipeline_agree():
    waveforms = np.stack(list(_signals().values()))
    config = FrontEndConfig(num_mel_bins=40)
    eager = compute_features(waveforms, config).numpy()
    in_graph = tf.function(lambda w: compute_features(w, config))(waveforms).numpy()
    dataset = tf.data.Dataset.from_tensor_slices(waveforms).map(lambda w: compute_features(w, config))
    compiled = tf.function(lambda w: compute_features(w, config), jit_compile=True)(waveforms).numpy()
    for other in (in_graph, np.stack(list(dataset.as_numpy_iterator())), compiled):
        np.testing.assert_allclose(other, eager, atol=2e-4)


def test_the_layer_survives_saving(tmp_path):
    config = FrontEndConfig(num_mel_bins=16, compression="db", top_db=60.0)
    normalization = Normalization(mean=tuple(range(16)), stddev=(2.0,) * 16)
    inputs = keras.Input((4000,))
    model = keras.Model(inputs, FrontEnd(config, normalization)(inputs))
    waveform = _signals()["chirp"][None, :4000]
    expected = compute_features(waveform, config).numpy() / 2.0 - np.arange(16) / 2.0
    assert model.output_shape == (None, 8, 16)
    np.testing.assert_allclose(model(waveform), expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(waveform), model(waveform))


def test_half_precision_policy_leaves_the_front_end_alone():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = FrontEnd(FrontEndConfig())
        assert layer(np.ones((1, 4000), np.float32)).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy("float32")


def test_wrong_waveforms_are_refused():
    with pytest.raises(TfaudioError, match="int16 samples / 32768"):
        compute_features(np.zeros(100, np.int16), FrontEndConfig())
    with pytest.raises(TfaudioError, match="single number"):
        compute_features(np.float32(1.0), FrontEndConfig())
    with pytest.raises(TfaudioError, match="3 bins, but the front end gives 64"):
        compute_features(np.zeros(100, np.float32), FrontEndConfig(), Normalization(mean=(0,) * 3, stddev=(1,) * 3))


def test_too_many_bands_are_refused():
    with pytest.raises(TfaudioError, match="narrower than a Fourier bin"):
        mel_matrix(FrontEndConfig(frame_length=128, fft_length=128, num_mel_bins=80))


def test_normalization_is_that_of_numpy():
    rng = np.random.default_rng(1)
    batches = [rng.normal(3.0, 2.0, (n, 7, 5)).astype(np.float32) for n in (3, 1, 4)]
    fitter = NormalizationFitter()
    for batch in batches:
        fitter.add(batch)
    rows = np.concatenate(batches).reshape(-1, 5)
    np.testing.assert_allclose(fitter.result().mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(fitter.result().stddev, rows.std(axis=0), rtol=1e-5)
    with pytest.raises(TfaudioError, match="no training audio"):
        NormalizationFitter().result()
