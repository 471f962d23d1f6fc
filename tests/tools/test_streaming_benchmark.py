"""The track that streams are measured on, and how what they find is counted."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tfaudio.runtime.detection import Detection


@pytest.fixture(scope="module")
def tools(repository: Path) -> Iterator[dict[str, ModuleType]]:
    loaded = {}
    for name in ("spoken_track", "streaming"):
        spec = importlib.util.spec_from_file_location(name, repository / "tools" / "benchmark" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded[name])
    yield loaded
    for name in loaded:
        del sys.modules[name]


def test_each_detection_finds_one_word_of_its_label(tools: dict[str, ModuleType]) -> None:
    event = tools["spoken_track"].Event
    events = [event("1", 10.0, 10.5), event("2", 20.0, 20.5), event("3", 30.0, 30.5)]

    def heard(label: str, peak: float) -> Detection:
        return Detection(label, peak - 0.1, peak, peak + 0.1, 0.9)

    found = tools["streaming"].compare(
        [heard("1", 11.0), heard("1", 11.2), heard("2", 30.2), heard("2", 21.6), heard("3", 50.0)], events, hours=0.5
    )
    assert (found["found"], found["words"]) == (1, 3)
    assert found["misses"] == pytest.approx(2 / 3, abs=1e-4)
    assert (found["false_alarms"], found["false_alarms_per_hour"]) == (4, 8.0)
    assert found["of_which_confusions"] == 2  # "1" twice, and "2" beside a 3


def test_words_stand_where_the_track_says_at_the_ratio_asked_for(tools: dict[str, ModuleType]) -> None:
    track_tool = tools["spoken_track"]
    rate = track_tool.RATE
    rng = np.random.default_rng(0)
    words = [
        track_tool.Word(str(n), np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate).astype(np.float32))
        for n in range(6)
    ]
    backgrounds = [rng.normal(size=3 * rate).astype(np.float32) * level for level in (0.001, 1.0)]
    track, events = track_tool.make_track(words, backgrounds, seconds=40.0, snr_db=(12.0, 12.0), seed=3)
    again, _ = track_tool.make_track(words, backgrounds, seconds=40.0, snr_db=(12.0, 12.0), seed=3)
    np.testing.assert_array_equal(track, again)
    assert len(track) == 40 * rate
    assert sorted(event.label for event in events) == list("012345")
    for event, following in itertools.pairwise(events):
        assert following.start - event.end >= 2.0
    for event in events:
        here = track[round(event.start * rate) : round(event.end * rate)].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(here)) ** 2
        tone = spectrum[len(here) // 8 - 1 : len(here) // 8 + 2].sum()
        assert 10 * np.log10(tone / (spectrum.sum() - tone)) == pytest.approx(12.0, abs=4.0)


def test_what_shows_little_of_a_word_is_background(tools: dict[str, ModuleType]) -> None:
    track_tool = tools["spoken_track"]
    word = track_tool.Word("7", np.ones(4_000, np.float32))
    silence = [np.full(16_000, 1e-3, np.float32)]
    examples = list(track_tool.training_examples([word] * 8, silence, seed=0))
    labels = [label for label, _ in examples]
    assert (labels.count("7"), labels.count(track_tool.BACKGROUND)) == (8, 6)
    for label, waveform in examples:
        shown = np.count_nonzero(waveform > 1.5 * waveform.min())
        assert waveform.shape == (8_000,)
        assert (shown > 2_000) == (label == "7")
