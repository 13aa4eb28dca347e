"""Starts runs as fast as the edge takes them, over a fixed number of connections that stay open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from tests.support.api import Api, start_request
from tests.support.stack import Stack

CONNECTIONS = 32

#: Starts one run and returns when it was accepted; one a connection.
Submit = Callable[[], Awaitable[None]]


@asynccontextmanager
async def submitters(stack: Stack, workflow: str, protocol: str) -> AsyncIterator[Sequence[Submit]]:
    """One submitter a connection, by `grpc` or `http`; each is open and warm."""
    open_one = {"grpc": _over_grpc, "http": _over_http}[protocol]
    async with AsyncExitStack() as open_ones:
        made = [await open_one(open_ones, stack, workflow) for _ in range(CONNECTIONS)]
        await asyncio.gather(*(submit() for submit in made))
        yield made


async def submit_all(made: Sequence[Submit], runs: int) -> None:
    """Start that many runs; each connection sends its next one when the last was accepted."""
    left = iter(range(runs))

    async def work(submit: Submit) -> None:
        for _ in left:
            await submit()

    await asyncio.gather(*(work(submit) for submit in made))


async def _over_grpc(open_ones: AsyncExitStack, stack: Stack, workflow: str) -> Submit:
    api = Api(stack.server, stack.token, timeout=60.0)
    open_ones.push_async_callback(api.close)
    request = start_request(workflow, {})

    async def submit() -> None:
        await api.call(api.runs.StartRun, request)

    return submit


async def _over_http(open_ones: AsyncExitStack, stack: Stack, workflow: str) -> Submit:
    session = await open_ones.enter_async_context(
        aiohttp.ClientSession(
            stack.server,
            headers={"Authorization": f"Bearer {stack.token}"},
            connector=aiohttp.TCPConnector(limit=1),
            raise_for_status=True,
        )
    )

    async def submit() -> None:
        async with session.post(f"/v1/workflows/{workflow}:start", json={}) as answer:
            await answer.read()

    return submit
