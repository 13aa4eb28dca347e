"""The fault proxy between plain clients and a server that sends back what it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.chaos.parts.proxy import Link, Proxy, fault_proxy
from tests.support.waiting import eventually

#: How long nothing has to arrive until we believe that nothing does.
_SILENCE_SECONDS = 0.15
_LATENCY_SECONDS = 0.1
_APART_SECONDS = 0.002  #: so that they are not sent as one

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that sends everything back."""

    def __init__(self) -> None:
        self.connects = 0
        self.received = b""
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connects += 1
        try:
            while data := await reader.read(65536):
                self.received += data
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self.ended += 1
            writer.close()


class Bench:
    """An echo behind a link, and clients."""

    def __init__(self, link: Link, echo: Echo, stack: AsyncExitStack) -> None:
        self.link = link
        self.echo = echo
        self._stack = stack

    async def connect(self) -> Connection:
        if self.link.address.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(self.link.address.removeprefix("unix:"))
        else:
            host, _, port = self.link.address.partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
        self._stack.callback(writer.close)
        return reader, writer

    async def talking(self) -> Connection:
        """A connection that has been used."""
        connection = await self.connect()
        assert await say(connection, b"hello") == b"hello"
        return connection


async def say(connection: Connection, data: bytes) -> bytes:
    reader, writer = connection
    writer.write(data)
    await writer.drain()
    return await reader.readexactly(len(data))


async def is_silent(connection: Connection) -> bool:
    try:
        await asyncio.wait_for(connection[0].read(1), _SILENCE_SECONDS)
    except TimeoutError:
        return True
    return False


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with fault_proxy() as found:
        yield found


@pytest.fixture(params=["unix", "tcp"])
async def bench(request: pytest.FixtureRequest, proxy: Proxy, folder: Path) -> AsyncIterator[Bench]:
    echo = Echo()
    async with AsyncExitStack() as stack:
        if request.param == "unix":
            server = await asyncio.start_unix_server(echo.serve, folder / "echo.sock")
            listen, upstream = f"unix:{folder}/proxy.sock", f"unix:{folder}/echo.sock"
        else:
            server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
            listen, upstream = "127.0.0.1:0", f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        stack.callback(server.close)
        link = proxy.open(f"{folder}", listen=listen, upstream=upstream)
        yield Bench(link, echo, stack)
        link.refuse()


async def test_what_is_sent_arrives(bench: Bench) -> None:
    connection = await bench.connect()
    large = bytes(range(256)) * 4096
    back, _ = await asyncio.gather(connection[0].readexactly(len(large)), _write(connection, large))
    assert back == large
    report = bench.link.report()
    assert (report.connects, report.connections, report.busiest_second) == (1, 1, 1)
    assert (report.bytes_to_server, report.bytes_to_client) == (len(large), len(large))


async def _write(connection: Connection, data: bytes) -> None:
    connection[1].write(data)
    await connection[1].drain()


async def test_the_end_of_a_client_reaches_the_server(bench: Bench) -> None:
    _, writer = await bench.talking()
    writer.close()
    await eventually(lambda: _equal(bench.echo.ended, 1))
    await eventually(lambda: _equal(bench.link.connections, 0))


def _equal(found: object, expected: object) -> None:
    assert found == expected


async def test_latency_delays_each_way_and_not_the_throughput(bench: Bench) -> None:
    connection = await bench.talking()
    bench.link.latency(_LATENCY_SECONDS)
    started = time.monotonic()
    assert await say(connection, b"slow") == b"slow"
    assert 2 * _LATENCY_SECONDS <= time.monotonic() - started < 5 * _LATENCY_SECONDS

    started = time.monotonic()
    for _ in range(20):  # one after the other: they share the delay
        connection[1].write(b"x" * 100)
        await asyncio.sleep(_APART_SECONDS)
    await connection[0].readexactly(2000)
    assert time.monotonic() - started < 6 * _LATENCY_SECONDS


async def test_latency_of_one_way(bench: Bench) -> None:
    connection = await bench.talking()
    bench.link.latency(_LATENCY_SECONDS, jitter=_LATENCY_SECONDS / 2, direction="to_client")
    started = time.monotonic()
    assert await say(connection, b"slow") == b"slow"
    assert 0.5 * _LATENCY_SECONDS <= time.monotonic() - started < 4 * _LATENCY_SECONDS


async def test_a_heal_releases_what_is_delayed(bench: Bench) -> None:
    reader, writer = await bench.talking()
    bench.link.latency(60.0)
    writer.write(b"later")
    assert await is_silent((reader, writer))
    bench.link.heal()
    assert await asyncio.wait_for(reader.readexactly(5), 2) == b"later"


