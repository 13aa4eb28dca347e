"""Fixtures of all integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.engine import Engine
from tests.support.postgres import Database


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[Engine]:
    """A scheduler without its server: the test plays the executor."""
    engine = Engine(database)
    yield engine
    await engine.close()
