"""Words joined: what is drawn, and that a seed settles it."""

from __future__ import annotations

import numpy as np
import pytest

from tfaudio.errors import TfaudioError
from tfaudio.transcription.strings import StringConfig, draw_strings

RATE = 1000
# Each word is a constant that tells speaker and class.
WORDS = {
    speaker: [(np.full(100, 10.0 * (number + 1) + kind, np.float32), kind) for kind in (1, 2, 3)]
    for number, speaker in enumerate(("ann", "bob"))
}


def drawn(seed=(0,), **settings):
    return list(draw_strings(WORDS, 50, StringConfig(**settings), RATE, seed))


def test_a_string_is_its_words_in_order_by_one_speaker():
    for string in drawn(longest_gap=0.05):
        levels = string.waveform[string.waveform > 0].reshape(-1, 100)
        assert (levels == levels[:, :1]).all()
        assert [level % 10 for level in levels[:, 0]] == string.words.tolist()
        assert len(set((levels[:, 0] // 10).tolist())) == 1


def test_lengths_and_gaps_stay_within_their_bounds():
    strings = drawn(shortest=2, longest=4, longest_gap=0.05)
    assert {len(string.words) for string in strings} == {2, 3, 4}
    silences = [(string.waveform == 0).sum() / (len(string.words) + 1) for string in strings]
    assert 0 < max(silences) <= 50
    assert all((string.waveform > 0).all() for string in drawn(longest_gap=0.0))


def test_both_speakers_are_heard_and_a_seed_settles_all():
    assert {string.waveform.max() // 10 for string in drawn()} == {1.0, 2.0}
    for one, two in zip(drawn((3, 1)), drawn((3, 1)), strict=True):
        np.testing.assert_array_equal(one.waveform, two.waveform)
    assert any(a.words.tolist() != b.words.tolist() for a, b in zip(drawn((3, 1)), drawn((3, 2)), strict=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shortest": 5, "longest": 3}, "strings.shortest must be 1 to strings.longest"),
        ({"shortest": 0}, "strings.shortest"),
        ({"longest_gap": -1.0}, "strings.longest_gap"),
        ({"per_epoch": 0}, "strings.per_epoch"),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(TfaudioError, match=said):
        StringConfig(**settings)
