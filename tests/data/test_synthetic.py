from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.folders import read
from tfaudio.config import DataConfig
from tfaudio.data.catalog import read_dataset
from tfaudio.data.synthetic import (
    SOUND_KINDS,
    make_sound,
    mix_sounds,
    synthetic_folder,
    write_synthetic,
    write_synthetic_tags,
)
from tfaudio.errors import TfaudioError

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def sounds() -> dict[str, NDArray[np.float32]]:
    return {kind: np.stack([make_sound(kind, seed=0, index=i) for i in range(40)]) for kind in SOUND_KINDS}


def test_ten_kinds_of_finite_audible_sounds_that_all_differ(sounds: dict[str, NDArray[np.float32]]) -> None:
    assert len(sounds) == 10
    rows = np.concatenate(list(sounds.values()))
    assert rows.shape == (400, 16_000)
    assert rows.dtype == np.float32
    peaks = np.abs(rows).max(axis=1)
    assert peaks.max() <= 10 ** (-1 / 20) + 1e-6
    assert peaks.min() >= 10 ** (-24 / 20) - 1e-6
    assert len(np.unique(rows, axis=0)) == 400


@pytest.mark.parametrize("kind", SOUND_KINDS)
def test_a_sound_depends_on_its_arguments_alone(kind: str, sounds: dict[str, NDArray[np.float32]]) -> None:
    np.random.seed(5)  # the global state must not matter
    np.testing.assert_array_equal(make_sound(kind, seed=0, index=7), sounds[kind][7])
    assert not np.array_equal(make_sound(kind, seed=1, index=7), sounds[kind][7])


@pytest.mark.parametrize(("sample_rate", "seconds"), [(8_000, 0.5), (44_100, 2.0), (4_000, 0.1)])
@pytest.mark.parametrize("kind", SOUND_KINDS)
def test_other_rates_and_lengths(kind: str, sample_rate: int, seconds: float) -> None:
    for index in range(3):
        sound = make_sound(kind, seed=2, index=index, sample_rate=sample_rate, seconds=seconds)
        assert sound.shape == (round(sample_rate * seconds),)
        assert np.isfinite(sound).all()


def test_mistakes_are_explained() -> None:
    with pytest.raises(TfaudioError, match="Did you mean 'bell'"):
        make_sound("bel", seed=0, index=0)
    with pytest.raises(TfaudioError, match="at least"):
        make_sound("bell", seed=0, index=0, sample_rate=100)


def dominant_hertz(sound: NDArray[np.float32], sample_rate: int = 16_000) -> NDArray[np.float64]:
    """Strongest frequency of each frame in which there is sound, by SciPy."""
    from scipy.signal import stft

    hertz, _, spectrum = stft(sound, sample_rate, nperseg=512)
    power = np.abs(spectrum) ** 2
    loud = power.sum(axis=0) > 0.2 * power.sum(axis=0).max()
    return hertz[power.argmax(axis=0)[loud]]


def test_sweeps_rise_and_fall(sounds: dict[str, NDArray[np.float32]]) -> None:
    """Holds the labels true by another path than the one that made the sounds."""
    for kind, sign in (("rising_sweep", 1), ("falling_sweep", -1)):
        slopes = [
            np.polyfit(np.arange(len(h)), np.log(np.maximum(h, 30)), 1)[0] for h in map(dominant_hertz, sounds[kind])
        ]
        assert np.mean(np.array(slopes) * sign > 0) > 0.9, kind


def test_a_hum_is_lower_than_a_whistle(sounds: dict[str, NDArray[np.float32]]) -> None:
    hum = [np.median(dominant_hertz(sound)) for sound in sounds["hum"]]
    whistle = [np.median(dominant_hertz(sound)) for sound in sounds["whistle"]]
    assert np.median(hum) < 700 < np.median(whistle)


def test_kinds_are_neither_trivial_nor_hopeless_to_tell(sounds: dict[str, NDArray[np.float32]]) -> None:
    """A linear classifier of the long-term spectrum: well above chance (10 %), well below perfection."""
    features, targets = [], []
    edges = np.unique(np.geomspace(2, 257, 21).astype(int))
    for target, waves in enumerate(sounds.values()):
        for wave in waves / np.sqrt(np.mean(waves**2, axis=1, keepdims=True)):
            frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::256] * np.hanning(512)
            power = np.add.reduceat(np.abs(np.fft.rfft(frames)) ** 2, edges[:-1], axis=1)
            bands = np.log(power + 1e-3)
            features.append(np.concatenate([bands.mean(axis=0), bands.std(axis=0)]))
            targets.append(target)
    x, y = np.array(features), np.array(targets)
    x = np.column_stack([(x - x.mean(axis=0)) / x.std(axis=0), np.ones(len(x))])
    test = np.arange(len(x)) % 5 == 0
    weights = np.linalg.solve(x[~test].T @ x[~test] + 10 * np.eye(x.shape[1]), x[~test].T @ np.eye(10)[y[~test]])
    accuracy = np.mean((x[test] @ weights).argmax(axis=1) == y[test])
    assert 0.5 < accuracy < 0.9


def test_write_synthetic(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path / "data", clips_per_class=5, sample_rate=8_000, seconds=0.25, seed=3)
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["label"] for row in rows) == dict.fromkeys(SOUND_KINDS, 5)
    assert Counter(row["fold"] for row in rows) == dict.fromkeys("12345", 10)
    info = soundfile.info(folder / "bell" / "0001.wav")
    assert (info.samplerate, info.frames, info.channels, info.subtype) == (8_000, 2_000, 1, "PCM_16")
    stored = soundfile.read(folder / "hum" / "0005.wav")[0]
    np.testing.assert_allclose(
        stored, make_sound("hum", seed=3, index=4, sample_rate=8_000, seconds=0.25), atol=1 / 2**15
    )
    with pytest.raises(TfaudioError, match=r"data exists already; name a new or empty folder\.$"):
        write_synthetic(folder)


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import tfaudio.data.synthetic as module

    monkeypatch.setenv("TFAUDIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        module, "write_synthetic", lambda folder: write_synthetic(folder, clips_per_class=5, seconds=0.1)
    )
    return tmp_path / "cache"


