"""The benchmarks' own logic: who takes part, in which order, and what is written of it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SMALL = {
    "clips": 3, "samples": 4_000, "sample_rate": 16_000,
    "frame_length": 400, "frame_step": 160, "fft_length": 512, "num_mel_bins": 40,
}  # fmt: skip
ODD = {**SMALL, "samples": 4_321, "frame_length": 401, "frame_step": 123}


@pytest.fixture
def benchmark_modules(repository, monkeypatch) -> tuple[ModuleType, ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(repository / "tools" / "benchmark"))
    import log_mel
    import log_mel_contestants
    import rounds

    return rounds, log_mel, log_mel_contestants


def test_ratios_are_of_medians_with_the_quartiles_of_pairs(benchmark_modules):
    rounds = benchmark_modules[0]
    ours = rounds.Entry("ours", seconds=[1.0, 2.0, 4.0])
    other = rounds.Entry("other", seconds=[2.0, 8.0, 12.0])
    assert ours.ratio(other)["of_medians"] == 4.0
    assert ours.ratio(other)["lower_quartile"] == 2.0
    assert ours.ratio(other)["upper_quartile"] == 4.0


def test_contestants_take_turns_and_every_other_round_goes_backwards(benchmark_modules):
    rounds = benchmark_modules[0]
    calls = []

    class Fake:
        def __init__(self, name, problem=None):
            self.entry = rounds.Entry(name, problem=problem)

        def check(self):
            calls.append(("check", self.entry.name))

        def run_watched(self):
            pass

        def run(self):
            calls.append(("run", self.entry.name))

        def close(self):
            pass

    rounds._PAUSE = 0
    entries = rounds.measure([Fake("a"), Fake("b"), Fake("absent", "not installed")], 3)
    assert [name for what, name in calls if what == "run"] == ["a", "b", "b", "a", "a", "b"]
    assert [name for what, name in calls if what == "check"] == ["a", "b"]
    assert [entry.problem for entry in entries] == [None, None, "not installed"]


def test_paths_of_a_command_do_not_name_the_machine(benchmark_modules, repository):
    rounds = benchmark_modules[0]
    python = "/opt/peers/bin/python"
    arguments = [f"--json={repository}/tools/x.json", f"--peers_python={python}", python, "--rounds=9"]
    assert rounds._portable(arguments) == [
        "--json=tools/x.json",
        "--peers_python=.../peers/bin/python",
        ".../peers/bin/python",
        "--rounds=9",
    ]


@pytest.mark.parametrize("case", [SMALL, ODD], ids=["speech", "odd"])
def test_the_floor_and_librosa_agree_with_the_reference(benchmark_modules, case):
    contestants = benchmark_modules[2].CONTESTANTS
    for name in ("floor", "floor, in blocks", "librosa, clip by clip", "librosa, in batch"):
        contestant = contestants[name]({**case, "threads": 2})
        contestant.run()
        assert contestant.check() < 1e-4, name


def test_a_wrong_result_shows(benchmark_modules):
    contestant = benchmark_modules[2].CONTESTANTS["librosa, in batch"]({**SMALL, "threads": 1})
    right = contestant._check()
    contestant._check = lambda: right + np.where(np.arange(right.shape[1])[:, None] == 3, 0.5, 0.0)
    assert contestant.check() == pytest.approx(0.5, abs=1e-3)


def test_a_run_measures_who_is_there_and_names_who_is_not(benchmark_modules, monkeypatch, tmp_path, capsys):
    rounds, log_mel, _ = benchmark_modules
    for name, value in (("CASES", {"small": SMALL}), ("HERE", ("floor, in blocks", "floor")), ("PEERS", ("kapre",))):
        monkeypatch.setattr(log_mel, name, value)
    monkeypatch.setattr(log_mel, "OURS", "floor, in blocks")
    monkeypatch.setattr(rounds, "pin", lambda threads: None)  # or the rest of the tests would stay on these cores
    file = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", [str(Path(log_mel.__file__)), "--rounds=3", "--threads=1", f"--json={file}"])
    log_mel.main()
    case = json.loads(file.read_text())["cases"]["small"]
    first, second, third = case["contestants"]
    assert len(first["rounds_ms"]) == len(second["rounds_ms"]) == 3
    assert first["difference"] < 1e-4
    assert first["memory_peak_mb"] > 1
    assert "kapre" in third["problem"]
    assert set(case["times_ours"]) == {"floor"}
    assert "kapre takes no part: " in capsys.readouterr().out
    rows = list(csv.DictReader(file.with_suffix(".csv").open()))
    assert [row["contestant"] for row in rows] == ["floor, in blocks", "floor", "kapre"]
    assert float(rows[0]["median_ms"]) == first["median_ms"]
    assert file.with_suffix(".png").stat().st_size > 5_000
