"""The size of a keyword model, whose time `tools/benchmark/keyword_vs_yamnet.py` measures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np


def test_a_keyword_model_fits_where_it_has_to(repository: Path, tmp_path: Path) -> None:
    path = repository / "tools" / "benchmark" / "keyword_vs_yamnet.py"
    spec = importlib.util.spec_from_file_location("keyword_vs_yamnet", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    clips = np.random.default_rng(0).uniform(-0.1, 0.1, [8, tool.RATE]).astype(np.float32)
    whole, classifier = tool.convert(tool.make("keyword", clips, 12), "int8", clips, tmp_path)
    assert len(whole) <= 100_000
    assert classifier <= 60_000
