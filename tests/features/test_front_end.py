"""The mel front end on analytic signals, the layer, and the fitting of its standardisation."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.front_end import FrontEnd, compute_features
from tfaudio.features.mel import mel_matrix
from tfaudio.features.normalization import Normalization, NormalizationFitter

RATE = 16_000


def _chirp() -> np.ndarray:
    time = np.arange(int(0.7 * RATE)) / RATE
    return (0.9 * np.sin(2 * np.pi * (100 * time + 5000 * time**2))).astype(np.float32)


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
    waveform = 0.1 * np.random.default_rng(0).normal(size=RATE).astype(np.float32)
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


def test_the_layer_survives_saving(tmp_path):
    config = FrontEndConfig(num_mel_bins=16, compression="db", top_db=60.0)
    normalization = Normalization(mean=tuple(range(16)), stddev=(2.0,) * 16)
    inputs = keras.Input((4000,))
    model = keras.Model(inputs, FrontEnd(config, normalization)(inputs))
    waveform = _chirp()[None, :4000]
    expected = compute_features(waveform, config).numpy() / 2.0 - np.arange(16) / 2.0
    assert model.output_shape == (None, 8, 16)
    np.testing.assert_allclose(model(waveform), expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(waveform), model(waveform))


def test_a_normalisation_of_another_size_is_refused():
    with pytest.raises(TfaudioError, match="3 bins, but the front end gives 64"):
        compute_features(np.zeros(100, np.float32), FrontEndConfig(), Normalization(mean=(0,) * 3, stddev=(1,) * 3))


def test_too_many_bands_are_refused():
    with pytest.raises(TfaudioError, match="narrower than a Fourier bin"):
        mel_matrix(FrontEndConfig(frame_length=128, fft_length=128, num_mel_bins=80))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TfaudioError, match=r"lower_edge_hertz and front_end\.upper_edge_hertz further apart"):
            mel_matrix(FrontEndConfig(lower_edge_hertz=7_999.9999999999))


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
