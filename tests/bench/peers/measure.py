"""Measures a peer as the product is measured: the same load, the same clock, the same checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tests.bench.figures import combined
from tests.bench.http1 import Answer, Connection
from tests.bench.lines import CONNECTIONS, Line
from tests.bench.repetition import WARM_UP_RUNS, work
from tests.bench.systems import Member
from tests.bench.target import Target
from tests.bench.workloads import Workload
from tests.support.waiting import eventually

#: Peers answer this question with a scan of their store, so it is rarely asked; the end is what the store says it was.
_POLL_SECONDS = 0.3
_LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a peer's own store says of all runs of one kind so far."""

    succeeded: int
    last_end: float  #: seconds since the epoch; 0 if there are none


class Peer(Protocol):
    """Another engine that runs."""

    version: str
    url: str  #: where runs are started

    def start(self, workload: str) -> bytes:
        """The request that starts a run and is answered when that is durable."""

    async def ended(self, workload: str) -> Ended:
        """What became of the runs of a workload."""

    def members(self) -> Sequence[Member]:
        """Every process."""


async def throughput(peer: Peer, server: Target, workload: Workload, runs: int, repeat: int) -> dict[str, Any]:
    """Measure a workload."""
    async with _open_lines(peer.url) as lines:
        await _repetition(peer, server, workload, lines, min(WARM_UP_RUNS, runs))
        samples = [await _repetition(peer, server, workload, lines, runs) for _ in range(repeat)]
    return {"runs": runs, "via": "http", **combined(samples)}


async def _repetition(
    peer: Peer, server: Target, workload: Workload, lines: Sequence[Line], runs: int
) -> dict[str, Any]:
    wanted = (await peer.ended(workload.name)).succeeded + runs
    starts = [peer.start(workload.name)] * runs

    async def last_end(_since: float) -> float:
        return (await _all_ended(peer, workload, wanted)).last_end

    return (await work(workload, server, lines, starts, members=peer.members, last_end=last_end)).figures()


async def _all_ended(peer: Peer, workload: Workload, wanted: int) -> Ended:
    async def assertion() -> Ended:
        ended = await peer.ended(workload.name)
        assert ended.succeeded == wanted, f"{ended.succeeded} of {wanted} runs have succeeded"
        return ended

    return await eventually(assertion, within=_LONGEST_SECONDS, pause=_POLL_SECONDS)


@asynccontextmanager
async def _open_lines(url: str) -> AsyncIterator[Sequence[Line]]:
    async with AsyncExitStack() as stack:
        made: list[Line] = []
        for _ in range(CONNECTIONS):
            connection = await Connection.open(url)
            stack.push_async_callback(connection.close)
            made.append(_Line(connection))
        yield made


class _Line:
    """A connection to which 202 is as good as 200: a peer accepts so what it will do later."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, content: bytes, done: Callable[[Answer], None]) -> None:
        self._connection.send(
            content, lambda answer: done(replace(answer, status=200) if answer.status == 202 else answer)
        )

    async def close(self) -> None:
        await self._connection.close()
