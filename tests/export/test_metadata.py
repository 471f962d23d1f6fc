from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers.table import Table
from tensorflow.lite.python import schema_py_generated as schema

import tfaudio
from tests.export.small_runs import FRONT_END, LABELS, SAMPLE_RATE, Exported
from tfaudio.cli.export import read_thresholds
from tfaudio.config import ClipConfig
from tfaudio.errors import TfaudioError
from tfaudio.export.artifact import export_run
from tfaudio.export.metadata import with_metadata
from tfaudio.export.report import TFLITE_VARIANTS
from tfaudio.model_settings import Calibration
from tfaudio.runtime.metadata import parse_metadata, read_metadata, read_settings_folder


class Reader:
    """Reads a table by the slots of metadata_schema.fbs, with nothing of the writer's."""

    def __init__(self, buffer: bytes, position: int) -> None:
        self.table = Table(buffer, position)

    def _field(self, slot: int) -> int:
        offset: int = self.table.Offset(4 + 2 * slot)
        return offset and offset + self.table.Pos

    def text(self, slot: int) -> str:
        return self.table.String(self._field(slot)).decode()

    def child(self, slot: int) -> Reader:
        return Reader(self.table.Bytes, self.table.Indirect(self._field(slot)))

    def children(self, slot: int) -> list[Reader]:
        offset = self.table.Offset(4 + 2 * slot)
        start = self.table.Vector(offset)
        return [
            Reader(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(self.table.VectorLen(offset))
        ]

    def byte(self, slot: int) -> int:
        return self.table.Bytes[self._field(slot)] if self._field(slot) else 0

    def floats(self, slot: int) -> list[float]:
        offset = self.table.Offset(4 + 2 * slot)
        start, count = self.table.Vector(offset), self.table.VectorLen(offset)
        return list(struct.unpack_from(f"<{count}f", self.table.Bytes, start))

    def number(self, slot: int) -> int:
        return int.from_bytes(self.table.Bytes[self._field(slot) : self._field(slot) + 4], "little")


def mediapipe_metadata_of(content: bytes) -> Reader:
    model = schema.Model.GetRootAsModel(content, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    (index,) = [entry.Buffer() for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    buffer = model.Buffers(index).DataAsNumpy().tobytes()
    assert buffer[4:8] == b"M001"
    return Reader(buffer, int.from_bytes(buffer[:4], "little"))


@pytest.mark.parametrize("variant", TFLITE_VARIANTS)
def test_mediapipe_finds_rate_channels_and_labels(cnn: Exported, variant: str) -> None:
    root = mediapipe_metadata_of(cnn.content(variant))
    assert (root.text(0), root.text(2), root.text(7)) == ("tfaudio", tfaudio.__version__, "1.3.0")
    assert variant in root.text(1)
    (graph,) = root.children(3)
    (waveform,), (scores,) = graph.children(2), graph.children(3)
    content = waveform.child(3)
    assert content.byte(0) == 4  # AudioProperties
    assert (content.child(1).number(0), content.child(1).number(1)) == (SAMPLE_RATE, 1)
    assert scores.child(3).byte(0) == 1  # FeatureProperties
    (labels,) = scores.children(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert [file.text(0) for file in root.children(6)] == ["tfaudio.json"]


def test_associated_files_lie_uncompressed_behind_the_model(cnn: Exported) -> None:
    with zipfile.ZipFile(io.BytesIO(cnn.content("int8"))) as archive:
        assert archive.read("labels.txt").decode() == "".join(f"{name}\n" for name in LABELS)
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        settings: dict[str, Any] = json.loads(archive.read("tfaudio.json"))
    assert settings["front_end"] == FRONT_END.to_dict()
    assert (settings["variant"], settings["model"], settings["num_labels"]) == ("int8", "cnn", len(LABELS))


@pytest.mark.parametrize("variant", TFLITE_VARIANTS)
def test_the_device_reads_back_what_was_written(run: Exported, variant: str) -> None:
    found = read_metadata(run.report.paths[variant])
    assert (found.labels, found.front_end, found.clip) == (LABELS, FRONT_END, ClipConfig(seconds=1.0))
    assert (found.model, found.variant) == (run.bundle.config.model.name, variant)
    assert (found.dataset, found.dataset_fingerprint) == (run.bundle.config.data.dataset, "0123abcd")
    assert (found.sample_rate, found.num_samples, found.score_activation) == (SAMPLE_RATE, SAMPLE_RATE, "softmax")


def test_what_was_fitted_and_calibrated_travels_along(cnn: Exported) -> None:
    names = [f"train_{i}.wav" for i in range(60)]
    for variant in TFLITE_VARIANTS:
        found = read_metadata(cnn.report.paths[variant])
        for written, fitted in (
            (found.feature_mean, cnn.bundle.normalization.mean),
            (found.feature_stddev, cnn.bundle.normalization.stddev),
        ):  # to the last bit of what the graph computes with
            assert np.array_equal(np.float32(written), np.float32(fitted))
        assert found.calibration == (Calibration.of_names(60, names) if variant == "int8" else None)


def test_thresholds_are_given_for_all_or_for_one(cnn: Exported, tmp_path: Path) -> None:
    thresholds = read_thresholds(["Geige ♫=0.75", "0.5", "cello, solo=1"], LABELS)
    assert thresholds == {**dict.fromkeys(LABELS, 0.5), "Geige ♫": 0.75, "cello, solo": 1.0}
    report = export_run(
        cnn.bundle,
        formats=["float32"],
        output_dir=tmp_path / "out",
        calibration=cnn.waveforms[:2],
        thresholds=thresholds,
    )
    assert read_metadata(report.paths["float32"]).thresholds == thresholds
    assert read_thresholds([], LABELS) == {}
    for wrong, message in (
        (["loud"], "neither a number nor LABEL=NUMBER"),
        (["dog=0.5"], "--threshold=dog=0.5: Unknown class 'dog'"),
        (["1.5"], "must be a score from 0 to 1, not 1.5"),
    ):
        with pytest.raises(TfaudioError, match=message):
            read_thresholds(wrong, LABELS)


def test_the_range_of_scores_is_told_to_mediapipe(cnn: Exported) -> None:
    (graph,) = mediapipe_metadata_of(cnn.content("int8")).children(3)
    (waveform,), (scores,) = graph.children(2), graph.children(3)
    for tensor, lowest, highest in ((waveform, -1.0, 1.0), (scores, 0.0, 1.0)):
        stats = tensor.child(5)
        assert (stats.floats(0), stats.floats(1)) == ([highest], [lowest])


def test_the_saved_model_carries_the_same(cnn: Exported) -> None:
    found = read_settings_folder(cnn.report.paths["saved_model"] / "assets")
    assert found == replace(read_metadata(cnn.report.paths["float32"]), variant="saved_model")


def test_the_same_input_gives_the_same_bytes(cnn: Exported) -> None:
    metadata = read_metadata(cnn.report.paths["float32"])
    plain = cnn.content("float32")
    content = with_metadata(plain, metadata)
    assert content == with_metadata(plain, metadata)
    # Equal bytes within a moment say nothing of the clock: ZIP tells time by two seconds.
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_no_damage_to_the_settings_is_a_traceback(cnn: Exported) -> None:
    content = bytearray(cnn.content("dynamic_range"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        first = min(member.header_offset for member in archive.infolist())
    told = 0
    for bit in np.random.default_rng(0).choice(8 * (len(content) - first), 1500, replace=False):
        place, mask = first + int(bit) // 8, 1 << int(bit) % 8
        content[place] ^= mask
        try:
            parse_metadata(bytes(content), "model.tflite")
        except TfaudioError as error:
            told += "model.tflite" in str(error)
        content[place] ^= mask
    assert told > 500
