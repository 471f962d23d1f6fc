"""Every feature is what librosa computes, by the very comparison that `tfaudio features --compare=librosa` prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.family import CONFIGS, SMALL, waveforms
from tfaudio.config import FrontEndConfig
from tfaudio.evaluation import front_end
from tfaudio.evaluation.front_end import CASES, EqualityCase, compare_with_librosa, equality_signals, equality_table
from tfaudio.evaluation.librosa_reference import expected_features, expected_stack
from tfaudio.features.family import FAMILY
from tfaudio.features.front_end import compute_features

SETTINGS = {
    "default": FrontEndConfig(),
    "speech, matmul": FrontEndConfig(
        frame_length=400, frame_step=160, fft_length=512, num_mel_bins=40, implementation="matmul"
    ),
    "8 kHz": FrontEndConfig(sample_rate=8_000, frame_length=512, frame_step=256, fft_length=512, num_mel_bins=40),
    "odd frames": FrontEndConfig(frame_length=401, frame_step=123, fft_length=512, num_mel_bins=40),
    "44.1 kHz": FrontEndConfig(sample_rate=44_100, frame_length=2048, fft_length=2048),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_feature_equals_librosa(name: str) -> None:
    config = SETTINGS[name]
    # librosa's own transform takes steps that are a multiple of a power of two, and frames of even length.
    cases = [case for case in CASES if "librosa.vqt" not in case.title or config.frame_step % 32 == 0]
    rows = compare_with_librosa(config, equality_signals(config.sample_rate, seconds=0.7), cases)
    assert all(row.equal for row in rows), equality_table(rows)


@pytest.mark.parametrize(("dataset", "file"), [("esc10", "1-110389-A.ogg"), ("fsdd", "0_jackson_0.wav")])
def test_every_feature_of_real_recordings_equals_librosa(shared_data: Path, dataset: str, file: str) -> None:
    waveform, rate = soundfile.read(next((shared_data / dataset).rglob(file)), dtype="float32")
    length = 512 if rate < 16_000 else 2048
    config = FrontEndConfig(
        sample_rate=rate, frame_length=length, frame_step=length // 2, fft_length=length, num_mel_bins=40
    )
    rows = compare_with_librosa(config, {file: waveform[: 2 * rate]})
    assert all(row.equal for row in rows), equality_table(rows)


@pytest.mark.parametrize("name", ["mel", "db", "mfcc", "spectral_contrast", "spectral_bandwidth", "spectral_flatness"])
def test_of_noise_no_tolerance_hangs_on_rounding(name: str) -> None:
    """The allowance for rounding is no way out: where float32 suffices, the stated share alone has to."""
    config = CONFIGS[name]
    noise = waveforms()[0]
    expected = expected_stack(noise, config)
    difference = np.abs(compute_features(noise, config).numpy() - expected.values)
    assert (difference <= expected.share).all()
    assert np.median(expected.rounding / expected.share) < 0.1


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_the_comparison_finds_what_is_wrong(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_end, "compute_features", lambda w, c: factor * compute_features(w, c))
    cases = [case for case in CASES if case.title in ("spectrogram, power", "mel", "mfcc", "rms", "cqt", "stack")]
    rows = compare_with_librosa(SETTINGS["8 kHz"], {"noise": equality_signals(8_000)["noise"]}, cases)
    assert len(rows) == 6
    assert not any(row.equal for row in rows)


# Up to 30 s; the constant-Q reference holds frames of the longest filter, so it stops earlier.
@settings(max_examples=12)
@given(
    st.sampled_from([name for name in FAMILY if name != "cqt"]),
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    st.one_of(st.integers(1, 3_000), st.floats(0.5, 30.0)),
    st.integers(0, 2**16),
)
def test_any_length_and_rate(name: str, rate: int, length: float, seed: int) -> None:
    num_samples = length if isinstance(length, int) else round(length * rate)
    _check_length_and_rate(name, rate, num_samples, seed)


@settings(max_examples=5)
@given(st.sampled_from([8_000, 22_050, 96_000]), st.integers(1, 50_000), st.integers(0, 2**16))
def test_constant_q_of_any_length_and_rate(rate: int, num_samples: int, seed: int) -> None:
    _check_length_and_rate("cqt", rate, num_samples, seed)


def _check_length_and_rate(name: str, rate: int, num_samples: int, seed: int) -> None:
    fft_length = 2 ** round(np.log2(rate / 20))
    config = FrontEndConfig(
        sample_rate=rate,
        feature=name,
        frame_length=fft_length,
        frame_step=fft_length // 2,
        fft_length=fft_length,
        num_mel_bins=32,
        contrast_bands=4,
        compression="db",
        top_db=80.0,
    ).override({"cqt.num_bins": 48})
    waveform = (0.1 * np.random.default_rng(seed).normal(size=num_samples)).astype(np.float32)
    expected = expected_features(name, waveform, config)
    actual = compute_features(waveform, config).numpy()
    assert actual.shape == expected.values.shape == (config.num_frames(num_samples), config.bins_of(name))
    assert (np.abs(actual - expected.values) <= expected.tolerance).all()


def test_the_family_is_the_one_that_settings_name() -> None:
    from tfaudio.config.front_end import FEATURES

    assert tuple(FAMILY) == FEATURES
    compared = {name for case in CASES for name in str(case.settings["feature"]).split("+")}
    assert compared == set(FEATURES)


def test_low_rates_are_compared_with_fewer_bands() -> None:
    config = SMALL.replace(sample_rate=4_000, contrast_bands=6).override({"cqt.num_bins": 96})
    case = EqualityCase("contrast and cqt", "mixed", {"feature": "spectral_contrast+cqt"})
    (row,) = compare_with_librosa(config, {"noise": equality_signals(4_000)["noise"]}, [case])
    assert row.equal
    assert row.bins == (4 + 1) + 44  # octaves from 200 Hz and semitones from 110 Hz, half an octave below 2 kHz


def test_a_table_has_a_line_a_feature() -> None:
    rows = compare_with_librosa(SMALL, {"noise": waveforms()[0]}, CASES[:2])
    lines = equality_table(rows).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["feature", "spectrogram, power", "spectrogram, magnitude"]
    assert all(line.endswith("yes") for line in lines[1:])
