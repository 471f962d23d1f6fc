"""The comparison of clients finds agreement, and above all its absence."""

from __future__ import annotations

import importlib.util
import json
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from tests.export.small_runs import LABELS, SAMPLE_RATE, Exported, exported, tones

CLIPS = [Path("a.wav"), Path("b.wav")]


@pytest.fixture(scope="module")
def tool(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_clients", repository / "tools" / "compare_clients.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    return module


def compared(tool: ModuleType, scores: list[list[float]], labels: tuple[str, ...] = ("x", "y")) -> tuple[str, bool]:
    first = tool.Answer("first", ["x", "y"], np.array([[0.9, 0.1], [0.4, 0.6]]))
    lines, agreed = tool.compare([first, tool.Answer("second", list(labels), np.array(scores))], CLIPS, 1e-3)
    return "\n".join(lines), agreed


def test_equal_labels_and_scores_agree(tool: ModuleType) -> None:
    report, agreed = compared(tool, [[0.9005, 0.0995], [0.4, 0.6]])
    assert agreed
    assert "2 of 2" in report
    assert "5.00e-04" in report


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([[0.9, 0.1], [0.6, 0.4]], "b.wav: first: y (0.600), second: x (0.600)"),
        ([[0.91, 0.09], [0.4, 0.6]], "1.00e-02"),
        ([[float("nan"), 0.1], [0.4, 0.6]], "inf"),
        ([[0.9, 0.1]], "has other labels"),
    ],
)
def test_another_label_or_score_is_a_disagreement(tool: ModuleType, scores: list[list[float]], found: str) -> None:
    report, agreed = compared(tool, scores)
    assert not agreed
    assert found in report


def test_other_labels_are_a_disagreement(tool: ModuleType) -> None:
    report, agreed = compared(tool, [[0.9, 0.1], [0.4, 0.6]], labels=("y", "x"))
    assert not agreed
    assert "has other labels" in report


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("cnn", tmp_path_factory.mktemp("cnn"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One tone a class, at twice the model's rate and of another length than its window."""
    folder = tmp_path_factory.mktemp("clips")
    waveforms, _ = tones(len(LABELS), seed=3, seconds=1.6)
    paths = [folder / f"clip {index}.wav" for index in range(len(LABELS))]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, 2 * SAMPLE_RATE)
    return [str(path) for path in paths]


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "tools" / "compare_clients.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_both_interpreters_agree_on_a_quantised_file(
    cnn: Exported, clips: list[str], repository: Path, tmp_path: Path
) -> None:
    stored = tmp_path / "agreement.json"
    given = [f"--model={cnn.report.paths['int8']}", "--clients=tf.lite,ai-edge-litert", f"--json={stored}"]
    done = run(repository, *given, *clips)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{len(clips)} of {len(clips)}") == 2
    document = json.loads(stored.read_text())
    assert (document["agreed"], document["clips"], len(document["clients"])) == (True, len(clips), 2)
    assert {row["same_label"] for row in document["clients"].values()} == {len(clips)}


def test_a_client_that_differs_makes_it_fail(cnn: Exported, clips: list[str], repository: Path, tmp_path: Path) -> None:
    liar = tmp_path / "python"
    scores = json.dumps([1.0] + [0.0] * (len(LABELS) - 1))
    # Answers as the tool asks a Python to: model and role first, then the files.
    liar.write_text(
        f"#!{sys.executable}\nimport json, sys\nscores = {scores}\n"
        f"print(json.dumps({{'client': 'liar', 'labels': {list(LABELS)!r}, "
        "'scores': {path: scores for path in sys.argv[4:]}}))\n",
        encoding="utf-8",
    )
    liar.chmod(liar.stat().st_mode | stat.S_IXUSR)
    model = f"--model={cnn.report.paths['float32']}"
    done = run(repository, model, f"--edge_python={liar}", "--clients=tf.lite,ai-edge-litert", *clips)
    assert done.returncode == 1, done.stderr
    assert "liar: bass (1.000)" in done.stdout


def test_where_nothing_can_be_written_no_client_is_asked(
    tool: ModuleType, cnn: Exported, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["compare_clients", f"--model={cnn.report.paths['float32']}", f"--json={tmp_path}", "--clients=tf.lite"]
    monkeypatch.setattr(sys, "argv", [*given, *clips])
    monkeypatch.setattr(tool, "ask_interpreter", lambda *_: pytest.fail("asked"))
    assert tool.main() == 2


def test_a_client_that_is_missing_is_named(cnn: Exported, clips: list[str], repository: Path) -> None:
    model = f"--model={cnn.report.paths['float32']}"
    done = run(repository, model, "--mediapipe_python=no-such-python", "--clients=mediapipe", clips[0])
    assert done.returncode == 2
    assert "no-such-python was not found" in done.stderr
