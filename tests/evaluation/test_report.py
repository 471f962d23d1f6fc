from __future__ import annotations

import csv
import io
import json
import struct
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tfaudio.errors import TfaudioError
from tfaudio.evaluation.metrics import Metrics, compute_metrics
from tfaudio.evaluation.report import confusion_csv, confusion_png, metrics_table, write_report
from tfaudio.labels import LabelMap


def metrics_of(names: tuple[str, ...], targets: list[int], predictions: list[int]) -> Metrics:
    return compute_metrics(targets, np.eye(len(names))[predictions], LabelMap(names))


@pytest.fixture
def pets() -> Metrics:
    return metrics_of(("cat", "dog, barking", "犬", "$x_"), [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0])


def png_size(content: bytes) -> tuple[int, int]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_table(pets: Metrics) -> None:
    lines = metrics_table(pets, title="Pets").splitlines()
    assert lines[0] == "Pets"
    assert "66.7%" in lines[3]
    assert "30.0% to 90.3%" in lines[3]  # Wilson's interval of 4 of 6
    rows = [line.split()[0] for line in lines[-6:-2]]
    assert rows == ["犬", "cat", "dog,", "$x_"]  # from the worst F1 to the best, absent classes last
    assert lines[-3].split()[1:] == ["-", "-", "-", "-", "0"]
    assert lines[-1] == "without a test recording, and in no mean over classes: $x_"


def test_table_columns_stand_below_each_other(pets: Metrics) -> None:
    lines = metrics_table(pets).splitlines()[-7:-2]
    widths = [len(line) + line.count("犬") for line in lines]  # the sign takes two columns of a terminal
    assert len(set(widths)) == 1


def test_confusion_csv_survives_commas_and_other_scripts(pets: Metrics) -> None:
    rows = list(csv.reader(io.StringIO(confusion_csv(pets))))
    assert rows[0][1:] == ["cat", "dog, barking", "犬", "$x_"]
    assert [row[0] for row in rows[1:]] == rows[0][1:]
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == pets.confusion


def test_picture_is_a_png_and_shows_the_counts(pets: Metrics) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = confusion_png(pets, title="100 $ and $x_")
    width, height = png_size(content)
    assert min(width, height) > 400
    other = metrics_of(("cat", "dog, barking", "犬", "$x_"), [0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 2])
    assert confusion_png(other) != confusion_png(pets)


def test_a_picture_of_many_classes_is_no_larger() -> None:
    """Names that all can be read take more memory than there is from some hundred classes on."""
    names = tuple(f"species {number}" for number in range(600))
    width, height = png_size(confusion_png(metrics_of(names, list(range(600)), list(range(600)))))
    assert max(width, height) < 4500


@pytest.mark.parametrize("count", [2, 13, 50])
def test_every_name_has_room(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two names overlap, and none is cut off at the border, by the extents that Matplotlib reports."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    original = Figure.savefig

    def savefig(self: Figure, *args: object, **kwargs: object) -> None:
        figures.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    names = tuple(f"a rather long name of a class {i}" for i in range(count))
    confusion_png(metrics_of(names, list(range(count)), list(range(count))))
    (figure,) = figures
    axes = figure.axes[0]
    rows = [label.get_window_extent() for label in axes.get_yticklabels()]
    columns = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(rows) == len(columns) == count
    assert all(lower.y1 <= upper.y0 for upper, lower in pairwise(rows))
    assert all(left.x1 <= right.x0 for left, right in pairwise(columns))
    for box in (*rows, *columns):
        assert box.x0 >= 0
        assert box.y0 >= 0
    pixels_a_cell = abs(rows[0].y0 - rows[1].y0)
    assert pixels_a_cell >= 20


def test_write_report(tmp_path: Path, pets: Metrics) -> None:
    files = write_report(tmp_path / "new" / "report", pets, title="Pets")
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == sorted(files)
    assert Metrics.from_dict(json.loads(files["metrics.json"].read_text(encoding="utf-8"))) == pets
    assert files["metrics.txt"].read_text(encoding="utf-8") == metrics_table(pets, title="Pets")
    png_size(files["confusion.png"].read_bytes())
    write_report(tmp_path / "new" / "report", pets)
    assert not files["metrics.txt"].read_text(encoding="utf-8").startswith("Pets")


def test_report_into_a_file_is_refused(tmp_path: Path, pets: Metrics) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TfaudioError, match="Cannot write"):
        write_report(tmp_path / "file", pets)
