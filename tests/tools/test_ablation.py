"""The ablation: which commands a line asks for, what is not done twice, what the table says."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from absl import flags

from tfaudio.bundle import write_csv
from tfaudio.cli.main import COMMANDS, _parse


@pytest.fixture(scope="module")
def ablation(repository: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("ablation", repository / "tools" / "benchmark" / "ablation.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ablation"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["ablation"]


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        dataset="esc10", data_dir="ESC-10", folds="1,2", seeds="0", epochs=60, pretrain_epochs=10, output_dir=tmp_path,
        json=tmp_path / "table.json",
    )  # fmt: skip


def test_every_line_is_made_of_commands_that_parse_after_those_it_needs(
    ablation: ModuleType, arguments: argparse.Namespace
) -> None:
    made = set()
    for line in ablation.LINES:
        for name, *rest in ablation.commands(line, arguments):
            flag_values = flags.FlagValues()
            COMMANDS[name].load().define_flags(flag_values)
            others = _parse(f"tfaudio {name}", flag_values, rest)
            needed = [*others, *(flag_values.teacher or [] if name == "train" else [])]
            needed += [flag_values.initial_weights] if name == "train" and flag_values.initial_weights else []
            assert {Path(path).name for path in needed} <= made
            made.add(Path(flag_values.output_dir).name)
            assert rest[-1] == f"--output_dir={flag_values.output_dir}"
        assert line.base in made
    assert len({line.name for line in ablation.LINES}) == len(ablation.LINES)


def test_what_is_done_is_not_done_again_and_what_stopped_goes_on(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Done:
        returncode = 0

    def fake(command: list[str], **_: object) -> Done:
        calls.append(command[3:])
        return Done()

    monkeypatch.setattr(ablation.subprocess, "run", fake)
    command = ["train", "--folds=1", f"--output_dir={tmp_path / 'line'}"]
    ablation.run(command)
    (tmp_path / "line").mkdir()
    ablation.run(command)
    assert calls == [command, [*command, "--resume"]]
    typed = f"tfaudio train --folds=1 --output_dir={tmp_path / 'line'} --resume"
    (tmp_path / "line" / "result.json").write_text(json.dumps({"command": typed}))
    ablation.run(command)
    assert len(calls) == 2
    with pytest.raises(SystemExit, match="result of another command"):
        ablation.run(["train", "--folds=2", f"--output_dir={tmp_path / 'line'}"])


def test_the_table_compares_each_line_with_its_base(
    ablation: ModuleType, arguments: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    root = arguments.output_dir
    names = [f"clips/{number}.wav" for number in range(10)]
    for line, right in (("recipe", 6), ("no_mixup", 8)):
        (root / line).mkdir()
        write_csv(
            root / line / "predictions.csv",
            ["path", "label", "predicted"],
            [[name, "a", "a" if number < right else "b"] for number, name in enumerate(names)],
        )
        result = {"accuracy": right / 10, "interval": [0.3, 0.9], "num_clips": 10, "seeds": [0]}
        result |= {"duration_seconds": 1.0, "command": "tfaudio train", "accuracy_per_fold": {"1": right / 10}}
        (root / line / "result.json").write_text(json.dumps(result))
    ablation.report(arguments)
    document = json.loads(arguments.json.read_text())
    assert (document["folds"], document["epochs"]) == ("1,2", 60)
    first, second = document["lines"]
    assert "difference" not in first
    assert second["difference"] == pytest.approx(0.2)
    assert second["p_value"] == pytest.approx(0.5)  # two recordings, both for the one: 2 / 2^2
    text = arguments.json.with_suffix(".md").read_text()
    assert text.splitlines()[3].startswith("| without mixup | 80.0% | 30.0% to 90.0% | +20.0 (")
    assert text in capsys.readouterr().out
