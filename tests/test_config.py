"""Settings, names and whole-file writing: no TensorFlow."""

from __future__ import annotations

import contextlib
import json
import math
import os
from typing import Any

import pytest

from tfaudio.config import ClipConfig, FrontEndConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.files import (
    check_can_write,
    folder_written_whole,
    make_writable_folder,
    refuse_existing,
    write_atomically,
    write_json,
)
from tfaudio.labels import LabelMap
from tfaudio.recipes import RECIPES, recipe
from tfaudio.registry import Registry


def test_json_round_trip_keeps_every_setting():
    config = RunConfig().override(
        {"front_end.num_mel_bins": 40, "model.options.width": 64, "clip.seconds": None, "augment.noise_snr_db": [0, 20]}
    )
    assert RunConfig.from_json(config.to_json()) == config
    assert config.model.options == {"width": 64}
    assert config.augment.noise_snr_db == (0.0, 20.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"front_end": {"num_mels": 3}}, "front_end.num_mels.*Did you mean 'front_end.num_mel_bins'"),
        ({"data": {"engine": "graf"}}, "Did you mean 'graph'"),
        ({"training": {"epochs": 1.5}}, r"^training\.epochs must be of type int"),
        ({"training": {"epochs": True}}, r"^training\.epochs must be of type int"),
        ({"training": {"epochs": 0}}, r"^training\.epochs must be 1 to"),
        ({"training": {"epochs": 10**20}}, r"^training\.epochs must be 1 to"),
        ({"training": {"batch_size": 10**20}}, r"^training\.batch_size must be 1 to"),
        ({"training": {"seed": 2**32}}, r"^training\.seed must be 0 to 4294967295, not 4294967296\.$"),
        ({"training": {"learning_rate": math.nan}}, r"^training\.learning_rate must be a finite number"),
        ({"training": {"weight_decay": 10**400}}, r"^training\.weight_decay must be a finite number"),
        ({"training": {"early_stopping_patience": -1}}, r"^training\.early_stopping_patience must be 0 to"),
        ({"data": {"parallel_calls": -5}}, r"^data\.parallel_calls must be 0 to"),
        ({"data": {"memory_gigabytes": -1}}, r"^data\.memory_gigabytes must be 0 to"),
        ({"clip": {"seconds": math.inf}}, r"^clip\.seconds must be a finite number"),
        ({"clip": {"seconds": 1e12}}, r"^clip\.seconds must be positive and at most 3600, not"),
        ({"clip": {"hop_seconds": 1e12}}, r"^clip\.hop_seconds must be positive and at most"),
        ({"clip": {"seconds": 1, "hop_seconds": 3}}, r"^clip\.hop_seconds 3 must be at most clip\.seconds, which is 1"),
        ({"clip": {"seconds": None, "hop_seconds": 3}}, r"^clip\.hop_seconds 3 must be at most clip\.seconds"),
        ({"augment": {"noise_snr_db": [0, -math.inf]}}, r"^augment\.noise_snr_db must be a finite number"),
        ({"front_end": {"num_mel_bins": 4000}}, r"^front_end\.num_mel_bins must be 1 to 1024, not 4000"),
        ({"front_end": {"frame_step": 2**63}}, r"^front_end\.frame_step must be 1 to"),
        ({"front_end": {"fft_length": 2**40}}, r"^front_end\.fft_length must be 2 to"),
        ({"front_end": {"log_offset": 1e-60}}, r"^front_end\.log_offset must be"),
        ({"training": 5}, r"^training must be a mapping of settings such as training\.epochs, not 5\.$"),
        ({"front_end": {"fft_length": 512}}, "must be at least frame_length"),
        ({"front_end": {"fft_length": 1500}}, "power of two"),
        ({"front_end": {"upper_edge_hertz": 9000.0}}, "8000"),
        ({"augment": {"noise_snr_db": [20, 0]}}, "lowest and a highest"),
        ({"clip": {"seconds": -1}}, "positive"),
        ({"data": {"data_dir": ""}}, "data_dir.*is empty"),
        ({"clip": 3}, "must be a mapping"),
    ],
)
def test_wrong_settings_are_refused_by_name(values, message):
    with pytest.raises(TfaudioError, match=message):
        RunConfig.from_dict(values)


