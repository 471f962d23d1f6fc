"""What `predict` takes for a recording, and what `predict` and `info` say of a model that is none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.data.folders import touch
from tfaudio.bundle import write_config
from tfaudio.cli import models
from tfaudio.cli.main import main
from tfaudio.config import ClipConfig, RunConfig
from tfaudio.labels import LabelMap

RATE = 8_000


@pytest.fixture
def fixed_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that hears the same in everything."""
    model = models.OpenModel(
        LabelMap(("a", "b")), RATE, ClipConfig(seconds=0.5), lambda batch: np.tile([0.25, 0.75], (len(batch), 1)), 4
    )
    monkeypatch.setattr(models, "open_model", lambda name, threads, text: model)


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(RATE // 2), RATE)
    return path


def paths(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert main(["predict", "--model=m", "--format=jsonl", *map(str, arguments)]) == 0
    return [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="this system names no open pipes")
def test_a_pipe_is_read_once(fixed_model: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:  # what <(cat a.wav) gives; so few bytes that no other process need write
        file.write(write(tmp_path / "a.wav").read_bytes())
    try:
        assert paths(capsys, f"/dev/fd/{reading}") == [f"/dev/fd/{reading}"]
    finally:
        os.close(reading)


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither such pipes nor links for everyone")
def test_a_folder_is_searched_as_training_does(
    fixed_model: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    found = [write(here / name) for name in ("a/dir.wav/1.wav", "b.WAV")]
    write(here / ".hidden" / "x.wav")
    write(here / ".hidden.wav")
    write(tmp_path / "store" / "2.wav")
    os.mkfifo(here / "waits.wav")
    (here / "c").symlink_to(tmp_path / "store")
    (here / "a" / "loop").symlink_to("..")
    (tmp_path / "store" / "back").symlink_to(tmp_path)
    assert paths(capsys, here) == [*map(str, found), str(here / "c" / "2.wav")]


def test_recordings_that_cannot_be_decoded_are_told(
    fixed_model: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "phone.m4a").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    assert main(["predict", "--model=m", str(tmp_path)]) == 1
    assert "phone.m4a: .m4a files cannot be decoded; convert them to WAV or FLAC" in capsys.readouterr().err
    write(tmp_path / "a.wav")
    assert main(["predict", "--model=m", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "phone.m4a" in captured.err
    assert "1 of 2" in captured.err
    assert "notes.txt" not in captured.err
    assert "a.wav" in captured.out


@pytest.mark.skipif(os.name == "nt", reason="Windows has no links for everyone")
def test_a_link_to_a_recording_that_is_gone_is_told(
    fixed_model: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("gone.wav")
    assert main(["predict", "--model=m", str(tmp_path)]) == 1
    assert "b.wav is a link to gone.wav" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="this file system stores Unicode only")
def test_what_a_folder_holds_and_cannot_be_named_is_told(
    fixed_model: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.wav")
    os.link(tmp_path / "a.wav", os.path.join(os.fsencode(tmp_path), b"\xff.wav"))
    assert main(["predict", "--model=m", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "not valid UTF-8" in captured.err
    assert "1 of 2" in captured.err
    assert "a.wav" in captured.out


@pytest.mark.parametrize("command", [["info"], ["predict", "{file}", "--model"]])
@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["model_int8.tflite", "model_float32.tflite", "report.json"], ["model_float32.tflite", "model_int8.tflite"]),
        (["model_int8.tflite", "saved_model/1/saved_model.pb"], ["model_int8.tflite", "saved_model"]),
        (["fold_1/model_int8.tflite", "fold_2/model_int8.tflite"], ["fold_1", "fold_2"]),
    ],
)
def test_models_in_a_folder_are_named(
    command: list[str], files: list[str], named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = touch(tmp_path / "birds", *files)
    assert main([*(part.format(file=write(tmp_path / "a.wav")) for part in command), str(folder)]) == 1
    assert f"name one of them: {', '.join(str(folder / name) for name in named)}." in capsys.readouterr().err


def test_what_a_microcontroller_runs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "tfaudio.json", "model.tflite")
    assert main(["predict", f"--model={tmp_path}", str(write(tmp_path / "a.wav"))]) == 1
    assert f"{tmp_path} is what a microcontroller runs; name the run" in capsys.readouterr().err


def test_a_home_behind_an_equals_sign_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["evaluate", "--run-dir=~/birds"]) == 1
    assert str(tmp_path / "birds") in capsys.readouterr().err


def test_the_runs_of_folds_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in (1, 2):
        write_config(tmp_path / f"fold_{fold}", RunConfig())
    assert main(["info", str(tmp_path)]) == 1
    assert f"name one of them: {tmp_path / 'fold_1'}, {tmp_path / 'fold_2'}." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b"{"),
        ("metrics.json", b"[]"),
        ("metrics.json", b'{"accuracy": 1}'),
        ("metrics.json", b"\xff"),
        ("split.json", b"{"),
        ("split.json", b'{"rule": "x"}'),
        ("labels.txt", b"\xff"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, RunConfig())
    (tmp_path / name).write_bytes(content)
    assert main(["info", str(tmp_path)]) == 1
    assert f"{tmp_path / name} is" in capsys.readouterr().err


def test_building_over_a_folder_names_no_flag_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "something")
    assert main(["datasets", "--dataset=synthetic", f"--output_dir={tmp_path}"]) == 1
    message = capsys.readouterr().err
    assert "exists already; name a new or empty folder" in message
    assert "--overwrite" not in message
