"""Detections in scores whose course is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.runtime.detection import Detection, Detector, DetectorConfig, Smoother

LABELS = LabelMap(("yes", "no", "_noise_"))
HOP = 0.1


def detections(course: Any, **settings: Any) -> list[Detection]:
    """What is found in scores of "yes" (or of all classes), one every tenth of a second from 0.1 s on."""
    rows = np.asarray(course, np.float32)
    if rows.ndim == 1:
        rows = np.stack([rows, np.zeros_like(rows), np.zeros_like(rows)], axis=1)
    config = DetectorConfig(**{"smoothing_seconds": 0.0, "refractory_seconds": 0.0, **settings})
    detector = Detector(LABELS, HOP, config)
    found = [d for index, row in enumerate(rows, 1) for d in detector.add(round(index * HOP, 6), row)]
    return found + detector.finish()


def times(found: list[Detection]) -> list[tuple[float, float, float | None]]:
    return [(d.start, d.peak, d.end) for d in found]


def test_a_detection_has_start_peak_and_end() -> None:
    (found,) = detections([0.1, 0.6, 0.9, 0.7, 0.1, 0.0])
    assert (found.label, found.start, found.peak, found.end) == ("yes", 0.2, 0.3, 0.5)
    assert found.score == pytest.approx(0.9)
    assert found.to_dict() == {"label": "yes", "start": 0.2, "peak": 0.3, "end": 0.5, "score": 0.9}


def test_a_score_that_trembles_around_the_threshold_is_one_detection() -> None:
    trembling = [0.0, 0.55, 0.45, 0.55, 0.45, 0.55, 0.0]
    assert len(detections(trembling, release=0.7)) == 1
    assert len(detections(trembling, release=1.0)) == 3


def test_a_class_pauses_after_a_detection_and_others_do_not() -> None:
    yes = [0.9, 0.0, 0.9, 0.0, 0.0, 0.0, 0.9, 0.0]
    assert times(detections(yes, refractory_seconds=0.35)) == [(0.1, 0.1, 0.2), (0.7, 0.7, 0.8)]
    both = np.zeros([4, 3], np.float32)
    both[0, 0] = both[2, 1] = 0.9
    assert [d.label for d in detections(both, refractory_seconds=10.0)] == ["yes", "no"]


def test_one_that_lasts_is_reported_in_parts() -> None:
    found = detections([0.9] * 10, longest_seconds=0.4)
    assert times(found) == [(0.1, 0.1, 0.5), (0.5, 0.5, 0.9), (0.9, 0.9, 1.0)]


def test_the_end_of_the_stream_ends_a_detection() -> None:
    assert times(detections([0.0, 0.9, 0.8])) == [(0.2, 0.2, 0.3)]


@pytest.mark.parametrize(("report", "ends"), [("end", [0.3]), ("start", [None]), ("both", [None, 0.3])])
def test_what_is_reported(report: str, ends: list[float | None]) -> None:
    assert [d.end for d in detections([0.9, 0.9, 0.0], report=report)] == ends
    assert len(detections([0.0, 0.9], report=report)) == len(ends)


def test_thresholds_of_single_classes_and_labels_to_ignore() -> None:
    rows = np.zeros([2, 3], np.float32)
    rows[0] = [0.7, 0.7, 0.99]
    assert [d.label for d in detections(rows, thresholds={"yes": 0.8}, ignore=("_noise_",))] == ["no"]
    with pytest.raises(TfaudioError, match="'maybe' is not one of the classes"):
        detections(rows, thresholds={"maybe": 0.8})
    with pytest.raises(TfaudioError, match="'maybe' is not one of the classes"):
        detections(rows, ignore=("maybe",))


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 1.5}, {"release": -0.1}, {"smoothing_seconds": 61.0}, {"thresholds": {"yes": "high"}}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TfaudioError, match=r"detector\."):
        DetectorConfig(**settings)


def test_smoothing_is_a_moving_average() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(200, 3)).astype(np.float32)
    smoother = Smoother(7, 3)
    found = np.stack([smoother.add(row) for row in scores])
    for column in range(3):
        expected = np.convolve(scores[:, column].astype(np.float64), np.full(7, 1 / 7), mode="valid")
        np.testing.assert_allclose(found[6:, column], expected, atol=1e-6)
    np.testing.assert_allclose(found[2], scores[:3].mean(axis=0), atol=1e-6)  # at the beginning: what there is


def test_nothing_is_detected_before_the_average_is_one() -> None:
    assert times(detections([1.0, 1.0, 1.0, 1.0], smoothing_seconds=0.3)) == [(0.3, 0.3, 0.4)]
    assert detections([0.0, 1.0, 0.0, 0.0], smoothing_seconds=0.3) == []