def test_built_in_data_are_made_once(small_cache: Path) -> None:
    spec = read_dataset(DataConfig(dataset="synthetic"))
    assert (len(spec.clips), spec.folds, spec.labels.names) == (50, (1, 2, 3, 4, 5), SOUND_KINDS)
    assert [path.name for path in small_cache.iterdir()] == ["synthetic-v1"]
    changed = os.stat(spec.clips[0].path).st_mtime_ns
    assert read_dataset(DataConfig(dataset="synthetic")) == spec
    assert os.stat(spec.clips[0].path).st_mtime_ns == changed


def test_what_a_killed_process_left_is_removed_when_it_is_old(small_cache: Path) -> None:
    day = 24 * 3600
    kept = [".synthetic-v1.11", "..synthetic-v1.12.x", ".my-synthetic-voices", "synthetic-v0"]
    for name in kept:
        (small_cache / name).mkdir(parents=True)
    for name in (".synthetic-v1.21", "..synthetic-v1.22.a_b8c"):
        (small_cache / name / "bell").mkdir(parents=True)
    for path in small_cache.iterdir():
        if path.name not in kept[:2]:
            os.utime(path, (0, path.stat().st_mtime - 2 * day))
    synthetic_folder()
    assert {path.name for path in small_cache.iterdir()} == {*kept, "synthetic-v1"}


def test_two_processes_may_make_the_built_in_data_at_once(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_is_first(source: Path, target: Path) -> None:
        write_synthetic(target, clips_per_class=5, seconds=0.1)
        raise OSError("Directory not empty")

    monkeypatch.setattr("tfaudio.data.synthetic.os.rename", other_is_first)
    assert synthetic_folder() == small_cache / "synthetic-v1"
    assert [path.name for path in small_cache.iterdir()] == ["synthetic-v1"]


def test_something_in_the_way_of_the_built_in_data(small_cache: Path) -> None:
    (small_cache / "synthetic-v1" / "old").mkdir(parents=True)
    with pytest.raises(TfaudioError, match="stands in the way"):
        synthetic_folder()


def test_mixtures_hold_their_sounds_and_nothing_else() -> None:
    kinds = ["bell", "hum", "clicks"]
    mixed = mix_sounds(kinds, seed=0, index=4).astype(np.float64)
    assert 10 ** (-12 / 20) - 1e-3 <= np.abs(mixed).max() <= 10 ** (-1 / 20) + 1e-3
    sounds = np.stack([make_sound(kind, seed=0, index=4) for kind in kinds], axis=1).astype(np.float64)
    shares, *_ = np.linalg.lstsq(sounds, mixed, rcond=None)
    np.testing.assert_allclose(sounds @ shares, mixed, atol=1e-6)
    levels = 20 * np.log10(shares * np.sqrt(np.mean(sounds**2, axis=0)))
    assert np.ptp(levels) <= 6 + 1e-6
    np.testing.assert_array_equal(mixed, mix_sounds(kinds, seed=0, index=4))
    assert (mixed != mix_sounds(kinds, seed=0, index=5)).any()
    with pytest.raises(TfaudioError, match="Did you mean 'bell'"):
        mix_sounds(["bel"], seed=0, index=0)


def test_written_mixtures_are_a_data_set_of_several_labels(tmp_path: Path) -> None:
    folder = write_synthetic_tags(tmp_path / "tags", clips=60, sample_rate=8_000, seconds=0.2)
    spec = read("manifest", folder)
    assert (len(spec.clips), spec.labels.names, spec.folds) == (60, SOUND_KINDS, (1, 2, 3, 4, 5))
    assert {len(clip.labels) for clip in spec.clips} == {1, 2, 3}
    samples, rate = soundfile.read(spec.clips[7].path, dtype="float32")
    again = mix_sounds(spec.clips[7].labels, seed=1, index=7, sample_rate=8_000, seconds=0.2)
    assert rate == 8_000
    np.testing.assert_allclose(samples, again, atol=1 / 32_768)
    other = write_synthetic_tags(tmp_path / "again", clips=60, sample_rate=8_000, seconds=0.2)
    assert (other / "manifest.csv").read_bytes() == (folder / "manifest.csv").read_bytes()
    with pytest.raises(TfaudioError, match="exists already"):
        write_synthetic_tags(folder)
    with pytest.raises(TfaudioError, match="clips must be at least 1"):
        write_synthetic_tags(tmp_path / "none", clips=0)


def test_built_in_mixtures_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tfaudio.data.synthetic as module

    monkeypatch.setenv("TFAUDIO_CACHE", str(tmp_path))
    monkeypatch.setattr(
        module, "write_synthetic_tags", lambda folder: write_synthetic_tags(folder, clips=40, seconds=0.1)
    )
    spec = read_dataset(DataConfig(dataset="synthetic_tags"))
    assert (spec.name, spec.multi_label, spec.root) == (
        "synthetic_tags",
        True,
        str(tmp_path / "synthetic_tags-v1/audio"),
    )
    written = (tmp_path / "synthetic_tags-v1" / "manifest.csv").stat().st_mtime_ns
    module.synthetic_tags_folder()
    assert (tmp_path / "synthetic_tags-v1" / "manifest.csv").stat().st_mtime_ns == written
