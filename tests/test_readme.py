"""What the README promises is there: commands that parse, names that resolve, figures that a stored result backs."""

from __future__ import annotations

import ast
import json
import re
import shlex

import pytest
from absl import flags

import tfaudio
from tfaudio.cli.main import COMMANDS, _parse


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text("utf-8")


def test_commands_parse(readme):
    blocks = [block.replace("\\\n", "") for block in _blocks(readme, "")]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("tfaudio ")]
    assert len(lines) >= 5
    for line in lines:
        name, *arguments = shlex.split(line.split(">")[0], comments=True)[1:]
        flag_values = flags.FlagValues()
        module = COMMANDS[name].load()
        module.define_flags(flag_values)
        _parse(f"tfaudio {name}", flag_values, arguments)


def test_python_names_resolve(readme):
    for block in _blocks(readme, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tfaudio":
                assert hasattr(tfaudio, node.attr), node.attr


def test_targets_and_links_exist(readme, repository):
    makefile = (repository / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", readme):
        assert f"\n{target}:" in makefile
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (repository / link).exists(), link


def test_every_figure_has_its_result(readme, repository):
    rows = re.findall(r"^\|.*?\| ([\d.]+) % .*?\[(\w+)\.json\].*$", readme, re.MULTILINE)
    assert len(rows) >= 6
    for figure, name in rows:
        result = json.loads((repository / "tools" / "benchmark" / "results" / f"{name}.json").read_text())
        assert f"{100 * result['accuracy']:.1f}" == figure, name
        assert result["command"].startswith(("tfaudio train ", "tfaudio export ", "tfaudio ensemble "))
        assert result["interval"][0] <= result["accuracy"] <= result["interval"][1] + 1e-9
        assert result["protocol"] in ("folds", "official", "leave_one_group_out")
        assert result["seeds"]
        assert result["versions"]["tensorflow"]
        assert result["duration_seconds"] > 0


def test_every_exported_figure_has_its_result(readme, repository):
    formats = ["keras", "saved_model", "float32", "float16", "dynamic_range", "int8"]
    rows = re.findall(r"^\|(.*)\[(\w+_export)\.json\].*$", readme, re.MULTILINE)
    assert rows
    for cells, name in rows:
        result = json.loads((repository / "tools" / "benchmark" / "results" / f"{name}.json").read_text())
        first = next(iter(result["reports"].values()))["formats"]
        told = re.findall(r"([\d.]+) %(?:, (\d+) kB)?", cells)
        for (accuracy, size), kind in zip(told, formats, strict=True):
            assert accuracy == f"{100 * result['accuracy_by_format'][kind]:.1f}"
            assert not size or abs(int(size) - first[kind]["size_bytes"] / 1000) <= 0.5
