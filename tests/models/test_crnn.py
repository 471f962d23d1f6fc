"""The recurrent part: written out or looped, in either direction, it says the same and hears no padding."""

from __future__ import annotations

import keras
import numpy as np

from tfaudio.models import crnn
from tfaudio.models.crnn import FrameGRU


def test_steps_are_written_out_for_one_clip_of_few_frames(monkeypatch):
    monkeypatch.setattr(crnn, "_MOST_STEPS", 6)
    layer = FrameGRU(3, return_sequences=True)
    x = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
    looped = layer(x).numpy()
    assert not layer.unroll
    np.testing.assert_allclose(layer(x[:1]), looped[:1], atol=1e-6)
    assert not layer.unroll  # one frame too many
    np.testing.assert_allclose(layer(x[:1, :6]), looped[:1, :6], atol=1e-6)
    assert layer.unroll


def test_a_gru_by_hand():
    layer = FrameGRU(3, return_sequences=True)
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    looped = layer(x.astype(np.float32)).numpy()
    kernel, recurrent = (np.asarray(w, np.float64) for w in (layer.cell.kernel, layer.cell.recurrent_kernel))
    state = np.zeros((2, 3))
    for frame in range(5):
        given, known = np.split(x[:, frame] @ kernel, 3, axis=1), np.split(state @ recurrent, 3, axis=1)
        update, reset = (1 / (1 + np.exp(-given[i] - known[i])) for i in (0, 1))
        state = update * state + (1 - update) * np.tanh(given[2] + reset * known[2])
        np.testing.assert_allclose(looped[:, frame], state, atol=1e-5)


def test_padding_leaks_in_neither_direction():
    layer = keras.layers.Bidirectional(FrameGRU(3, return_sequences=True))
    x = np.random.default_rng(0).normal(size=(2, 9, 4)).astype(np.float32)
    mask = np.arange(9) < np.array([[9], [5]])
    together = layer(np.where(mask[..., None], x, 50.0), mask=mask).numpy()
    np.testing.assert_allclose(together[1, :5], layer(x[1:, :5])[0], atol=1e-6)
    np.testing.assert_allclose(together[0], layer(x[:1])[0], atol=1e-6)
