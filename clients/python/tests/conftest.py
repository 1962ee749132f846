"""Fixtures: a server, and both clients behind one interface."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import distribution
import ledger


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ledger.Ledger]:
    """Return a server that all tests of a run share."""
    with ledger.serve(ledger.create(tmp_path_factory.mktemp("ledger"))) as running:
        yield running


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built wheel."""
    output = tmp_path_factory.mktemp("dist")
    distribution.build(distribution.FOLDER, output)
    (built,) = output.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean environment with the wheel and its dependencies only."""
    return distribution.install(wheel, tmp_path_factory.mktemp("installed"))
