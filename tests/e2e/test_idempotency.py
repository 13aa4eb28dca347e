"""A start that is sent again, because its answer was lost, is still one start."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from tests.e2e.stories import Workflows
from tests.support.api import Api, start_request

ONE = """
    name: $name
    inputs:
      n: {type: integer}
    steps:
      - {id: work, transform: {value: "${{ inputs.n }}"}}
"""


async def test_the_same_request_over_grpc_starts_one_run(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply(ONE)
    runs = await asyncio.gather(*(api.start(name, request_id="order-17", n=1) for _ in range(20)))
    assert len({run.name for run in runs}) == 1
    await api.ended(runs[0].name)
    assert (await api.start(name, request_id="order-17", n=1)).name == runs[0].name
    assert (await api.start(name, request_id="order-18", n=1)).name != runs[0].name
    assert len(await api.runs_of(name)) == 2


async def test_the_same_request_over_http_starts_one_run(
    api: Api, http: aiohttp.ClientSession, workflows: Workflows
) -> None:
    name = await workflows.apply(ONE)

    async def start() -> Any:
        body = {"inputs": {"n": 1}, "request_id": "order-17"}
        async with http.post(f"/v1/workflows/{name}:start", json=body) as answer:
            assert answer.status == 200
            return (await answer.json())["name"]

    assert len(set(await asyncio.gather(*(start() for _ in range(20))))) == 1
    # One key, whichever way it came.
    assert (await api.start(name, request_id="order-17", n=1)).name == await start()
    assert len(await api.runs_of(name)) == 1


async def test_a_key_that_is_used_for_something_else_is_refused(api: Api, workflows: Workflows) -> None:
    name, other = await workflows.apply(ONE), await workflows.apply(ONE)
    await api.start(name, request_id="order-17", n=1)
    refused = await api.refused(api.runs.StartRun, start_request(name, {"n": 2}, request_id="order-17"))
    assert (refused.code, refused.reason) == ("ALREADY_EXISTS", "IDEMPOTENCY_KEY_REUSED")
    await api.start(other, request_id="order-17", n=2)  # keys belong to a workflow
    assert len(await api.runs_of(name)) == len(await api.runs_of(other)) == 1


async def test_a_refused_start_leaves_its_key_free(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply(ONE)
    refused = await api.refused(api.runs.StartRun, start_request(name, {"n": "x"}, request_id="order-17"))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INPUTS_INVALID")
    assert await api.runs_of(name) == []
    await api.start(name, request_id="order-17", n=1)
