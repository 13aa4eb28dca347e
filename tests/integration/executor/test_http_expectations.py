"""`Expect: 100-continue`: the body waits until it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskforge.executor.actions.http import HttpAction
from taskforge.executor.web.client import Client
from taskforge.executor.web.egress import EgressPolicy
from tests.integration.executor.test_http_step import Sender


class Doorkeeper:
    """Takes bodies, or refuses them by what their request's head says, and keeps what came over each connection."""

    def __init__(self) -> None:
        self.connections: list[bytearray] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        seen = bytearray()
        self.connections.append(seen)
        while head := await self._read_head(reader, seen):
            if b"POST /refused" in head:
                writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
                continue
            if b"expect: 100-continue" in head:
                await asyncio.sleep(0.05)
                assert not reader._buffer  # type: ignore[attr-defined]
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if b"content-length: 4" in head:
                seen += await reader.readexactly(4)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def _read_head(self, reader: asyncio.StreamReader, seen: bytearray) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        seen += head
        return head


@pytest.fixture
async def send() -> AsyncIterator[Sender]:
    client = Client(EgressPolicy())
    yield Sender(HttpAction(client))
    await client.close()


@pytest.fixture
async def doorkeeper() -> Doorkeeper:
    return Doorkeeper()


@pytest.fixture
async def url(doorkeeper: Doorkeeper) -> AsyncIterator[str]:
    server = await asyncio.start_server(doorkeeper.serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_body_is_sent_when_it_is_wanted(send: Sender, doorkeeper: Doorkeeper, url: str) -> None:
    for _ in range(2):
        output = await send.output(f"{url}/taken", method="POST", body="body", headers={"Expect": "100-continue"})
        assert output["status"] == 200
    [seen] = doorkeeper.connections
    assert seen.count(b"\r\n\r\nbody") == 2


async def test_a_body_that_is_refused_is_never_sent(send: Sender, doorkeeper: Doorkeeper, url: str) -> None:
    """The other side may wait for it all the same, so what comes next goes over another connection."""
    error = await send.error(f"{url}/refused", method="POST", body="body", headers={"Expect": "100-continue"})
    assert error.status == 417
    assert (await send.output(f"{url}/taken"))["status"] == 200
    first, second = doorkeeper.connections
    assert first.endswith(b"\r\n\r\n")
    assert second.startswith(b"GET /taken")
