"""A run optimised by every method, through the command: what is written, what is withheld, what is left alone."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ai_edge_litert.interpreter import Interpreter

from tfaudio.bundle import WEIGHTS, Bundle, load_bundle
from tfaudio.cli.main import main
from tfaudio.config import ClipConfig, RunConfig
from tfaudio.evaluation.evaluate import evaluate
from tfaudio.export.flatbuffer import float_operators
from tfaudio.export.report import GateConfig
from tfaudio.optimize import run as optimize
from tfaudio.optimize.methods import Outcome
from tfaudio.optimize.run import optimize_run
from tfaudio.optimize.settings import OptimizeConfig
from tfaudio.runtime.classifier import Classifier
from tfaudio.training.trainer import train

RATE = 8_000
CLASSES = ("low", "middle", "high")
SPARSITY, CLUSTERS = 0.6, 6


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A run that knows three tones apart, on a disk, with its recordings."""
    root = tmp_path_factory.mktemp("optimize")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 4) / RATE
    for label, hertz in zip(CLASSES, (300, 900, 2700), strict=True):
        (root / "data" / label).mkdir(parents=True)
        for index in range(20):
            tone = np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * time + rng.uniform(0, 6))
            sound = 0.3 * tone + rng.normal(scale=0.03, size=len(time))
            soundfile.write(root / "data" / label / f"{index}.wav", sound, RATE)
    config = RunConfig().override(
        {
            "data.data_dir": str(root / "data"),
            "front_end.sample_rate": RATE,
            "front_end.frame_length": 256,
            "front_end.frame_step": 128,
            "front_end.fft_length": 256,
            "front_end.num_mel_bins": 16,
            "clip.seconds": 0.25,
            "augment.mixup_alpha": 0.0,
            "augment.time_masks": 0,
            "augment.frequency_masks": 0,
            "model.options": {"filters": [6, 12]},
            "training.epochs": 20,
            "training.batch_size": 8,
            "training.learning_rate": 0.01,
            "training.class_weights": True,
        }
    )
    return train(config, root / "run", progress=False, log=lambda _: None)


@dataclass(frozen=True)
class Optimized:
    """What the command left behind and said."""

    folder: Path
    code: int
    text: str
    record: dict[str, Any]

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text("utf-8"))
        return found

    def row(self, model: str, format: str) -> dict[str, Any]:
        (found,) = [r for r in self.report()["rows"] if (r["model"], r["format"]) == (model, format)]
        return dict(found)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Optimized:
    before, environment = content_of(bundle.path), dict(os.environ)
    root = tmp_path_factory.mktemp("out")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main(
            [
                "optimize",
                f"--run_dir={bundle.path}",
                f"--output_dir={root / 'out'}",
                "--method=cluster,qat,prune",
                "--epochs=3",
                "--learning_rate=0.003",
                f"--sparsity={SPARSITY}",
                f"--clusters={CLUSTERS}",
                f"--json={root / 'result.json'}",
            ]
        )
    assert content_of(bundle.path) == before  # the run is as it was
    assert dict(os.environ) == environment  # and so is what processes inherit
    return Optimized(root / "out", code, said.getvalue(), json.loads((root / "result.json").read_text("utf-8")))


