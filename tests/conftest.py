"""Fixtures of every layer. What they are made of is in `tests/support`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.network_guard import forbid_sockets
from tests.support.places import ROOT, short_folder
from tests.support.postgres import Database, PostgresCluster
from tests.support.services import Services
from tests.support.target import Target
from tests.support.valkey import Valkey

# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("taskforge", deadline=None, print_blob=True)
hypothesis.settings.load_profile("taskforge")

_UNIT = ROOT / "tests" / "unit"


@pytest.fixture(autouse=True)
def _unit_tests_open_no_sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if _UNIT in request.path.parents:
        forbid_sockets(monkeypatch)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a path short enough for sockets."""
    with short_folder() as path:
        yield path


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """One PostgreSQL for all tests, with a migrated template."""
    with short_folder() as path:
        cluster = PostgresCluster(path)
        try:
            cluster.start()
            cluster.migrate()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
async def database(postgres_cluster: PostgresCluster) -> AsyncIterator[Database]:
    """A migrated database of the test's own."""
    async with postgres_cluster.database() as database:
        yield database


@pytest.fixture(scope="session")
def _valkey_server() -> Iterator[Valkey]:
    with short_folder() as path:
        server = Valkey(path)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def valkey(_valkey_server: Valkey) -> Valkey:
    """An empty Valkey."""
    _valkey_server.flush()
    return _valkey_server


@pytest.fixture
async def services(folder: Path, database: Database, valkey: Valkey) -> AsyncIterator[Services]:
    """Starts services over the test's own database and an empty Valkey."""
    started = Services(folder, database, valkey)
    try:
        yield started
    finally:
        await started.close()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """An HTTP server that answers as the test scripts it."""
    server = Target()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