def test_override_refuses_a_key_that_does_not_exist():
    with pytest.raises(TfaudioError, match=r"Did you mean 'front_end.num_mel_bins'"):
        RunConfig().override({"front_end.nummelbins": 3})
    with pytest.raises(TfaudioError, match=r"known: front_end\.\*, clip\.\*.* Did you mean 'training\.epochs'"):
        RunConfig().override({"epochs": 3})


def test_only_the_section_that_was_meant_is_listed():
    with pytest.raises(TfaudioError) as refusal:
        RunConfig().override({"augment.speed.prob": 1})
    assert "known: augment.speed.probability, augment.speed.factor. " in str(refusal.value)


def test_recipes_fit_the_settings():
    for dataset in ("esc10", "esc50", "fsdd", "synthetic", "folder"):
        for model in ("cnn", "attention", "dense", "waveform_cnn", "yamnet"):
            RunConfig().override(recipe(dataset, model))
    for name in RECIPES:
        for model in ("cnn", "dense", "waveform_cnn", "yamnet"):
            RunConfig().override(recipe("folder", model, name=name))


def test_windows_cover_the_recording():
    clip = ClipConfig(seconds=1.0, hop_seconds=0.5)
    assert [clip.num_windows(n, 100) for n in (0, 1, 100, 101, 149, 150, 200)] == [1, 1, 1, 2, 2, 2, 3]
    with pytest.raises(TfaudioError, match="no window length"):
        ClipConfig(seconds=None).num_samples(16_000)


def test_bins_and_frames_of_the_front_end():
    assert FrontEndConfig().num_bins == 64
    assert FrontEndConfig(feature="spectrogram").num_bins == 513
    assert [FrontEndConfig(frame_step=160).num_frames(n) for n in (0, 159, 160)] == [1, 1, 2]


@pytest.mark.parametrize("names", [(), ("a", "a"), ("a", " "), ("a\nb",)])
def test_label_map_refuses(names):
    with pytest.raises(TfaudioError):
        LabelMap(names)


def test_label_map_keeps_spaces_commas_and_scripts():
    labels = LabelMap.from_labels(["crackling fire", "犬", "a,b", "犬"])
    assert LabelMap.from_text(labels.to_text()) == labels
    assert labels[labels.index("犬")] == "犬"
    with pytest.raises(TfaudioError, match=r"'cow' is not one of"):
        labels.index("cow")


def test_registry_refuses_duplicates_and_explains_unknown_names():
    registry: Registry[int] = Registry("colour")
    registry.register("red")(1)
    with pytest.raises(ValueError, match="twice"):
        registry.register("red")(2)
    with pytest.raises(TfaudioError, match=r"Unknown colour 'rad'; known: red\. Did you mean 'red'"):
        registry["rad"]


