"""What the README promises is there: commands that parse, names that resolve, figures that a stored result backs."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex

import pytest
from absl import flags

import tfaudio
from tfaudio.cli.main import COMMANDS, _parse
from tfaudio.cli.settings import parse_candidate, settings_from


def _blocks(text: str, language: str) -> list[str]:
    # All blocks are found first: the end of another would pass for the beginning of one without a language.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text("utf-8")


def test_commands_parse_and_their_settings_exist(repository, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where no run lies that --resume would read
    pages = [repository / "README.md", *sorted((repository / "export").glob("**/README.md"))]
    pages = [page for page in pages if "node_modules" not in page.parts]
    blocks = [block.replace("\\\n", "") for page in pages for block in _blocks(page.read_text("utf-8"), "")]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("tfaudio ")]
    assert len(lines) >= 30
    for line in lines:
        name, *arguments = shlex.split(line.split(">")[0], comments=True)[1:]
        flag_values = flags.FlagValues()
        module = COMMANDS[name].load()
        module.define_flags(flag_values)
        _parse(f"tfaudio {name}", flag_values, arguments)
        if name in ("train", "pretrain"):
            config = settings_from(flag_values)
            for candidate in flag_values.candidate if "candidate" in flag_values else ():
                config.override(parse_candidate(candidate))


def test_python_names_resolve(readme):
    for block in _blocks(readme, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tfaudio":
                assert hasattr(tfaudio, node.attr), node.attr
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tfaudio"):
                for alias in node.names:
                    assert hasattr(importlib.import_module(str(node.module)), alias.name), alias.name


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
        assert result["protocol"] in ("folds", "nested", "official", "leave_one_group_out")
        assert result["seeds"]
        assert result["versions"]["tensorflow"]
        assert result["duration_seconds"] > 0


def test_every_figure_in_noise_has_its_result(readme, repository):
    files = {"by default": "esc10_noise_default", "in more noise": "esc10_noise_trained"}
    rows = re.findall(r"^\| (white noise|babble) \| (by default|in more noise) \|(.*)\|$", readme, re.MULTILINE)
    assert len(rows) == 4
    for noise, trained, cells in rows:
        result = json.loads((repository / "tools" / "benchmark" / "results" / f"{files[trained]}.json").read_text())
        (found,) = (row for row in result["degradations"] if row["title"].startswith(noise))
        figures = [result["clean"]["accuracy"], *(point["accuracy"] for point in found["points"])]
        assert [cell.strip() for cell in cells.split("|")] == [f"{figure:.1%}".replace("%", " %") for figure in figures]


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
            assert not size or first[kind]["written"], f"{name} has withheld {kind}"
            if kind in ("saved_model", "float32"):
                limit = 1.6e-4 if name == "fsdd_dense_export" else 1e-5
                assert first[kind]["max_score_difference"] < limit, (name, kind)
