"""What counts as the same sound: copies however changed, and no two takes, clicks or noises."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tfaudio.data import similarity
from tfaudio.data.similarity import (
    LEAST_COSINE,
    LEAST_MATCH,
    MOST_CANDIDATES,
    RATE,
    at_common_rate,
    candidate_pairs,
    spectral_fingerprint,
    waveform_match,
)
from tfaudio.data.synthetic import SOUND_KINDS, make_sound

Waveform = npt.NDArray[np.float32]
SOURCE_RATE = 16_000


def sound(kind: str, seed: int) -> Waveform:
    return make_sound(kind, seed=seed, index=0, sample_rate=SOURCE_RATE, seconds=1.0)


def coded(waveform: Waveform, file_format: str, subtype: str | None = None) -> Waveform:
    content = io.BytesIO()
    soundfile.write(content, waveform, SOURCE_RATE, format=file_format, subtype=subtype)
    content.seek(0)
    return soundfile.read(content, dtype="float32")[0]


CHANGES: dict[str, Callable[[Waveform], Waveform]] = {
    "softer": lambda x: 0.05 * x,
    "other polarity": lambda x: -x,
    "MP3": lambda x: coded(x, "MP3"),
    "Vorbis": lambda x: coded(x, "OGG", "VORBIS"),
    "cut": lambda x: x[len(x) // 8 :],
    "padded": lambda x: np.pad(x, (3_000, 1_000)),
    "padded longer": lambda x: np.pad(x, (0, 12_000)),
}


@pytest.fixture(scope="module")
def sounds() -> list[Waveform]:
    return [sound(kind, seed) for kind in SOUND_KINDS for seed in (1, 2)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_other_sounds(sounds: list[Waveform], change: str) -> None:
    originals = [at_common_rate(x, SOURCE_RATE) for x in sounds]
    copies = [at_common_rate(CHANGES[change](x).astype(np.float32), SOURCE_RATE) for x in sounds]
    pairs = candidate_pairs(np.stack([spectral_fingerprint(x) for x in (*originals, *copies)]))
    both = [*originals, *copies]
    found = {(a, b) for a, b in pairs.tolist() if waveform_match(both[a], both[b]) >= LEAST_MATCH}
    wanted = {(index, index + len(sounds)) for index in range(len(sounds))}
    assert len(wanted - found) <= 1
    assert not found - wanted


def test_a_copy_at_half_the_rate_is_found(sounds: list[Waveform]) -> None:
    import scipy.signal

    for waveform in sounds:
        half = scipy.signal.resample_poly(waveform, 1, 2).astype(np.float32)
        assert waveform_match(at_common_rate(waveform, 16_000), at_common_rate(half, 8_000)) > 0.9


def test_sounds_of_one_kind_do_not_match(sounds: list[Waveform]) -> None:
    for kind in SOUND_KINDS:
        takes = [at_common_rate(sound(kind, seed), SOURCE_RATE) for seed in range(3)]
        assert max(waveform_match(takes[i], takes[j]) for i in range(3) for j in range(i)) < 0.3


def test_two_clicks_in_faint_noise_are_no_copies() -> None:
    """They correlate nearly as much as copies, since nothing else is heard in them."""
    rng = np.random.default_rng(0)
    waveforms = 1e-3 * rng.standard_normal((2, RATE))
    waveforms[0, 2_000] = waveforms[1, 5_000] = 1.0
    first, second = waveforms.astype(np.float32)
    correlation = np.abs(np.correlate(np.pad(first, RATE), second, mode="valid")).max()
    assert correlation / np.linalg.norm(first) / np.linalg.norm(second) > 0.9
    assert waveform_match(first, second) < 0.3
    assert waveform_match(first, first) == pytest.approx(1.0, abs=1e-3)


def test_match_is_symmetric_and_bounded() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((2, 3_000)).astype(np.float32)
    second[500:] += first[:-500]
    assert waveform_match(first, second) == pytest.approx(waveform_match(second, first), abs=1e-4)
    # Equal parts of the same noise and of another: a correlation of about 1/sqrt(2) of 5/6 of the length.
    assert waveform_match(first, second) == pytest.approx(np.sqrt(0.5) * 5 / 6, abs=0.06)
    assert waveform_match(first, first) == pytest.approx(1.0, abs=1e-3)


def test_what_overlaps_by_less_than_half_is_no_copy() -> None:
    noise = np.random.default_rng(2).standard_normal(10_000).astype(np.float32)
    assert waveform_match(noise[:6_000], noise[4_000:]) < LEAST_MATCH
    assert waveform_match(noise[:6_000], noise[1_000:7_000]) > 0.75


@pytest.mark.parametrize("length", [1, 2, 10, 600])
def test_silence_and_very_short_clips(length: int) -> None:
    silence, noise = np.zeros(length, np.float32), np.random.default_rng(5).standard_normal(length).astype(np.float32)
    assert waveform_match(silence, noise) == 0.0
    assert not spectral_fingerprint(silence).any()
    assert np.isfinite(waveform_match(noise, noise))
    if length > 1:  # the window of the fingerprint begins at 0
        assert np.linalg.norm(spectral_fingerprint(noise)) == pytest.approx(1.0, abs=1e-5)


def test_only_the_beginning_of_a_long_recording_is_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "LONGEST_SECONDS", 0.5)
    noise = np.random.default_rng(3).standard_normal((2, RATE)).astype(np.float32)
    noise[1, : RATE // 2] = noise[0, : RATE // 2]
    assert waveform_match(*noise) == pytest.approx(1.0, abs=1e-3)


def test_fingerprints_tell_spectra_and_their_movement_apart() -> None:
    time = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * np.array([[300.0], [2_000.0]]) * time).astype(np.float32)
    beating = low * (time % 0.5 < 0.25)
    prints = {name: spectral_fingerprint(x) for name, x in (("low", low), ("high", high), ("beating", beating))}
    assert prints["low"] @ prints["high"] < 0.3
    assert prints["low"] @ prints["beating"] < 0.9
    for copy in (0.01 * beating, np.pad(beating, 1_000), beating[700:], beating[::-1], beating + 1e-4):
        assert prints["beating"] @ spectral_fingerprint(copy.astype(np.float32)) > 0.97


@pytest.mark.parametrize("rate", [4_000, 11_025, 22_050, 44_099, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_at_the_common_rate(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    resampled = at_common_rate(tone, rate)
    assert len(resampled) == pytest.approx(RATE, abs=2)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(resampled)) / RATE)
    assert np.abs(resampled - expected)[200:-200].max() < 0.02


@pytest.mark.parametrize("block_bytes", [1, 4 * 40 * 7, 2**23])
def test_candidates_are_the_nearest_of_each(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr(similarity, "_BYTES_AT_A_TIME", block_bytes)
    rng = np.random.default_rng(4)
    vectors = np.repeat(rng.standard_normal((8, 64)), 5, axis=0) + 0.2 * rng.standard_normal((40, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    expected = set()
    for index, row in enumerate(vectors.astype(np.float64) @ vectors.T.astype(np.float64)):
        row[index] = -2
        for other in np.argsort(-row)[:MOST_CANDIDATES]:
            if row[other] >= LEAST_COSINE:
                expected.add((min(index, int(other)), max(index, int(other))))
    assert len(expected) > 40
    assert [tuple(pair) for pair in candidate_pairs(vectors, progress=False).tolist()] == sorted(expected)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_candidates_of_few_clips(count: int) -> None:
    vectors = np.eye(1, 64, dtype=np.float32).repeat(count, axis=0)
    assert candidate_pairs(vectors, progress=False).tolist() == [[0, 1]] * (count == 2)


def test_takes_of_a_real_digit_are_no_copies(shared_data: Path) -> None:
    paths = sorted((shared_data / "fsdd" / "recordings").glob("4_george_*.wav"))[:24]
    if not paths:
        pytest.skip(f"no FSDD in {shared_data}")
    takes = [soundfile.read(path, dtype="float32")[0] for path in paths]
    pairs = candidate_pairs(np.stack([spectral_fingerprint(take) for take in takes]), progress=False)
    assert len(pairs) > 24
    assert max(waveform_match(takes[a], takes[b]) for a, b in pairs) < LEAST_MATCH


def test_a_real_fire_that_stands_under_two_numbers_is_found(shared_data: Path) -> None:
    """Freesound holds it as FireBurning and as FireBurning_v2."""
    paths = [shared_data / "esc10" / "audio" / f"2-{number}-A.ogg" for number in ("28314", "30322", "61311")]
    if not paths[0].exists():
        pytest.skip(f"no ESC-10 in {shared_data}")
    first, second, other = [at_common_rate(*soundfile.read(path, dtype="float32")) for path in paths]
    assert waveform_match(first, second) > 0.9
    assert waveform_match(first, other) < 0.2
