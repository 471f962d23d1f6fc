"""The resampler in the graph against soxr, exact Fourier interpolation and identities."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soxr
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfaudio.audio.resample import resample
from tfaudio.config import RESAMPLER, ResamplerKernel

PAIRS = [
    (44_100, 32_000),
    (48_000, 16_000),
    (8_000, 16_000),
    (22_050, 16_000),
    (44_100, 16_000),
    (16_000, 44_100),
    (44_101, 16_000),
    (16_000, 44_101),
]


def band_limited(source: int, target: int, seconds: float = 1.0) -> np.ndarray:
    """Noise without content above 0.9 of the lower Nyquist frequency, silent at both ends."""
    num_samples = int(source * seconds)
    taper = scipy.signal.windows.tukey(num_samples, 0.5)
    low_pass = scipy.signal.firwin(2001, 0.86 * min(source, target) / 2, fs=source)
    noise = np.random.default_rng(3).standard_normal(num_samples) * 0.2
    return (np.convolve(noise, low_pass, "same") * taper).astype(np.float32)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_against_soxr_and_fourier(source, target):
    waveform = band_limited(source, target)
    ours = resample(waveform, source, target).numpy()
    assert len(ours) == -(-len(waveform) * target // source) == target
    theirs = soxr.resample(waveform.astype(np.float64), source, target, quality="VHQ")
    np.testing.assert_allclose(ours, theirs, atol=5e-4)  # soxr itself is 2e-4 off the exact values below
    exact = scipy.signal.resample(waveform.astype(np.float64), target)
    np.testing.assert_allclose(ours, exact, atol=2e-5)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_pass_band_is_flat_and_stop_band_deep(source, target):
    """Tones, measured by their level in the middle of the result."""
    lower, time = min(source, target), np.arange(source // 2) / source
    passed = [0.001, 0.3, 0.7, 0.9]
    stopped = [s for s in (1.01, 1.1, 1.3, 1.9) if s * target < 0.99 * source]
    tones = np.stack([np.sin(2 * np.pi * f * lower / 2 * time) for f in passed + stopped])
    result = resample(tones.astype(np.float32), source, target).numpy()[:, target // 8 : -target // 8]
    level = 20 * np.log10(np.sqrt(np.mean(np.square(result, dtype=np.float64), axis=1)) * np.sqrt(2) + 1e-12)
    assert np.abs(level[1 : len(passed)]).max() < 0.1
    assert all(level[len(passed) :] < -80)


@pytest.mark.parametrize(("source", "target"), [(8_000, 16_000), (16_000, 44_100), (16_000, 44_101)])
def test_no_images_above_the_old_nyquist(source, target):
    time = np.arange(source) / source
    for share in (0.3, 0.9):
        result = resample(np.sin(np.pi * share * source * time).astype(np.float32), source, target).numpy()
        middle = result[target // 4 : -target // 4].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(middle * scipy.signal.windows.kaiser(len(middle), 14)))
        hertz = np.fft.rfftfreq(len(middle), 1 / target)
        assert spectrum[hertz > source / 2].max() < 1e-4 * spectrum.max()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_constant_is_preserved_and_impulse_stays_in_place(source, target):
    constant = resample(np.full(source // 2, 0.5, np.float32), source, target).numpy()
    np.testing.assert_allclose(constant[target // 10 : -target // 10], 0.5, atol=2e-6)
    low = scipy.signal.windows.gaussian(source // 2, source / 1000)  # a smooth pulse in the middle
    result = resample(low.astype(np.float32), source, target).numpy()
    centre = np.sum(result * np.arange(len(result))) / np.sum(result) / target
    assert centre == pytest.approx((source // 2 - 1) / 2 / source, abs=1e-7)


def test_linear():
    first, second = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    both = resample(2 * first - second, 44_100, 16_000).numpy()
    apart = 2 * resample(first, 44_100, 16_000).numpy() - resample(second, 44_100, 16_000).numpy()
    np.testing.assert_allclose(both, apart, atol=2e-5)


def test_equal_rates_change_nothing():
    waveform = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(resample(waveform, 16_000, 16_000), waveform)
    np.testing.assert_array_equal(resample(waveform, tf.constant(16_000), 16_000), waveform)


@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (44_101, 16_000), (16_000, 16_000)])
def test_batch_as_one_by_one_and_in_a_pipeline(source, target):
    waveforms = np.random.default_rng(0).standard_normal((2, 3, 4410)).astype(np.float32)
    batch = resample(waveforms, source, target).numpy()
    assert batch.shape[:2] == (2, 3)
    rows = tf.data.Dataset.from_tensor_slices((waveforms.reshape(6, -1), [source] * 6))
    mapped = list(rows.map(lambda w, r: resample(w, r, target)))
    # A hundred products a sample, which each processor sums in an order of its own.
    np.testing.assert_allclose(batch.reshape(6, -1), np.stack(mapped), atol=1e-5)


@pytest.mark.parametrize("num_samples", [0, 1, 2, 441])
@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (8_000, 16_000), (44_101, 16_000), (16_000, 44_101)])
def test_short_waveforms(num_samples, source, target):
    result = resample(np.ones(num_samples, np.float32), source, target)
    assert result.shape == (int(np.ceil(num_samples * target / source)),)


_by_rate = tf.function(
    lambda w, r: resample(w, r, 16_000), input_signature=[tf.TensorSpec([None]), tf.TensorSpec([], tf.int32)]
)


@settings(max_examples=25, deadline=None)
@given(source=st.integers(1_000, 192_000), milliseconds=st.integers(1, 60))
def test_any_rate_gives_the_length_and_keeps_a_low_tone(source, milliseconds):
    num_samples = source * milliseconds // 1000 + 1
    waveform = np.cos(2 * np.pi * 20 * np.arange(num_samples) / source).astype(np.float32)
    result = _by_rate(waveform, source).numpy()
    assert len(result) == -(-num_samples * 16_000 // source)
    edge = int(70 * 16_000 / min(source, 16_000))
    expected = np.cos(2 * np.pi * 20 * np.arange(len(result)) / 16_000)
    if len(result) > 2 * edge:
        np.testing.assert_allclose(result[edge:-edge], expected[edge:-edge], atol=2e-3)


def test_impossible_rates():
    with pytest.raises(ValueError, match="at least 1 Hz"):
        resample(np.zeros(9, np.float32), 0, 16_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="below 1"):
        _by_rate(np.zeros(9, np.float32), 0)


@pytest.mark.parametrize("kernel", [RESAMPLER, ResamplerKernel(zero_crossings=16, rolloff=0.86, kaiser_beta=8.0)])
@pytest.mark.parametrize("source", [44_100, 8_000, 16_000, 22_050, 44_101])
def test_kernels_kept_in_memory_change_no_value(source, kernel):
    """Expected or not, in the table or (44,101 Hz has no matrix) not to be had: the same samples."""
    waveforms = np.random.default_rng(0).standard_normal((2, 3000)).astype(np.float32)
    expected = [8_000, 16_000, 22_050, 44_100, 44_101, 48_000]
    signature = [tf.TensorSpec([None, None]), tf.TensorSpec([], tf.int32)]
    kept = tf.function(
        lambda w, r: resample(w, r, 16_000, expected_rates=expected, kernel=kernel), input_signature=signature
    )
    result = resample(waveforms, source, 16_000, kernel=kernel)
    np.testing.assert_array_equal(kept(waveforms, source), result)
    if source != 16_000 and kernel != RESAMPLER:
        assert np.abs(result - resample(waveforms, source, 16_000)).max() > 1e-3
