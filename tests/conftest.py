"""What all tests share: a quiet TensorFlow, steady property tests, and where the real recordings are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfaudio.config import RunConfig

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


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Built-in data go into a folder of the tests', not into the home of whoever runs them."""
    os.environ["TFAUDIO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets (esc10, fsdd, ...): `TFAUDIO_DATA_DIR`, or shared/data beside the checkout."""
    folder = Path(os.environ.get("TFAUDIO_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real recordings here: set TFAUDIO_DATA_DIR to a folder that holds esc10 and fsdd")
    return folder


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten kinds of sound, ten clips of half a second each, with folds and a manifest."""
    from tfaudio.data.synthetic import write_synthetic

    return write_synthetic(tmp_path_factory.mktemp("data") / "small", clips_per_class=10, seconds=0.5)


@pytest.fixture(scope="session")
def small_config(small_data: Path) -> RunConfig:
    """Settings under which training on the small data takes seconds."""
    from tfaudio.config import RunConfig

    return RunConfig().override(
        {
            "data.dataset": "manifest",
            "data.data_dir": str(small_data / "manifest.csv"),
            "data.test_fold": 1,
            "front_end.frame_length": 512,
            "front_end.frame_step": 256,
            "front_end.fft_length": 512,
            "front_end.num_mel_bins": 32,
            "clip.seconds": 0.5,
            "model.options": {"filters": [8, 16]},
            "training.epochs": 3,
            "training.batch_size": 16,
        }
    )
