"""`tfaudio export`: what it makes where no format is named, and what it says of what was withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.export.small_runs import LABELS
from tfaudio.bundle import Bundle
from tfaudio.cli.main import main
from tfaudio.config import RunConfig
from tfaudio.export import artifact
from tfaudio.export.candidates import default_formats
from tfaudio.export.report import FORMATS, ExportReport, FormatReport, GateConfig
from tfaudio.features.normalization import Normalization
from tfaudio.models.classifier import build_classifier
from tfaudio.training.trainer import train

PARTS = {"cnn": {"filters": [8, 8]}, "crnn": {"filters": [8, 8], "units": 8}, "mha_rnn": {"filters": 4, "units": 8}}
WITHOUT_INT8 = tuple(name for name in FORMATS if name != "int8")


def of_model(name: str, options: dict[str, Any]) -> Bundle:
    """A run that nobody trained."""
    config = RunConfig().override({"model.name": name, "model.options": options, "clip.seconds": 1.0})
    return Bundle(Path("run"), config, LABELS, Normalization(), build_classifier(config, len(LABELS)))


def test_the_default_formats_are_those_that_a_model_can_be_had_in() -> None:
    assert default_formats(of_model("cnn", PARTS["cnn"])) == FORMATS
    for name in ("crnn", "mha_rnn"):
        assert default_formats(of_model(name, PARTS[name])) == WITHOUT_INT8
    members = [{"name": name, "options": PARTS[name]} for name in ("cnn", "crnn")]
    assert default_formats(of_model("ensemble", {"members": members})) == WITHOUT_INT8


@pytest.fixture(scope="module")
def recurrent(small_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `crnn`."""
    options = {"training.epochs": 1, "model.options": PARTS["crnn"]}
    run = train(
        small_config.override({"model.name": "crnn", "model.options": {}}).override(options),
        tmp_path_factory.mktemp("runs") / "crnn",
        progress=False,
        log=lambda _: None,
    )
    return run.path


GATE, OPERATORS = "its best class is that of Keras on 10.0% of 20 clips", "int8 does not support recurrent layers"


@pytest.mark.parametrize(
    ("named", "withheld", "told"),
    [
        ([], {}, False),
        (["--formats=float32,int8"], {"int8": FormatReport(name="int8", problems=(OPERATORS,))}, False),
        ([], {"float16": FormatReport(name="float16", problems=(GATE,), agreement=0.1)}, True),
    ],
    ids=["by default", "refused for its operators", "withheld by the gate"],
)
def test_what_is_made_of_a_recurrent_model_and_what_would_let_more_pass(
    recurrent: Path,
    named: list[str],
    withheld: dict[str, FormatReport],
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, ...]] = []

    def report(_: Bundle, *, formats: tuple[str, ...], output_dir: Path, **__: object) -> ExportReport:
        asked.append(formats)
        return ExportReport(
            output_dir=output_dir,
            clips=20,
            clips_source="test",
            keras_accuracy=1.0,
            keras_class_accuracy=None,
            keras_latency_ms=1.0,
            formats=tuple(withheld.get(n, FormatReport(name=n, path=n, accuracy=1.0, agreement=1.0)) for n in formats),
            gate=GateConfig(),
            calibration_clips=10,
            calibration_names=(),
            details={},
        )

    monkeypatch.setattr(artifact, "export_run", report)
    code = main(["export", f"--run_dir={recurrent}", f"--output_dir={tmp_path / 'out'}", *named])
    assert code == (1 if withheld else 0)
    assert asked == [("float32", "int8") if named else WITHOUT_INT8]
    assert ("to let more pass" in capsys.readouterr().out) == told
