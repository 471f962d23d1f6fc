from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tfaudio.config import ClipConfig, FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.model_settings import Calibration, ModelMetadata

LABELS = LabelMap(("dog", "Türklingel"))
METADATA = ModelMetadata(
    labels=LABELS,
    front_end=FrontEndConfig(sample_rate=8_000),
    clip=ClipConfig(seconds=0.5),
    model="cnn",
    variant="int8",
    score_activation="softmax",
    tfaudio_version="1.2.3",
    dataset="pets",
    dataset_fingerprint="0123abcd",
    feature_mean=(0.1, -4.5),
    feature_stddev=(1.0, 2.0),
    thresholds={"dog": 0.75},
    calibration=Calibration(3, "ff"),
)
ADDED = ("score_range", "thresholds", "normalization", "calibration")  # since the first files of format 1


def settings_of(metadata: ModelMetadata, body: bytes | None = None) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(metadata.to_files(body=body)["tfaudio.json"])
    return settings


@pytest.mark.parametrize(
    "metadata",
    [METADATA, replace(METADATA, dataset=None, dataset_fingerprint=None), replace(METADATA, unknown_below=0.4)],
)
@pytest.mark.parametrize("body", [None, b"a model"])
def test_what_is_written_is_read(metadata: ModelMetadata, body: bytes | None) -> None:
    files = metadata.to_files(body=body)
    labels = LabelMap.from_text(files["labels.txt"])
    assert ModelMetadata.from_settings(json.loads(files["tfaudio.json"]), labels, "m", body=body) == metadata
    assert (metadata.sample_rate, metadata.num_samples) == (8_000, 4_000)


def test_the_keys_are_those_of_files_written_before() -> None:
    files = METADATA.to_files(body=b"abc")
    assert list(files) == ["labels.txt", "tfaudio.json"]
    assert files["labels.txt"] == "dog\nTürklingel\n"
    settings = json.loads(files["tfaudio.json"])
    sha256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert list(settings.items()) == [
        ("format", 1),
        ("tfaudio", "1.2.3"),
        ("model", "cnn"),
        ("variant", "int8"),
        ("num_labels", 2),
        ("score_activation", "softmax"),
        ("front_end", METADATA.front_end.to_dict()),
        ("clip", METADATA.clip.to_dict()),
        ("dataset", "pets"),
        ("dataset_fingerprint", "0123abcd"),
        ("score_range", [0.0, 1.0]),
        ("thresholds", {"dog": 0.75}),
        ("normalization", {"mean": [0.1, -4.5], "stddev": [1.0, 2.0]}),
        ("calibration", {"clips": 3, "fingerprint": "ff"}),
        ("model_sha256", sha256_of_abc),
    ]
    assert "model_sha256" not in settings_of(METADATA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "without a format version"),
        ({"format": 3}, "metadata format 3 and this tfaudio reads up to 2; upgrade tfaudio"),
        ({"clip": None}, "without 'clip'; export it again"),
        ({"num_labels": 3}, "3 outputs but 2 labels"),
        ({"front_end": {"sample_rates": 1}}, "settings that do not hold together: .*sample_rates"),
        ({"num_labels": "x"}, "'num_labels' is \"x\", not a whole number; export it again"),
        ({"num_labels": True}, "'num_labels' is true, not a whole number"),
        ({"model": 3}, "'model' is 3, not text"),
        ({"dataset": ["pets"]}, "'dataset' is .*, not text"),
        ({"thresholds": {"cat": 0.5}}, "Label 'cat' is not one of the classes"),
        ({"thresholds": {"dog": 1.5}}, "threshold of 'dog' must be a score from 0 to 1, not 1.5"),
        ({"thresholds": 0.5}, "'thresholds' is 0.5, not a table"),
        ({"unknown_below": 1.5}, "'unknown_below' must be a score from 0 to 1, not 1.5"),
        ({"unknown_below": "low"}, "'unknown_below' is \"low\", not a score"),
        ({"normalization": {"mean": [0.0], "stddev": [1.0, 1.0]}}, "a mean and a positive deviation of each bin"),
        ({"normalization": {"mean": [0.0], "stddev": [0.0]}}, "a mean and a positive deviation of each bin"),
        ({"normalization": {"mean": "0", "stddev": [1.0]}}, "'normalization.mean' holds no numbers"),
        ({"normalization": {"mean": [0.0]}}, "without 'stddev'; export it again"),
        ({"calibration": {"clips": "3", "fingerprint": "ff"}}, "'calibration' holds no number of clips"),
        ({"clip": "short"}, "'clip' is \"short\", not a table"),
        ({"model_sha256": None}, "damaged or was changed after its export"),
        ({"model_sha256": "0" * 64}, "damaged or was changed after its export"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], message: str) -> None:
    settings = {key: value for key, value in {**settings_of(METADATA, b"a"), **changes}.items() if value is not None}
    with pytest.raises(TfaudioError, match=rf"^model\.tflite .*{message}"):
        ModelMetadata.from_settings(settings, LABELS, "model.tflite", body=b"a")


def test_files_written_before_the_later_keys_load() -> None:
    settings = {key: value for key, value in settings_of(METADATA).items() if key not in ADDED}
    old = ModelMetadata.from_settings(settings, LABELS, "m")
    assert (old.feature_mean, old.thresholds, old.calibration, old.streaming) == ((), {}, None, None)
    assert old == replace(METADATA, feature_mean=(), feature_stddev=(), thresholds={}, calibration=None)


def test_the_calibration_is_told_by_names_in_their_order() -> None:
    names = ["a.wav", "b.wav"]
    assert Calibration.of_names(2, names) == Calibration.of_names(2, iter(names))
    assert Calibration.of_names(2, names).fingerprint != Calibration.of_names(2, names[::-1]).fingerprint


def test_settings_that_are_no_table() -> None:
    with pytest.raises(TfaudioError, match="without a format version"):
        ModelMetadata.from_settings([], LABELS, "model.tflite")
