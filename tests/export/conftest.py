"""The exports that all tests here look at."""

from __future__ import annotations

import pytest

from tests.export.small_runs import Exported, exported


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("cnn", tmp_path_factory.mktemp("cnn"))


@pytest.fixture(scope="session")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("attention", tmp_path_factory.mktemp("attention"))


@pytest.fixture(scope="session", params=["cnn", "attention"])
def run(request: pytest.FixtureRequest) -> Exported:
    """Each architecture in turn."""
    result: Exported = request.getfixturevalue(request.param)
    return result