def constants(content: bytes, *, of: tuple[str, ...] = ("CONV_2D",)) -> list[np.ndarray]:
    """Weights of the convolutions in a file, by the interpreter: [out, height, width, in]."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return [
        interpreter.get_tensor(operator["inputs"][1])
        for operator in interpreter._get_ops_details()
        if operator["op_name"] in of
    ]


def test_all_methods_pass_and_lie_where_the_table_says(done: Optimized) -> None:
    assert done.code == 0
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "cluster",
        "prune",
        "qat",
        "report.json",
        "report.md",
    ]
    rows = [(row["model"], row["format"]) for row in done.report()["rows"]]
    both = [(name, format) for name in ("prune", "cluster") for format in ("float32", "int8")]
    assert rows == [
        *((name, format) for name in ("run", "control") for format in ("float32", "int8")),
        ("qat", "int8"),
        *both,
    ]
    for model, format in rows:
        row = done.row(model, format)
        assert row["latency_ms"] > 0
        assert row["accuracy"] > 0.8
        if model in ("run", "control"):
            assert row["path"] is None
            continue
        content = (done.folder / row["path"]).read_bytes()
        assert row["size_bytes"] == len(content)
        assert row["gzip_bytes"] == pytest.approx(len(gzip.compress(content)), rel=0.02)
    assert not (done.folder / "qat" / "run").exists()
    assert done.record["report"] == done.report()
    assert done.record["config"]["model"]["options"] == {"filters": [6, 12]}
    assert done.record["command"].startswith("tfaudio")


def test_the_table_is_on_the_terminal_and_on_a_page(done: Optimized) -> None:
    page = (done.folder / "report.md").read_text("utf-8")
    lines = [line.split() for line in done.text.splitlines()]
    assert [line[:2] for line in lines[1:10]] == [[r["model"], r["format"]] for r in done.report()["rows"]]
    assert sum(line.startswith("| ") for line in page.splitlines()) == 11
    assert "control: after 3 more epochs of plain training" in page


def test_pruned_weights_are_zero_in_the_files(done: Optimized) -> None:
    for format in ("float32", "int8"):
        for weights in constants((done.folder / "prune" / f"model_{format}.tflite").read_bytes()):
            assert np.mean(weights == 0) >= SPARSITY - 0.5 / weights.size
    for weights in constants((done.folder / "cluster" / "model_float32.tflite").read_bytes()):
        assert np.mean(weights == 0) < 0.3
    assert done.row("prune", "int8")["zero_weights"] == pytest.approx(SPARSITY, abs=0.02)
    assert done.row("control", "int8")["zero_weights"] < 0.01
    assert done.row("prune", "float32")["gzip_bytes"] < done.row("control", "float32")["gzip_bytes"]


def test_clustered_weights_share_a_few_values_in_the_files(done: Optimized) -> None:
    for format in ("float32", "int8"):
        content = (done.folder / "cluster" / f"model_{format}.tflite").read_bytes()
        for weights in constants(content):
            # A channel's normalisation is part of its weights, which scales the shared values.
            for channel in weights:
                assert len(np.unique(channel)) <= CLUSTERS
    assert done.row("cluster", "int8")["distinct_weights"] == CLUSTERS
    for layer in load_bundle(done.folder / "cluster" / "run").classifier.layers:
        if type(layer).__name__ in ("Conv2D", "Dense"):
            assert len(np.unique(np.asarray(layer.kernel))) <= CLUSTERS


def test_what_quantisation_aware_training_gives_is_int8(done: Optimized) -> None:
    content = (done.folder / "qat" / "model_int8.tflite").read_bytes()
    assert {weights.dtype for weights in constants(content)} == {np.dtype(np.int8)}
    assert "CONV_2D" not in float_operators(content)
    assert done.report()["notes"] == []
    report = json.loads((done.folder / "qat" / "report.json").read_text("utf-8"))
    assert report["gate"]["passed"]
    assert report["formats"]["int8"]["agreement"] >= 0.95
    classifier = Classifier(done.folder / "qat" / "model_int8.tflite")
    assert tuple(classifier.labels) == tuple(sorted(CLASSES))


def test_what_was_trained_is_a_run_of_its_own(done: Optimized, bundle: Bundle) -> None:
    for name in ("prune", "cluster"):
        evaluation = evaluate(done.folder / name / "run", progress=False)
        assert evaluation.metrics.accuracy == pytest.approx(done.row(name, "float32")["accuracy"])
    trained = load_bundle(done.folder / "prune" / "run")
    assert trained.config == bundle.config
    changed = [
        np.abs(a - b).max()
        for a, b in zip(trained.classifier.get_weights(), bundle.classifier.get_weights(), strict=True)
    ]
    assert min(changed) > 0


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that ends with a model which hears the same in everything."""

    def spoil(name: str, twin: Any, *arguments: object) -> Outcome:
        factor = 1.0 if name == "control" else 0.0
        return Outcome([weight * factor for weight in twin.source.get_weights()])

    monkeypatch.setattr(optimize, "apply_method", spoil)


