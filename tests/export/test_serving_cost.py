"""What a SavedModel costs in TensorFlow's C library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfaudio.errors import TfaudioError
from tfaudio.export.serving_cost import ServingCost, serving_cost

FLOATS = 6_000_000  # of the weights: 24 MB


class _Weighted(tf.Module):
    """Adds its weights to what it is given; takes no text but the empty one."""

    def __init__(self, floats: int) -> None:
        super().__init__()
        self.weights = tf.Variable(np.random.default_rng(0).normal(size=floats).astype(np.float32))

    @tf.function(
        input_signature=[tf.TensorSpec([None, 100], name="waveform"), tf.TensorSpec([None], tf.string, name="text")]
    )
    def score(self, waveform: tf.Tensor, text: tf.Tensor) -> dict[str, tf.Tensor]:
        length = tf.cast(tf.strings.length(text), tf.float32)
        with tf.control_dependencies([tf.debugging.assert_equal(length, 0.0)]):
            return {"scores": length + tf.reduce_sum(waveform, axis=1) + tf.reduce_sum(self.weights)}


def _save(folder: Path, floats: int) -> Path:
    model = _Weighted(floats)
    tf.saved_model.save(model, str(folder), signatures={"waveform": model.score})
    return folder


def _cost(folder: Path, **changes: object) -> ServingCost | None:
    task: dict[str, object] = {
        "inputs": {"waveform_waveform:0": (1, 100), "waveform_text:0": None},
        "output": "StatefulPartitionedCall:0",
        "num_threads": 1,
        **changes,
    }
    return serving_cost(folder, **task)  # type: ignore[arg-type]


def test_the_weights_are_among_the_memory_and_an_empty_text_is_fed(tmp_path: Path) -> None:
    little, much = _cost(_save(tmp_path / "little", 10)), _cost(_save(tmp_path / "much", FLOATS), num_threads=2)
    assert little is not None
    assert much is not None
    assert much.memory_bytes - little.memory_bytes > 3 * FLOATS  # of four bytes each
    assert 0 < little.latency_ms < much.latency_ms


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": "Missing:0"}, "the graph has no 'Missing'"),
        ({"inputs": {"waveform_waveform:0": (1, 100)}}, "feed a value for placeholder"),
    ],
)
def test_a_model_that_does_not_run_is_told_by_its_folder(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    folder = _save(tmp_path / "model", 10)
    with pytest.raises(TfaudioError, match=said) as raised:
        _cost(folder, **changes)
    assert str(folder) in str(raised.value)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(TfaudioError, match=r"The cost of .* cannot be measured: .*(find|load)"):
        _cost(tmp_path)


def test_without_the_library_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfaudio.export.serving_cost._LIBRARY", "missing.so")
    assert _cost(tmp_path) is None
