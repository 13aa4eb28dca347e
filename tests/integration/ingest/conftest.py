"""Ingest, scheduler and gateway over the test's own database, with one webhook applied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.gateway import Api, Platform
from tests.support.hooks import DEPLOY, SECRET, Sender, set_secret, webhook_path
from tests.support.postgres import Database


@pytest.fixture
def platform(folder: Path, database: Database) -> Platform:
    """Where the services of a test live."""
    return Platform.over(folder, database)


@pytest.fixture
async def api(platform: Platform) -> AsyncIterator[Api]:
    """A gateway that knows the secret of the senders."""
    async with platform.gateway() as api:
        await set_secret(api, "GH_HOOK", SECRET)
        yield api


@dataclass
class Schedulers:
    """The scheduler, which a test may stop and start."""

    platform: Platform
    running: AsyncExitStack

    async def start(self) -> None:
        """Start it."""
        await self.running.enter_async_context(self.platform.scheduler())

    async def stop(self) -> None:
        """Stop it."""
        await self.running.aclose()


@pytest.fixture
async def scheduler(platform: Platform) -> AsyncIterator[Schedulers]:
    """A scheduler that is running."""
    async with AsyncExitStack() as running:
        schedulers = Schedulers(platform, running)
        await schedulers.start()
        yield schedulers


@pytest.fixture
async def sender(platform: Platform, api: Api, scheduler: Schedulers) -> AsyncIterator[Sender]:
    """Sends to the webhook of `deploy`."""
    await api.apply(DEPLOY)
    async with platform.ingest() as stub:
        yield Sender(stub, await webhook_path(api), platform.database)
