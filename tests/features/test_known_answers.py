"""Features of signals whose answer is known without a library."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.features.family import CONFIGS, EVERY, RATE, SMALL, waveforms
from tfaudio.config import FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.librosa_reference import pcen as librosa_pcen
from tfaudio.features.cepstral import cepstral_matrix
from tfaudio.features.constant_q import band_frequencies, filter_groups
from tfaudio.features.delta import append_deltas
from tfaudio.features.family import bin_names, check_features, smallest_deviations
from tfaudio.features.front_end import compute_features
from tfaudio.features.normalization import NormalizationFitter
from tfaudio.features.pcen import pcen, running_mean

TIME = np.arange(RATE) / RATE


def tone(hertz: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * TIME)).astype(np.float32)


def middle(name: str, waveform: np.ndarray, config: FrontEndConfig = SMALL) -> np.ndarray:
    """A feature in the middle of a waveform of a second."""
    return compute_features(waveform, config.replace(feature=name)).numpy()[15]


@pytest.mark.parametrize(("hertz", "pitch_class"), [(440.0, 9), (261.626, 0), (1_174.66, 2)])
def test_chroma_names_the_note(hertz: float, pitch_class: int) -> None:
    chroma = middle("chroma", tone(hertz), SMALL.replace(frame_length=1024, fft_length=1024))
    assert chroma.argmax() == pitch_class
    assert chroma.max() == 1.0


def test_a_tone_is_narrow_and_lies_where_it_is() -> None:
    assert middle("spectral_centroid", tone(1_000.0)) == pytest.approx(1_000.0, abs=1.0)
    assert middle("spectral_bandwidth", tone(1_000.0)) < 20.0
    assert middle("spectral_rolloff", tone(1_000.0)) == pytest.approx(1_000.0, abs=RATE / 512)
    assert middle("spectral_flatness", tone(1_000.0)) < 1e-6


def test_a_click_is_flat_and_wide() -> None:
    click = np.zeros(RATE, np.float32)
    click[15 * 256] = 1.0
    assert middle("spectral_flatness", click) == pytest.approx(1.0, rel=1e-4)
    assert middle("spectral_centroid", click) == pytest.approx(RATE / 4, rel=1e-3)
    assert middle("spectral_bandwidth", click) == pytest.approx(RATE / 2 / np.sqrt(12), rel=1e-2)  # uniform
    assert middle("spectral_rolloff", click) == pytest.approx(0.85 * RATE / 2, abs=RATE / 512)
    np.testing.assert_allclose(middle("spectral_contrast", click), 0.0, atol=1e-4)


def test_level_and_crossings_of_a_tone() -> None:
    assert middle("rms", tone(1_000.0)) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert middle("zero_crossing_rate", tone(1_000.0)) == pytest.approx(2 * 1_000 / RATE, abs=2 / 512)
    alternating = np.where(np.arange(RATE) % 2, -1.0, 1.0).astype(np.float32)
    assert middle("zero_crossing_rate", alternating) == pytest.approx(511 / 512)


def test_the_cepstral_matrix_is_the_cosine_transform_of_scipy() -> None:
    bands = np.random.default_rng(0).normal(size=(5, 40))
    expected = scipy.fft.dct(bands, type=2, norm="ortho")[:, :13]
    np.testing.assert_allclose(bands @ cepstral_matrix(40, 13, 0.0), expected, atol=1e-5)
    whole = cepstral_matrix(40, 40, 0.0)
    np.testing.assert_allclose(whole @ whole.T, np.eye(40), atol=1e-6)


@given(st.integers(1, 12), st.sampled_from([3, 5, 9, 21]))
def test_deltas_are_those_of_librosa_for_any_number_of_frames(frames: int, width: int) -> None:
    features = np.random.default_rng(frames).normal(size=(2, frames, 3)).astype(np.float32)
    actual = append_deltas(tf.constant(features), SMALL.replace(deltas=2, delta_frames=width)).numpy()
    np.testing.assert_array_equal(actual[..., :3], features)
    for order, part in ((1, actual[..., 3:6]), (2, actual[..., 6:])):
        expected = librosa.feature.delta(features.astype(np.float64), width=width, order=order, axis=1, mode="nearest")
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_deltas_of_a_parabola() -> None:
    frames = np.arange(50.0)
    features = (3.0 * frames**2 - 2.0 * frames + 7.0)[:, None].astype(np.float32)
    actual = append_deltas(tf.constant(features), SMALL.replace(deltas=2)).numpy()[10:40]
    np.testing.assert_allclose(actual[:, 1], 6.0 * frames[10:40] - 2.0, rtol=1e-4)
    np.testing.assert_allclose(actual[:, 2], 6.0, rtol=1e-3)
    constant = append_deltas(tf.fill([9, 4], 123.456), SMALL.replace(deltas=2)).numpy()
    assert not constant[:, 4:].any()


def test_pcen_per_bin_equals_librosa_bin_by_bin() -> None:
    rng = np.random.default_rng(0)
    energy = rng.exponential(size=(200, 3)).astype(np.float32)
    gain, bias, power = rng.uniform(0.5, 1, 3), rng.uniform(0.5, 3, 3), rng.uniform(0.2, 0.9, 3)
    config = SMALL.replace(compression="pcen")
    learnt = {"gain": gain, "bias": bias, "power": power}
    actual = np.asarray(pcen(tf.constant(energy), config, **{k: tf.constant(v, tf.float32) for k, v in learnt.items()}))
    for index in range(3):
        own = {f"pcen.{name}": float(values[index]) for name, values in learnt.items()}
        expected = librosa_pcen(energy[:, [index]].T.astype(np.float64), config.override(own))
        np.testing.assert_allclose(actual[:, index], expected[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("coefficient", [0.025, 0.5, 1.0])
def test_the_running_mean_is_the_filter_of_scipy(frames: int, coefficient: float) -> None:
    energy = np.random.default_rng(0).exponential(size=(2, frames, 3)).astype(np.float32)
    start = (1.0 - coefficient) * energy[:, :1].astype(np.float64)
    expected, _ = scipy.signal.lfilter([coefficient], [1.0, coefficient - 1.0], energy, axis=1, zi=start)
    np.testing.assert_allclose(np.asarray(running_mean(tf.constant(energy), coefficient)), expected, rtol=1e-5)


def test_constant_q_finds_its_own_pitches() -> None:
    config = SMALL.replace(feature="cqt", compression="none")
    for band in (0, 7, 20, 35):
        energy = compute_features(tone(band_frequencies(config)[band]), config).numpy()[15]
        assert energy.argmax() == band
        length = RATE / band_frequencies(config)[band] * (4 ** (1 / 12) + 1) / (4 ** (1 / 12) - 1)
        assert energy[band] == pytest.approx(0.25**2 * length, rel=0.02)  # half of the amplitude, times the length


def test_constant_q_hears_noise_as_loud_in_every_band() -> None:
    config = SMALL.replace(feature="cqt", compression="none", frame_step=64)
    noise = np.random.default_rng(0).normal(size=[8, 4 * RATE]).astype(np.float32)
    energy = compute_features(0.5 * noise, config).numpy().mean(axis=(0, 1))
    np.testing.assert_allclose(energy, 0.25 * 1.5, rtol=0.2)


def test_constant_q_fits_a_device_and_variable_q_is_shorter() -> None:
    default = FrontEndConfig(feature="cqt")
    size = sum(group.matrix.nbytes for group in filter_groups(default))
    assert size < 1.0e6
    wider = default.override({"cqt.gamma": 20.0})
    assert sum(group.matrix.nbytes for group in filter_groups(wider)) < size / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature": "mel", "num_mel_bins": 400}, "mel bands are narrower"),
        ({"feature": "rms+mfcc", "num_mel_bins": 400}, "mel bands are narrower"),
        ({"feature": "spectral_contrast", "contrast_lower_hertz": 5.0}, "no Fourier bin falls into the band"),
        ({"feature": "cqt", "cqt.num_bins": 84}, "reaches up to .* Hz, beyond half of front_end.sample_rate"),
        ({"feature": "cqt", "cqt.lower_hertz": 1.0}, "would have .* samples, more than 65536"),
    ],
)
def test_filter_banks_that_do_not_fit_are_found_early(settings: dict[str, object], message: str) -> None:
    config = SMALL.override(settings)
    with pytest.raises(TfaudioError, match=message):
        check_features(config)
    with pytest.raises(TfaudioError, match=message):
        compute_features(np.zeros(100, np.float32), config)


def test_bins_have_names() -> None:
    for config in CONFIGS.values():
        names = bin_names(config)
        assert len(names) == config.num_bins == len(set(names)) == len(smallest_deviations(config))


def test_stacks_of_unlike_scales_come_out_standardised() -> None:
    batch = waveforms()[[0, 1, 4]]
    config = EVERY.replace(feature="+".join([n for n in EVERY.features if n != "spectrogram"]))
    features = compute_features(batch, config).numpy()
    fitter = NormalizationFitter(smallest_deviations(config))
    for example in features:
        fitter.add(example)
    normalization = fitter.result()
    rows = compute_features(batch, config, normalization).numpy().astype(np.float64).reshape(-1, config.num_bins)
    deviation, smallest = features.reshape(-1, config.num_bins).std(axis=0), smallest_deviations(config)
    moving = deviation > smallest
    assert moving.mean() > 0.95
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(rows.std(axis=0)[moving], 1.0, atol=1e-4)
    # Against float64: hertz beside shares of one lose no digits that matter.
    exact = (features.astype(np.float64) - np.array(normalization.mean)) / np.array(normalization.stddev)
    np.testing.assert_allclose(rows, exact.reshape(rows.shape), atol=1e-4, rtol=1e-5)


def test_a_quiet_level_is_standardised_and_a_dead_bin_is_not_blown_up() -> None:
    config = SMALL.replace(feature="rms+mel")
    quiet = 1e-4 * waveforms()
    fitter = NormalizationFitter(smallest_deviations(config))
    fitter.add(compute_features(quiet, config).numpy())
    normalization = fitter.result()
    assert normalization.stddev[0] < 1e-4  # the level moves by so little, and yet it moves
    loud = compute_features(waveforms(), config, normalization).numpy()[..., 1:]
    assert np.abs(loud).max() < 60.0  # thirty natural logarithms at most, in units of a half