def test_a_failed_write_leaves_what_stood(tmp_path):
    path = write_atomically(tmp_path / "a.json", "old")
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        write_json(path, {"x": float("nan")})
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def fail_half_way(folder):
        (folder / "a").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError), folder_written_whole(tmp_path / "out") as folder:
        fail_half_way(folder)
    assert os.listdir(tmp_path) == []
    with folder_written_whole(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
    with pytest.raises(TfaudioError, match="remove it, or name another"), folder_written_whole(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path / "out") == ["a"]


def test_unwritable_folders_are_told(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (make_writable_folder, lambda path: write_json(path / "a.json", {})):
        with pytest.raises(TfaudioError, match="another"):
            write(tmp_path / "file" / "sub")
    with pytest.raises(TfaudioError, match="not valid UTF-8; choose another"):
        make_writable_folder(tmp_path / "caf\udce9")
    refuse_existing(tmp_path / "nothing", overwrite=False)
    with pytest.raises(TfaudioError, match="exists already"):
        refuse_existing(tmp_path / "file", overwrite=False)


@contextlib.contextmanager
def _files_of_at_most(size):
    """As on a disk that is full: a write beyond `size` bytes fails half way."""
    resource = pytest.importorskip("resource", reason="Windows has no limit for the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way_is_told_and_leaves_what_stood(tmp_path):
    path = write_atomically(tmp_path / "a.json", "old")
    with _files_of_at_most(1000), pytest.raises(TfaudioError, match=r"Cannot write .*a\.json: File too large"):
        write_atomically(path, b"x" * 5000)
    with (
        _files_of_at_most(1000),
        pytest.raises(TfaudioError, match=r"Cannot write .*out: File too large"),
        folder_written_whole(tmp_path / "out") as folder,
    ):
        (folder / "a").write_bytes(b"x" * 5000)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_in_a_files_place_is_told(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(TfaudioError, match=r"Cannot write .*a\.json"):
        write_atomically(tmp_path / "a.json", "x")
    assert os.listdir(tmp_path) == ["a.json"]


def test_whether_a_file_can_be_written_is_told_ahead(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    check_can_write(tmp_path / "new" / "sub" / "a.json", overwrite=False)
    check_can_write(tmp_path / "file", overwrite=True)
    for name, message in (
        ("file", "exists already; pass --overwrite"),
        ("folder", "is a folder; name a file"),
        ("file/a.json", r"file is not a folder|Not a directory"),
        ("n" * 300, "too long"),
    ):
        with pytest.raises(TfaudioError, match=message):
            check_can_write(tmp_path / name, overwrite=False)
    with pytest.raises(TfaudioError, match="is a folder"):
        check_can_write(tmp_path / "folder", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFO")
def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TfaudioError, match="no regular file"):
        check_can_write(tmp_path / "pipe", overwrite=True)


def test_written_json_is_readable_by_others(tmp_path):
    path = write_json(tmp_path / "a.json", {"ä": 1})
    assert json.loads(path.read_text("utf-8")) == {"ä": 1}
    assert path.stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize(
    ("feature", "key", "value"),
    [
        ("leaf", "filter_augment.probability", 0.5),
        ("sincnet", "frequency_shift", 3),
        ("leaf", "time_warp", 0.1),
        ("mel", "filter_augment.probability", 0.5),
    ],
)
def test_changes_of_features_that_are_learnt_are_refused(feature: str, key: str, value: float) -> None:
    learnt = {"front_end.feature": feature, "front_end.compression": "pcen", "front_end.pcen.trainable": True}
    assert RunConfig().override(learnt).front_end.learnt
    with pytest.raises(TfaudioError, match=rf"augment\.{key} must be 0 where the front end is learnt, not {value}"):
        RunConfig().override({**learnt, f"augment.{key}": value})
    assert RunConfig().override({f"augment.{key}": value})


@pytest.mark.parametrize(
    "front_end", [{"feature": "mfcc"}, {"feature": "chroma"}, {"deltas": 1}, {"feature": "rms+mel"}]
)
@pytest.mark.parametrize("key", ["frequency_shift", "filter_augment.probability"])
def test_bins_that_are_no_bands_of_one_spectrum_are_not_changed_as_such(front_end: dict[str, Any], key: str) -> None:
    chosen = {f"front_end.{name}": value for name, value in front_end.items()}
    with pytest.raises(TfaudioError, match=rf"augment\.{key} must be 0 for front_end\.feature"):
        RunConfig().override({**chosen, f"augment.{key}": 1})
    assert RunConfig().override(chosen)


def test_recordings_taken_whole_are_not_mixed_as_waveforms() -> None:
    settings = {"clip.seconds": None, "augment.between_class.probability": 1.0}
    with pytest.raises(TfaudioError, match=r"^augment\.between_class\.probability must be 0 where clip"):
        RunConfig().override(settings)
