"""Run folders that are damaged, incomplete or of another version."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tfaudio import bundle
from tfaudio.config import FrontEndConfig, ModelConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.normalization import Normalization
from tfaudio.labels import LabelMap
from tfaudio.models.classifier import build_classifier

BINS = 8
CONFIG = RunConfig(
    front_end=FrontEndConfig(num_mel_bins=BINS), model=ModelConfig(name="cnn", options={"filters": [2, 2]})
)
SPLIT = {"dataset": "x", "fingerprint": "0123", "rule": "hash", "train": ["a"], "validation": [], "test": ["b"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with all that load_bundle reads."""
    path = tmp_path / "run"
    labels = LabelMap(("a", "b"))
    normalization = Normalization(mean=(0.0,) * BINS, stddev=(1.0,) * BINS)
    bundle.write_config(path, CONFIG)
    bundle.write_model(path, labels, normalization, build_classifier(CONFIG, len(labels)))
    (path / bundle.SPLIT).write_text(json.dumps(SPLIT))
    return path


def test_a_run_comes_back_as_it_was_written(run: Path) -> None:
    loaded = bundle.load_bundle(run)
    assert loaded.config == CONFIG
    assert loaded.labels.names == ("a", "b")
    assert np.isfinite(loaded.classifier(np.zeros((1, 4, BINS), np.float32))).all()
    assert bundle.read_split(run) == SPLIT


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (bundle.CONFIG, b"{}", "has no run format"),
        (bundle.CONFIG, b"[1]", "has no run format"),
        (bundle.CONFIG, b'{"format": true}', "has no run format"),
        (bundle.CONFIG, b'{"format": 1}', "has no settings"),
        (bundle.CONFIG, b'{"format": 1, "config": [1]}', "has no settings"),
        (bundle.CONFIG, b'{"format": 1, "config": {"clip": {"seconds": -1}}}', r"clip\.seconds must be positive"),
        (bundle.CONFIG, b"\xff", "is damaged"),
        (bundle.CONFIG, b"[" * 100_000, "is damaged"),
        (bundle.LABELS, b"\xff\n", "is damaged"),
        (bundle.LABELS, b"a\na\n", "is damaged .*twice"),
        (bundle.NORMALIZATION, b"\xff", "is damaged"),
        (bundle.NORMALIZATION, b"{", "is damaged"),
        (bundle.NORMALIZATION, b'{"mean": 3}', "is damaged .*must be a list"),
        (bundle.NORMALIZATION, b"{}", "has 0 bins, but the front end of .* takes 8"),
        (bundle.NORMALIZATION, b'{"mean": [0], "stddev": [1]}', "has 1 bins, but the front end of .* takes 8"),
    ],
)
def test_damage_names_the_file_and_a_way_out(run: Path, name: str, content: bytes, message: str) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(TfaudioError, match=message) as error:
        bundle.load_bundle(run)
    assert str(run / name) in str(error.value)
    assert "train again" in str(error.value)
    assert "upgrade" not in str(error.value)


def test_a_later_format_asks_for_an_upgrade(run: Path) -> None:
    (run / bundle.CONFIG).write_text(json.dumps({"format": 2, "config": {}}))
    with pytest.raises(TfaudioError, match="upgrade tfaudio"):
        bundle.read_config(run)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_weights_that_were_cut_are_told(run: Path, keep: float) -> None:
    content = (run / bundle.WEIGHTS).read_bytes()
    (run / bundle.WEIGHTS).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(TfaudioError, match=r"model\.weights\.h5 does not fit"):
        bundle.load_bundle(run)


def test_weights_with_flipped_bits_load_or_are_told(run: Path) -> None:
    content = (run / bundle.WEIGHTS).read_bytes()
    rng, told = np.random.default_rng(0), []
    for _ in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=8)] ^= 1 << rng.integers(8, size=8, dtype=np.uint8)
        (run / bundle.WEIGHTS).unlink()  # the failed attempt before may still hold the file open
        (run / bundle.WEIGHTS).write_bytes(damaged.tobytes())
        try:
            bundle.load_bundle(run)
        except TfaudioError as error:
            told.append(str(error))
    assert len(told) > 10
    assert all("model.weights.h5 does not fit" in line for line in told)


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"[]", b"{}", *(json.dumps({**SPLIT, key: 3}).encode() for key in SPLIT if key != "dataset")],
)
def test_a_damaged_split_is_told(run: Path, content: bytes) -> None:
    (run / bundle.SPLIT).write_bytes(content)
    with pytest.raises(TfaudioError, match=r"split\.json is damaged .*train again"):
        bundle.read_split(run)


def test_without_a_split_nothing_is_compared_in_silence(run: Path) -> None:
    (run / bundle.SPLIT).unlink()
    bundle.load_bundle(run)  # predicting takes no data set
    with pytest.raises(TfaudioError, match=r"has no split\.json"):
        bundle.read_split(run)


def test_the_folder_of_folds_names_one(run: Path) -> None:
    fold = run.parent / "fold_1"
    run.rename(fold)
    with pytest.raises(TfaudioError, match=r"holds the folds of a cross-validation.* name one of them") as error:
        bundle.load_bundle(fold.parent)
    assert str(error.value).endswith(f"such as {fold}.")
