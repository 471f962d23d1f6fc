"""The search and the error count, against every way to say a string, TensorFlow's search and plain recursion."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfaudio.transcription.decoding import beam_decode, edit_distance, greedy_decode


def random_logits(seed: int, frames: int, symbols: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2.0, size=(frames, symbols))


def every_string(logits: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of each string: the sum over all ways to choose one symbol a frame."""
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        symbols = tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != 0)
        found[symbols] = found.get(symbols, 0.0) + float(np.prod([row[s] for row, s in zip(shares, path, strict=True)]))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_every_string_and_its_probability(seed):
    logits = random_logits(seed, 5, 3)
    expected = every_string(logits)
    found = beam_decode(logits, width=10_000)
    assert {hypothesis.symbols for hypothesis in found} == set(expected)
    np.testing.assert_allclose(
        [np.exp(hypothesis.log_probability) for hypothesis in found],
        [expected[hypothesis.symbols] for hypothesis in found],
        rtol=1e-9,
    )
    assert found[0].symbols == max(expected, key=expected.__getitem__)
    assert [h.log_probability for h in found] == sorted((h.log_probability for h in found), reverse=True)


def test_the_beam_agrees_with_tensorflow():
    logits = np.stack([random_logits(seed, 9, 4) for seed in range(4)])
    # TensorFlow has the blank last.
    moved = np.concatenate([logits[..., 1:], logits[..., :1]], axis=-1).astype(np.float32)
    lengths = np.full(len(logits), 9)
    found, scores = tf.nn.ctc_beam_search_decoder(moved.swapaxes(0, 1), lengths, beam_width=2000, top_paths=1)
    dense = tf.sparse.to_dense(found[0], default_value=-1).numpy()
    for row, symbols, score in zip(logits, dense, scores.numpy()[:, 0], strict=True):
        best = beam_decode(row, width=2000)[0]
        assert best.symbols == tuple(symbols[symbols >= 0] + 1)
        assert best.log_probability == pytest.approx(score, abs=1e-3)


def test_the_greedy_search_agrees_with_tensorflow():
    logits = random_logits(7, 30, 4)
    moved = np.concatenate([logits[:, 1:], logits[:, :1]], axis=-1).astype(np.float32)
    (found,), _ = tf.nn.ctc_greedy_decoder(moved[:, None], [30])
    assert greedy_decode(logits) == tuple(found.values.numpy() + 1)


def test_the_likeliest_string_need_not_be_that_of_the_likeliest_symbols():
    logits = np.log([[0.6, 0.4], [0.6, 0.4]])  # "nothing" in 0.36, one word in 0.64 of all ways
    assert greedy_decode(logits) == ()
    assert beam_decode(logits)[0].symbols == (1,)


def test_a_word_said_twice_needs_a_blank_between():
    assert greedy_decode([[0, 9], [0, 9]]) == (1,)
    assert greedy_decode([[0, 9], [9, 0], [0, 9]]) == (1, 1)


def test_nothing_said():
    assert greedy_decode(np.zeros([0, 3])) == ()
    assert beam_decode(np.zeros([0, 3]))[0].symbols == ()


def test_a_beam_has_a_width():
    with pytest.raises(ValueError, match="at least 1"):
        beam_decode(np.zeros([2, 2]), width=0)


@functools.cache
def fewest_changes(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    if not left or not right:
        return len(left) + len(right)
    return min(
        fewest_changes(left[1:], right) + 1,
        fewest_changes(left, right[1:]) + 1,
        fewest_changes(left[1:], right[1:]) + (left[0] != right[0]),
    )


def test_edit_distance():
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, right = (tuple(rng.integers(3, size=rng.integers(7)).tolist()) for _ in range(2))
        assert edit_distance(left, right) == fewest_changes(left, right)
