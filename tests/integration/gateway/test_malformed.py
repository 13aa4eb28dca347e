"""What is no message at all is the caller's mistake, not the server's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.gateway import Api, Platform, Refusal
from tests.support.postgres import Database

_RUN_SERVICE = "/taskforge.v1.RunService"


@pytest.fixture
async def api(folder: Path, database: Database) -> AsyncIterator[Api]:
    async with Platform.over(folder, database).gateway() as api:
        yield api


async def refused(api: Api, method: str, data: bytes, *, metadata: Any = ()) -> Refusal:
    """How bytes are refused that are sent as they are."""
    path = f"{_RUN_SERVICE}/{method}"
    call: Any = api.channel.unary_stream(path) if method == "WatchRun" else api.channel.unary_unary(path)
    try:
        answer = call(data, metadata=metadata)
        if method == "WatchRun":
            async for _ in answer:
                pass
        else:
            await answer
    except grpc.aio.AioRpcError as error:
        return Refusal(error)
    raise AssertionError("it was not refused")


@pytest.mark.parametrize("method", ["GetRun", "StartRun", "WatchRun"])
@pytest.mark.parametrize("data", [b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"\xff" * 20], ids=["no text", "cut off", "junk"])
async def test_a_request_that_cannot_be_read_is_refused(api: Api, method: str, data: bytes) -> None:
    refusal = await refused(api, method, data, metadata=api.metadata)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "REQUEST_INVALID"


async def test_who_has_no_token_is_told_that_first(api: Api) -> None:
    refusal = await refused(api, "GetRun", b"\xff")
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
