"""The least of HTTP/1.1 that the load generator and the target need, so that they leave the cores to what is measured.

What is sent is built once; what is received is read by its Content-Length; nothing is awaited in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CHUNKED = b"\r\ntransfer-encoding:"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


def request(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request's bytes, with its length and host."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _HEAD_END + body


def message_end(received: bytes) -> int:
    """Where the first message ends; 0 as long as not all of it is there.

    Raises:
        ValueError: it comes in chunks.
    """
    end = received.find(_HEAD_END)
    if end < 0:
        return 0
    head = received[: end + 2].lower()
    start, at = end + len(_HEAD_END), head.find(_LENGTH)
    if at < 0:
        if _CHUNKED in head:
            raise ValueError(f"a message without Content-Length: {head!r}")
        return start
    stop = start + int(head[at + len(_LENGTH) : head.index(b"\r", at + 2)])
    return stop if len(received) >= stop else 0


def answer_of(received: bytes) -> Answer:
    """What an answer that is all there says."""
    return Answer(int(received[9:12]), received[received.index(_HEAD_END) + len(_HEAD_END) :])


class Messages(asyncio.Protocol):
    """A connection on which one message at a time is on its way."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._tell = received
        self._received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received = self._received + data if self._received else data
        if message_end(self._received):
            received, self._received = self._received, b""
            self._tell(received)

    def write(self, content: bytes) -> None:
        """Send a message."""
        assert self.transport is not None, "there is no connection yet"
        self.transport.write(content)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.transport = None


class Connection(Messages):
    """A client's: it stays open, with one request at a time on its way."""

    def __init__(self) -> None:
        super().__init__(lambda received: self._answer(answer_of(received)))
        self._done: Callable[[Answer], None] | None = None

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Connect to where a URL points."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, parts.hostname or "", parts.port or 80))[1]

    def send(self, content: bytes, done: Callable[[Answer], None]) -> None:
        """Send a request; `done` is called with its answer, whose status is 0 if the connection broke."""
        if self.transport is None:
            done(Answer(0, b"the connection is closed"))
            return
        self._done = done
        self.write(content)

    async def close(self) -> None:
        """Close it."""
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        super().connection_lost(exc)
        self._answer(Answer(0, f"the connection is lost: {exc}".encode()))

    def _answer(self, answer: Answer) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)
