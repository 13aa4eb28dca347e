"""Services are restarted while people work: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from functools import partial

import grpc
import pytest
from aiohttp import web

from taskforge.v1.run_pb2 import Run
from tests.e2e.stories import Workflows
from tests.support.api import Api
from tests.support.stack import OwnStack
from tests.support.target import Target
from tests.support.waiting import eventually

_PEOPLE = 8
_BUSY_SECONDS = 0.2

NOTIFY = """
    name: $name
    inputs:
      n: {type: integer}
    steps:
      - {id: notify, http: {method: POST, url: "$target/notify?n=${{ inputs.n }}"}}
      - {id: after, transform: {value: "${{ steps.notify.output.status }}"}}
"""


@pytest.mark.parametrize("service", ["gateway", "scheduler", "ingest", "executor", "edge"])
async def test_a_restart_under_load_loses_nothing(
    service: str, own_stack: OwnStack, api: Api, workflows: Workflows, target: Target
) -> None:
    target.handle("/notify", _slow)
    name = await workflows.apply(NOTIFY)
    before = own_stack.pids()
    load = _Load(api, name, target)
    async with asyncio.TaskGroup() as people:
        for _ in range(_PEOPLE):
            people.create_task(load.work())
        await eventually(lambda: load.has_done(_PEOPLE))
        await asyncio.to_thread(own_stack.local.restart, [service])
        afterwards = len(load.started) + _PEOPLE
        await eventually(lambda: load.has_done(afterwards))
        load.is_over = True

    runs = [await api.ended(run.name) for run in load.started]
    assert Counter(request.query["n"] for request in target.requests) == Counter(str(n) for n in range(len(runs)))
    assert {step.crashes for run in runs for step in run.steps} == {0}
    after = own_stack.pids()
    assert {process.partition("-")[0] for process, pid in after.items() if before[process] != pid} == {service}


async def _slow(_: web.Request) -> web.Response:
    await asyncio.sleep(_BUSY_SECONDS)  # work that is under way when the restart comes
    return web.json_response({})


class _Load:
    """People who start a run, wait until it does something, and start the next one."""

    def __init__(self, api: Api, workflow: str, target: Target) -> None:
        self.started: list[Run] = []
        self.is_over = False
        self._api = api
        self._workflow = workflow
        self._target = target
        self._numbers = itertools.count()

    def has_done(self, count: int) -> None:
        """Whether that many runs were started."""
        assert len(self.started) >= count, f"{len(self.started)} runs are started"

    async def work(self) -> None:
        """One of the people."""
        while not self.is_over:
            number = next(self._numbers)
            self.started.append(await eventually(partial(self._start, number), pause=0.1))
            await eventually(partial(self._arrived, str(number)))

    async def _start(self, number: int) -> Run:
        """A start that was not confirmed is sent again, as any client of a remote API must be ready to."""
        try:
            return await self._api.start(self._workflow, request_id=f"start-{number}", n=number)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            raise AssertionError(error.details()) from error

    def _arrived(self, number: str) -> None:
        assert any(request.query["n"] == number for request in self._target.requests)
