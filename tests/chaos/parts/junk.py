"""Peers that speak HTTP badly on purpose. Frames and headers are written by hand: a library would refuse to."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _PRIORITY, _RST, _SETTINGS, _PING, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
PATIENCE_SECONDS = 15.0

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a connection ended: whether the other side closed it, after how long, and how it began to answer."""

    closed: bool
    seconds: float
    answer: bytes = b""


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None) -> bytes:
    """An HTTP/2 frame; its length may be a lie."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def hpack(headers: Headers) -> bytes:
    """Headers as literals without indexing."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def _text(text: str) -> bytes:
    raw = text.encode("latin-1")
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, size = bytearray(), len(raw) - 127
    while size >= 128:
        rest.append(size % 128 + 128)
        size //= 128
    return b"\x7f" + bytes((*rest, size)) + raw


def request(path: str, *more: tuple[str, str], method: str = "POST", kind: str = "application/grpc") -> Headers:
    """The headers of a request."""
    first = ((":method", method), (":scheme", "http"), (":path", path), (":authority", "edge"))
    return (*first, ("content-type", kind), ("te", "trailers"), *more)


GRPC_PATH = "/taskforge.v1.RunService/GetRun"
GET_RUN = frame(_HEADERS, hpack(request(GRPC_PATH)), flags=_END_HEADERS, stream=1)


def hello() -> bytes:
    """The beginning of any HTTP/2 connection."""
    return PREFACE + frame(_SETTINGS)


def noise(rng: random.Random) -> bytes:
    """Not HTTP at all."""
    return rng.randbytes(4096)


def tls_hello(rng: random.Random) -> bytes:
    """The beginning of TLS, where none is spoken."""
    return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(508)


def random_frames(rng: random.Random) -> bytes:
    """A proper beginning, then frames of any kind and size."""
    found = [hello()]
    for _ in range(200):
        payload = rng.randbytes(rng.choice((0, 1, 4, 5, 8, 9, 100, 16_384)))
        found.append(frame(rng.randrange(20), payload, flags=rng.randrange(256), stream=rng.randrange(2**31)))
    return b"".join(found)


def giant_frame(rng: random.Random) -> bytes:
    """A frame that claims sixteen megabytes."""
    return hello() + frame(_DATA, rng.randbytes(1000), stream=1, length=2**24 - 1)


def endless_headers(rng: random.Random) -> bytes:
    """Headers that go on in the next frame, again and again, beyond the 512 frames that Envoy reads over."""
    more = frame(_CONTINUATION, hpack([("x-more", "a" * 1000)] * 10), stream=1)
    return hello() + frame(_HEADERS, hpack(request(GRPC_PATH)), stream=1) + more * rng.randrange(600, 900)


def header_bomb(rng: random.Random) -> bytes:
    """One large header in the table, then thousands of references to it."""
    stored = b"\x40" + _text("x-bomb") + _text("b" * 3800)
    block = hpack(request(GRPC_PATH)) + stored + b"\xbe" * rng.randrange(10_000, 12_000)
    return hello() + frame(_HEADERS, block, flags=_END_HEADERS | _END_STREAM, stream=1)


def broken_table(rng: random.Random) -> bytes:
    """References to headers that do not exist."""
    return hello() + frame(_HEADERS, b"\xff\xff\xff\xff\x0f" + rng.randbytes(20), flags=_END_HEADERS, stream=1)


def many_streams(count: int) -> Callable[[random.Random], bytes]:
    """Thousands of requests that never end."""

    def write(_: random.Random) -> bytes:
        block = hpack(request(GRPC_PATH))
        streams = (frame(_HEADERS, block, flags=_END_HEADERS, stream=2 * number + 1) for number in range(count))
        return hello() + b"".join(streams)

    return write


def rapid_resets(count: int) -> Callable[[random.Random], bytes]:
    """Requests that are taken back as soon as they are sent."""

    def write(_: random.Random) -> bytes:
        block, cancel = hpack(request(GRPC_PATH)), struct.pack(">I", 8)
        pairs = (
            frame(_HEADERS, block, flags=_END_HEADERS, stream=stream) + frame(_RST, cancel, stream=stream)
            for stream in range(1, 2 * count, 2)
        )
        return hello() + b"".join(pairs)

    return write


def floods(rng: random.Random) -> bytes:
    """Settings, pings, priorities and empty data without end."""
    one = rng.choice(
        (
            frame(_SETTINGS),
            frame(_PING, b"12345678"),
            frame(_PRIORITY, struct.pack(">IB", 0, 1), stream=3),
            frame(_WINDOW_UPDATE, struct.pack(">I", 1)),
            frame(_DATA, stream=1),
        )
    )
    return hello() + GET_RUN + one * 20_000


def zero_window(_: random.Random) -> bytes:
    """Window updates by nothing, and by too much."""
    return hello() + frame(_WINDOW_UPDATE, bytes(4)) + frame(_WINDOW_UPDATE, b"\x7f\xff\xff\xff") * 2


def grpc_lies(rng: random.Random) -> bytes:
    """A message whose length or compression is a lie."""
    message = rng.choice((b"\x00\xff\xff\xff\xff", b"\x01\x00\x00\x00\x04abcd", b"\x07\x00\x00\x00\x01a", b"\x00\x00"))
    return hello() + GET_RUN + frame(_DATA, message, flags=_END_STREAM, stream=1)


def large_metadata(_: random.Random) -> bytes:
    """A hundred kilobytes of metadata in proper frames."""
    block = hpack([*request(GRPC_PATH), *((f"x-large-{number}", "m" * 4000) for number in range(25))])
    first = frame(_HEADERS, block[:16_000], stream=1)
    pieces = [block[start : start + 16_000] for start in range(16_000, len(block), 16_000)]
    rest = [frame(_CONTINUATION, piece, stream=1) for piece in pieces[:-1]]
    return hello() + first + b"".join(rest) + frame(_CONTINUATION, pieces[-1], flags=_END_HEADERS, stream=1)


def smuggling(rng: random.Random) -> bytes:
    """HTTP/1 requests whose end two readers could see in different places."""
    heads = (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +5\r\n",
        b"X-Nul: a\x00b\r\n",
        b" X-Folded: a\r\n b\r\n",
        b"No colon at all\r\n",
    )
    return (
        b"POST /v1/workflows/x:start HTTP/1.1\r\nHost: edge\r\n"
        + rng.choice(heads)
        + b"\r\n0\r\n\r\nGET /x HTTP/1.1\r\n"
    )


async def say(port: int, words: bytes, *, patience: float = PATIENCE_SECONDS) -> Ending:
    """Connect, say something at once, and wait so many seconds for the other side to close."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(words)
        async with asyncio.timeout(patience):
            with suppress(ConnectionError):
                await writer.drain()
            answer, closed = await _until_closed(reader)
    except TimeoutError:
        closed = False
    finally:
        writer.close()
    return Ending(closed=closed, seconds=time.monotonic() - started, answer=answer[:200])


async def drip(port: int, words: bytes, *, pause: float) -> Ending:
    """Say it byte by byte until the other side closes or everything is said."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_until_closed(reader))
    try:
        for byte in words:
            with suppress(ConnectionError):
                writer.write(bytes((byte,)))
                await writer.drain()
            await asyncio.wait([reading], timeout=pause)
            if reading.done():
                break
    finally:
        closed = reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()
    return Ending(closed=closed, seconds=time.monotonic() - started)


async def _until_closed(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    answer = b""
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            answer = (answer + data)[:1000]
    return answer, True
