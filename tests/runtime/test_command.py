"""`python -m tfaudio.runtime` as a shell meets it, with a classifier that gives the same answer to everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import runpy
import numpy as np
from tfaudio.labels import LabelMap
from tfaudio.runtime import classifier

class Fixed:
    def __init__(self, path, num_threads=1):
        pass

    def windows(self, file, text=None):
        if file == "interrupt":
            raise KeyboardInterrupt
        yield classifier.Prediction(0.0, 1.0, np.array([0.25, 0.75], np.float32), LabelMap(("a", "b")))

classifier.Classifier = Fixed
runpy.run_module("tfaudio.runtime", run_name="__main__", alter_sys=True)
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "model.tflite", *arguments]


@pytest.fixture
def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repository)}


def test_an_interruption_ends_it_quietly(environment: dict[str, str]) -> None:
    done = subprocess.run(
        command("a.wav", "interrupt", "b.wav"), env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "tfaudio.runtime: interrupted\n")
    assert '"label": "b"' in done.stdout
    assert "b.wav" not in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_a_name_that_is_no_text_ends_nothing(environment: dict[str, str]) -> None:
    names = [os.fsdecode(b"caf\xe9.wav"), "after.wav"]
    done = subprocess.run(
        command(*names), env={**environment, "PYTHONIOENCODING": "utf-8:strict"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.decode().splitlines())
    assert (first["path"], second["path"]) == (names[0], "after.wav")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_a_reader_that_goes_away_ends_it_quietly(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            command("a.wav"), env=environment, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (141, "")
