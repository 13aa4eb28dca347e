"""One stack for all stories: each makes workflows with names of its own, so it may also be a stack that others use.

TASKFORGE_TEST_REDIS=off       our own stack runs without Redis
TASKFORGE_TEST_SERVER, _TOKEN  a stack that runs elsewhere; TASKFORGE_TEST_TARGET_HOST is then the address of this
                               machine at which its executors reach the tests' server
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.e2e.stories import Workflows
from tests.support.api import Api
from tests.support.failures import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.stack import OwnStack, Stack, chosen_stack
from tests.support.target import Target


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The product."""
    with chosen_stack() as stack:
        yield stack


@pytest.fixture
def own_stack(stack: Stack) -> OwnStack:
    """The product, for stories that must touch its processes."""
    if not isinstance(stack, OwnStack):
        pytest.skip("needs a stack whose processes belong to the tests")
    return stack


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[Api]:
    """The API over gRPC."""
    client = Api(stack.server, stack.token)
    yield client
    await client.close()


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """The API over HTTP: relative URLs, with the token."""
    async with aiohttp.ClientSession(stack.server, headers={"Authorization": f"Bearer {stack.token}"}) as session:
        yield session


@pytest.fixture
async def anyone(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """The public port, for somebody without a token."""
    async with aiohttp.ClientSession(stack.server) as session:
        yield session


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """The outside world, at an address that the executors reach."""
    server = Target(os.environ.get("TASKFORGE_TEST_TARGET_HOST", "127.0.0.1"))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def workflows(api: Api, target: Target) -> AsyncIterator[Workflows]:
    """Applies a story's workflows, and deletes them at its end so that no schedule goes on."""
    made = Workflows(api, target=target.url(""))
    yield made
    await made.delete()
