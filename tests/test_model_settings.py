from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tfaudio.config import ClipConfig, FrontEndConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.model_settings import ModelMetadata

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
)


def settings_of(metadata: ModelMetadata, body: bytes | None = None) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(metadata.to_files(body=body)["tfaudio.json"])
    return settings


@pytest.mark.parametrize("metadata", [METADATA, replace(METADATA, dataset=None, dataset_fingerprint=None)])
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
        ("model_sha256", sha256_of_abc),
    ]
    assert "model_sha256" not in settings_of(METADATA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "without a format version"),
        ({"format": 2}, "metadata format 2 and this tfaudio reads up to 1; upgrade tfaudio"),
        ({"clip": None}, "without 'clip'; export it again"),
        ({"num_labels": 3}, "3 outputs but 2 labels"),
        ({"front_end": {"sample_rates": 1}}, "settings that do not hold together: .*sample_rates"),
        ({"num_labels": "x"}, "'num_labels' is \"x\", not a whole number; export it again"),
        ({"num_labels": True}, "'num_labels' is true, not a whole number"),
        ({"model": 3}, "'model' is 3, not text"),
        ({"dataset": ["pets"]}, "'dataset' is .*, not text"),
        ({"clip": "short"}, "'clip' is \"short\", not a table"),
        ({"model_sha256": None}, "damaged or was changed after its export"),
        ({"model_sha256": "0" * 64}, "damaged or was changed after its export"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], message: str) -> None:
    settings = {key: value for key, value in {**settings_of(METADATA, b"a"), **changes}.items() if value is not None}
    with pytest.raises(TfaudioError, match=rf"^model\.tflite .*{message}"):
        ModelMetadata.from_settings(settings, LABELS, "model.tflite", body=b"a")


def test_settings_that_are_no_table() -> None:
    with pytest.raises(TfaudioError, match="without a format version"):
        ModelMetadata.from_settings([], LABELS, "model.tflite")