async def test_bandwidth_is_limited(bench: Bench) -> None:
    connection = await bench.talking()
    bench.link.bandwidth(100_000)
    started = time.monotonic()
    await say(connection, b"x" * 30_000)
    assert 0.3 <= time.monotonic() - started < 1.5


async def test_a_cut_breaks_connections_and_welcomes_new_ones(bench: Bench) -> None:
    connections = [await bench.talking() for _ in range(3)]
    bench.link.cut()
    for connection in connections:
        assert await _is_broken(connection, by_reset="." in bench.link.address.partition(":")[0])
    await bench.talking()
    assert bench.link.report().connections_cut == 3
    assert bench.link.report().controls == {"cut": 1}


async def _is_broken(connection: Connection, *, by_reset: bool = False) -> bool:
    try:
        data = await asyncio.wait_for(connection[0].read(1), 2)
    except ConnectionResetError:
        return True
    return data == b"" and not by_reset


async def test_a_cut_happens_in_the_middle_of_a_message(bench: Bench) -> None:
    _, writer = await bench.talking()
    bench.link.cut_after(3)
    writer.write(b"message")
    await eventually(lambda: _equal(bench.echo.ended, 1))
    assert bench.echo.received == b"hellomes"
    await bench.talking()


async def test_everybody_is_refused(bench: Bench) -> None:
    before = await bench.talking()
    bench.link.refuse()
    assert await _is_broken(before)
    for _ in range(5):
        assert await _is_broken_at_once(bench)
    assert bench.echo.connects == 1
    report = bench.link.report()
    assert (report.refused, report.connects, report.connections) == (5, 6, 0)
    bench.link.heal()
    await bench.talking()


async def _is_broken_at_once(bench: Bench) -> bool:
    try:
        return await _is_broken(await bench.connect())
    except ConnectionResetError:
        return True


async def test_a_blackhole_keeps_what_it_holds(bench: Bench) -> None:
    old = await bench.talking()
    bench.link.blackhole()
    new = await bench.connect()
    for _, writer in (old, new):
        writer.write(b"held")
    assert await is_silent(old)
    assert await is_silent(new)
    assert bench.echo.connects == 1
    bench.link.heal()
    for reader, _ in (old, new):
        assert await asyncio.wait_for(reader.readexactly(4), 2) == b"held"


async def test_nobody_hears_of_those_who_gave_up_in_a_blackhole(bench: Bench) -> None:
    bench.link.blackhole()
    _, writer = await bench.connect()
    writer.write(b"anybody?")
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: _equal(bench.link.connects, 1))
    bench.link.heal()
    await eventually(lambda: _equal(bench.link.connections, 0))
    assert bench.echo.connects == 0


async def test_a_blackhole_may_have_one_way_out(bench: Bench) -> None:
    reader, writer = await bench.talking()
    bench.link.blackhole("to_client")
    writer.write(b"one way")
    await eventually(lambda: _equal(bench.echo.received, b"helloone way"))
    assert await is_silent((reader, writer))
    bench.link.heal()
    assert await asyncio.wait_for(reader.readexactly(7), 2) == b"one way"


async def test_a_cut_ends_a_blackholed_connection(bench: Bench) -> None:
    connection = await bench.talking()
    bench.link.blackhole()
    connection[1].write(b"held")
    assert await is_silent(connection)
    bench.link.cut()
    assert await _is_broken(connection)
    await eventually(lambda: _equal(bench.echo.ended, 1))


async def test_stranded_connections_are_silent_for_ever(bench: Bench) -> None:
    old = await bench.talking()
    bench.link.strand()
    old[1].write(b"hello?")
    assert await is_silent(old)
    assert await say(await bench.connect(), b"hello") == b"hello"
    assert bench.echo.received == b"hellohello"
    bench.link.heal()
    assert await _is_broken(old)


async def test_a_server_that_is_away_is_no_server(proxy: Proxy, folder: Path) -> None:
    link = proxy.open("away", listen=f"unix:{folder}/away.sock", upstream=f"{folder}/nobody.sock")
    connection = await asyncio.open_unix_connection(folder / "away.sock")
    assert await _is_broken(connection)
    connection[1].close()
    assert link.report().unreachable == 1


def test_what_makes_no_sense_is_told(proxy: Proxy, folder: Path) -> None:
    link = proxy.open("plain", listen=f"unix:{folder}/plain.sock", upstream=f"{folder}/nobody.sock")
    with pytest.raises(RuntimeError, match="postgres=True"):
        link.lose_commit_replies()
    with pytest.raises(RuntimeError, match="no control"):
        proxy.ask("fly", "plain", {})