def test_runs_that_were_not_scored_are_not_compared(done: Optimized, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *(str(done.folder / name / "run") for name in ("prune", "cluster"))]) == 1
    assert "was not scored yet; do so by `tfaudio evaluate" in capsys.readouterr().err


@pytest.mark.usefixtures("spoilt")
def test_a_method_that_spoils_the_model_is_withheld(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "model_int8.tflite").write_bytes(b"of an earlier call")
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(optimize, "read_calibration", lambda _: {"temperature": 2.0})
    report = optimize_run(bundle, ["cluster"], tmp_path, overwrite=True)
    assert "the run's calibration is of other weights and in none of these files" in report.to_text()
    assert list(report.problems) == ["cluster"]
    # Its files do what its weights say; it is the weights that are bad.
    assert all("below that of the run as it was" in problem for problem in report.problems["cluster"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "report.json", "report.md"]
    assert report.row("cluster", "int8").path is None
    assert report.row("control", "float32").accuracy == report.row("run", "float32").accuracy
    assert "withheld" in report.to_text()
    assert "- cluster was withheld: float32: its accuracy" in report.to_markdown()


def test_every_limit_of_the_gate_holds_a_method(bundle: Bundle, tmp_path: Path) -> None:
    gate = GateConfig(max_accuracy_drop=1.0, min_agreement=0.0, max_size_kb=1.0)
    report = optimize_run(bundle, ["prune"], tmp_path / "out", config=OptimizeConfig(epochs=1), gate=gate)
    assert all("its size is" in problem for problem in report.problems["prune"])
    assert report.row("run", "float32").size_bytes > 1000  # to which the limit does not apply


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main(["optimize", *map(str, arguments)])
    return code, capsys.readouterr().err.splitlines()[-1]


def test_mistakes_are_told_in_a_sentence(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = (f"--run_dir={bundle.path}", f"--output_dir={tmp_path / 'out'}")

    def says(text: str, *arguments: object, code: int = 1) -> None:
        found = complaint(capsys, *arguments)
        assert found[0] == code
        assert text in found[1]

    says("Did you mean 'prune'?", *call, "--method=prun")
    says("at least one method", *call, "--method=")
    says("--sparsity must be above 0 and below 1, not 1.0", *call, "--sparsity=1")
    says("--clusters must be 2 to 256, not 1", *call, "--clusters=1")
    says("--epochs must be 1 to", *call, "--epochs=0")
    says("--learning_rate must be in (0, 100], not -1.0", *call, "--learning_rate=-1")
    says("--max_accuracy_drop", *call, "--max_accuracy_drop=2")
    says("--max_size_kb", *call, "--max_size_kb=0")
    says("--run_dir is needed", call[1], code=2)
    says("Unexpected argument 'x'", *call, "x", code=2)
    says("There is no run folder", f"--run_dir={tmp_path / 'none'}", call[1])
    says("--overwrite", call[0], f"--output_dir={bundle.path}")
    says("does not exist", *call, f"--data_dir={tmp_path / 'gone'}")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_run_that_would_be_replaced_is_refused(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pruned = tmp_path / "prune" / "run"
    shutil.copytree(bundle.path, pruned)
    (tmp_path / "report.json").touch()
    command = (f"--run_dir={pruned}", f"--output_dir={tmp_path}", "--method=cluster", "--overwrite")
    code, said = complaint(capsys, *command)
    assert code == 1
    assert "whose files are replaced" in said
    assert (pruned / WEIGHTS).is_file()


def test_runs_that_cannot_be_trained_so_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    whole = RunConfig(clip=ClipConfig(seconds=None))
    learnt = bundle.config.override({"front_end.feature": "leaf", "augment.frequency_masks": 0})
    control = bundle.config.override({"training.shuffle_labels": True})
    refused = (
        (whole, "takes recordings whole"),
        (learnt, "has a learnt front end"),
        (control, "a control that learnt shuffled labels"),
    )
    for config, text in refused:
        changed = Bundle(bundle.path, config, bundle.labels, bundle.normalization, bundle.classifier)
        with pytest.raises(ValueError, match=text):
            optimize_run(changed, ["qat"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
