"""Servers that send more than anybody asked for, as fast as they can."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from taskforge.domain.outcome import ErrorKind
from taskforge.executor.actions.http import HttpAction
from taskforge.executor.web.client import Client
from taskforge.executor.web.egress import EgressPolicy
from tests.integration.executor.test_http_step import Sender

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_SECONDS = 10.0

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def send() -> AsyncIterator[Sender]:
    client = Client(EgressPolicy())
    yield Sender(HttpAction(client))
    await client.close()


@asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[str]:
    """A server that does something with the bytes of each connection after its first request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def flooding(start: bytes, piece: bytes) -> Answering:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()

    return answer


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints\r\nLink: </x>"])
async def test_heads_without_end_are_a_network_error(send: Sender, status: bytes) -> None:
    async with serving(flooding(b"", (b"HTTP/1.1 " + status + b"\r\n\r\n") * 10_000)) as url:
        error = await asyncio.wait_for(send.error(url), _SECONDS)
    assert (error.kind, error.status) == (ErrorKind.NETWORK, None)
    assert error.message == f"GET {url}: the answer is not valid HTTP: more than 32 heads came for one answer"


async def test_a_few_heads_before_the_last_one_are_fine(send: Sender) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 20

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hints + _OK + b"X-Long: " + b"y" * 6000 + b"\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)

    async with serving(answer) as url:
        output = await send.output(url)
    assert (output["status"], len(output["body"]), len(output["headers"]["x-long"])) == (200, 100_000, 6000)


async def test_a_body_that_ends_with_the_connection_is_whole(send: Sender) -> None:
    body = os.urandom(450_000).hex()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_OK + b"\r\n" + body.encode())

    async with serving(answer) as url:
        for _ in range(5):
            assert (await send.output(url))["body"] == body


@pytest.mark.parametrize("more", [1, 20, 4000])
async def test_what_comes_after_an_answer_is_nobodys_answer(send: Sender, more: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forged = _OK + b"Content-Length: 6\r\n\r\nforged"
        while True:
            writer.write(_OK + b"Content-Length: 4\r\n\r\ntrue" + forged * more)
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")

    async with serving(answer) as url:
        for _ in range(5):
            assert (await send.output(url))["body"] == "true"


async def test_empty_parts_of_a_compressed_body_come_to_an_end(send: Sender) -> None:
    start = _OK + b"Content-Encoding: gzip\r\n\r\n"
    async with serving(flooding(start, gzip.compress(b"") * 10_000)) as url:
        error = await asyncio.wait_for(send.error(url), _SECONDS)
    assert (error.kind, error.message) == (
        ErrorKind.OUTPUT,
        "the answer's compressed body has more than 256 parts",
    )


async def test_tiny_chunks_come_to_an_end_and_hold_up_nobody(send: Sender) -> None:
    """Others get their turn in between, so that a timeout comes in time."""
    async with serving(flooding(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 40_000)) as url:
        error = await asyncio.wait_for(send.error(url, max_body=64 * 1024), _SECONDS)
    assert error.kind is ErrorKind.OUTPUT
