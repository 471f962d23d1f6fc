"""What all tests share: a quiet TensorFlow, steady property tests, and where the real recordings are."""

from __future__ import annotations

import os
from pathlib import Path

# Before anything imports TensorFlow, Keras or Matplotlib, each of which reads its own only once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# The first example of a test may trace a tf.function, so a deadline would fail at random; the same examples
# in every run make a failure one that the next run shows too.
settings.register_profile(
    "tfaudio", deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tfaudio")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets (esc10, fsdd, ...): `TFAUDIO_TEST_DATA`, or shared/data beside the checkout."""
    folder = Path(os.environ.get("TFAUDIO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real recordings here: set TFAUDIO_TEST_DATA to a folder that holds esc10 and fsdd")
    return folder
