"""Lengths and windows, against slices made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfaudio.audio.framing import fix_length, windows
from tfaudio.config import ClipConfig


def waveform(num_samples: int) -> np.ndarray:
    return np.arange(1, num_samples + 1, dtype=np.float32)


@pytest.mark.parametrize(
    ("num_samples", "short", "start", "expected"),
    [
        (5, "pad", None, [1, 2, 3, 0, 0]),
        (5, "tile", None, [1, 2, 3, 1, 2]),
        (3, "pad", None, [1, 2, 3]),
        (2, "pad", None, [1, 2]),
        (2, "tile", 1, [2, 3]),
        (2, "pad", 9, [2, 3]),
        (2, "pad", -4, [1, 2]),
        (5, "pad", 2, [1, 2, 3, 0, 0]),
    ],
)
def test_fix_length(num_samples, short, start, expected):
    fixed = fix_length(waveform(3), num_samples, short=short, start=start)
    np.testing.assert_array_equal(fixed, expected)
    if start is not None:
        np.testing.assert_array_equal(
            fix_length(waveform(3), num_samples, short=short, start=tf.constant(start)), fixed
        )


@pytest.mark.parametrize("short", ["pad", "tile"])
def test_nothing_becomes_silence(short):
    np.testing.assert_array_equal(fix_length(np.zeros(0, np.float32), 4, short=short), np.zeros(4))


def test_static_shape_in_a_pipeline():
    rows = tf.data.Dataset.from_generator(lambda: (waveform(n) for n in (2, 9)), output_signature=tf.TensorSpec([None]))
    fixed = rows.map(lambda w: fix_length(w, 4))
    assert fixed.element_spec.shape == (4,)
    np.testing.assert_array_equal(np.stack(list(fixed)), [[1, 2, 0, 0], [1, 2, 3, 4]])


def expected_windows(samples: np.ndarray, window: int, hop: int, count: int, short: str) -> np.ndarray:
    rows = []
    for index in range(count):
        stretch = samples[index * hop : index * hop + window]
        if short == "tile" and len(stretch):
            stretch = np.tile(stretch, window)[:window]
        rows.append(np.concatenate([stretch, np.zeros(window - len(stretch))]))
    return np.stack(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(1, 12), st.integers(1, 15), st.integers(1, 8), st.sampled_from(["pad", "tile"]))
def test_windows_are_slices(num_samples, window, hop, count, short):
    samples = waveform(num_samples)
    cut = windows(samples, num_samples=window, hop=hop, num_windows=tf.constant(count), short=short)
    np.testing.assert_array_equal(cut, expected_windows(samples, window, hop, count, short))


def by_the_words(num_samples: int, window: int, hop: int) -> int:
    """Counts as the documentation says: whole windows, and a remainder of at least half a window.

    The remainder is what the next window would hold.
    """
    if num_samples <= window:
        return 1
    count = 0
    while count * hop + window <= num_samples:
        count += 1
    covered = (count - 1) * hop + window
    return count + (covered < num_samples and 2 * (num_samples - count * hop) >= window)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 40))
def test_number_of_windows_for_integers_arrays_and_tensors(num_samples, window, hop):
    hop = min(hop, window)
    clip = ClipConfig(seconds=window / 1000, hop_seconds=hop / 1000)
    count = clip.num_windows(num_samples, 1000)
    assert count == by_the_words(num_samples, window, hop)
    assert clip.num_windows(np.array([num_samples]), 1000)[0] == count
    assert clip.num_windows(tf.constant(num_samples), 1000) == count
