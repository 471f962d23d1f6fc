"""From what a CTC model says of each frame to a string of symbols, and how wrong a string is. NumPy alone.

Symbol 0 is the blank, "nothing new here". A string is what is left of one symbol a frame when repeats are joined and
blanks dropped, and its probability is the sum over all ways to say it so.

Source: A. Graves et al., Connectionist Temporal Classification (2006), https://doi.org/10.1145/1143844.1143891; the
search: A. Y. Hannun et al. (2014), https://arxiv.org/abs/1408.2873, without a language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BLANK = 0


class Hypothesis(NamedTuple):
    """A string that a recording may hold.

    Args:
      symbols: without blanks; numbers from 1.
      log_probability: natural logarithm of the probability of all ways to say it that the search kept.
    """

    symbols: tuple[int, ...]
    log_probability: float


def greedy_decode(logits: npt.ArrayLike) -> tuple[int, ...]:
    """Takes the likeliest symbol of each frame, which is not always the likeliest string.

    Args:
      logits: [frames, symbols].

    Returns:
      the symbols, without blanks.

    >>> greedy_decode([[0.0, 5.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    (1, 1, 2)
    """
    best = np.argmax(np.asarray(logits), axis=-1)
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    return tuple(int(symbol) for symbol in best[starts] if symbol != BLANK)


def beam_decode(logits: npt.ArrayLike, *, width: int = 16) -> list[Hypothesis]:
    """Searches for the likeliest strings, keeping `width` beginnings from frame to frame.

    Args:
      logits: [frames, symbols]; they need not be normalised.
      width: beginnings kept; with as many as there are strings the search is exact.

    Returns:
      up to `width` strings, the likeliest first.

    Raises:
      ValueError: if width is below 1.
    """
    if width < 1:
        raise ValueError(f"The width of the beam must be at least 1, not {width}.")
    scores = np.asarray(logits, np.float64)
    scores = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    # For each beginning, the probabilities of all ways that end in a blank, and of those that end in its last symbol.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for frame in scores:
        grown: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(
            symbols: tuple[int, ...],
            blank: float,
            symbol: float,
            grown: dict[tuple[int, ...], tuple[float, float]] = grown,
        ) -> None:
            before = grown.get(symbols, (-np.inf, -np.inf))
            grown[symbols] = (float(np.logaddexp(before[0], blank)), float(np.logaddexp(before[1], symbol)))

        for symbols, (blank, last) in beams.items():
            whole = float(np.logaddexp(blank, last))
            add(symbols, whole + frame[BLANK], last + frame[symbols[-1]] if symbols else -np.inf)
            for symbol in range(1, len(frame)):
                # The same symbol again is a new one only behind a blank.
                before = blank if symbols and symbols[-1] == symbol else whole
                if before > -np.inf:
                    add((*symbols, symbol), -np.inf, before + frame[symbol])
        ranked = sorted(grown.items(), key=lambda item: (-np.logaddexp(*item[1]), item[0]))
        beams = dict(ranked[:width])
    return [Hypothesis(symbols, float(np.logaddexp(*ends))) for symbols, ends in beams.items()]


def edit_distance(found: Sequence[int], said: Sequence[int]) -> int:
    """Counts the symbols to insert, delete or replace to turn one string into the other.

    >>> edit_distance([1, 2, 3], [1, 3, 3, 4])
    2
    """
    row = list(range(len(said) + 1))
    for count, left in enumerate(found, 1):
        corner, row[0] = row[0], count
        for place, right in enumerate(said, 1):
            corner, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, corner + (left != right))
    return row[-1]
