"""A gateway over the test's own database, alone or with a scheduler behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import Api, Platform
from tests.support.postgres import Database


@pytest.fixture
def platform(folder: Path, database: Database) -> Platform:
    """Where gateway and scheduler of a test live."""
    return Platform.over(folder, database)


@pytest.fixture
async def api(platform: Platform) -> AsyncIterator[Api]:
    """A gateway. No scheduler answers unless the test asks for one."""
    async with platform.gateway() as api:
        yield api


@pytest.fixture
async def scheduler(platform: Platform) -> AsyncIterator[None]:
    """A scheduler behind the gateway."""
    async with platform.scheduler():
        yield
