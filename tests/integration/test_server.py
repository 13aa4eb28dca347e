"""What callers hear of calls that a service does not serve to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskforge.runtime.server import Server
from taskforge.v1 import run_pb2, run_service_pb2
from taskforge.v1.run_service_pb2_grpc import RunServiceServicer, RunServiceStub, add_RunServiceServicer_to_server

REQUEST = run_service_pb2.GetRunRequest(name="runs/a")


class Runs(RunServiceServicer):
    def __init__(self) -> None:
        self.seen = 0

    async def GetRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.seen += 1
        if request.name == "runs/cancelled":
            raise asyncio.CancelledError  # as from a task of the service's own that it awaits
        return run_pb2.Run(name=request.name)

    async def WatchRun(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        yield run_service_pb2.WatchRunResponse()
        raise asyncio.CancelledError


@pytest.fixture
async def runs(folder: Path) -> AsyncIterator[tuple[Runs, Server, str]]:
    address = f"unix:{folder}/service.sock"
    servicer, server = Runs(), Server(address, lambda _method, _metadata: "anybody")
    add_RunServiceServicer_to_server(servicer, server.services)
    await server.start()
    yield servicer, server, address
    await server.stop(0)


async def test_calls_that_no_handler_has_seen_are_told_so_in_words_that_the_edge_knows(
    runs: tuple[Runs, Server, str],
) -> None:
    servicer, server, address = runs
    with grpc.insecure_channel(address) as channel:
        stub = RunServiceStub(channel)
        assert await asyncio.to_thread(stub.GetRun, REQUEST)
        calls = [stub.GetRun.future(REQUEST, timeout=30) for _ in range(50)]
        time.sleep(0.5)  # noqa: ASYNC251 -- so that all of them have arrived, and nobody has looked at them
        await server.stop(5)
        errors = [error for call in calls if (error := await asyncio.to_thread(call.exception)) is not None]
    assert len(errors) == 51 - servicer.seen
    assert {(error.code(), error.details()) for error in errors} == {(grpc.StatusCode.CANCELLED, "CANCELLED")}


async def test_work_that_is_cancelled_without_its_call_is_a_fault_and_told(runs: tuple[Runs, Server, str]) -> None:
    async with grpc.aio.insecure_channel(runs[2]) as channel:
        stub: Any = RunServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetRun(run_service_pb2.GetRunRequest(name="runs/cancelled"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stub.WatchRun(run_service_pb2.WatchRunRequest(name="runs/a"), timeout=10):
                pass
        assert caught.value.code() is grpc.StatusCode.INTERNAL
