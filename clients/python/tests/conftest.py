"""Fixtures: a server, and both clients behind one interface."""

from collections.abc import Iterator

import pytest

import ledger


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ledger.Ledger]:
    """Return a server that all tests of a run share."""
    with ledger.serve(ledger.create(tmp_path_factory.mktemp("ledger"))) as running:
        yield running
