"""Measures a peer as the product is measured: the same load, the same clock, the same checks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import psutil

from tests.bench.figures import combined, p50_p99_ms
from tests.bench.http1 import Answer, Connection
from tests.bench.lines import CONNECTIONS, Line
from tests.bench.load import as_fast_as_answered
from tests.bench.target import Target
from tests.bench.workloads import Workload
from tests.support.waiting import eventually

_WARM_UP_RUNS = 100
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

    def pids(self) -> Mapping[str, Sequence[int]]:
        """Every process, by what it is."""


async def throughput(peer: Peer, server: Target, workload: Workload, runs: int, repeat: int) -> dict[str, Any]:
    """Measure a workload."""
    async with _open_lines(peer.url) as lines:
        await _repetition(peer, server, workload, lines, min(_WARM_UP_RUNS, runs))
        samples = [await _repetition(peer, server, workload, lines, runs) for _ in range(repeat)]
    return {"runs": runs, "via": "http", **combined(samples)}


async def _repetition(
    peer: Peer, server: Target, workload: Workload, lines: Sequence[Line], runs: int
) -> dict[str, Any]:
    """Run once. The peer is at rest before and after.

    Raises:
        AssertionError: not every run succeeded, or the target was not called as often as it should have been.
    """
    wanted, hits = (await peer.ended(workload.name)).succeeded + runs, server.count()
    before = _cpu_seconds(peer)
    own, target = time.process_time(), server.cpu_seconds()
    began = time.time()
    replies = await as_fast_as_answered(lines, [peer.start(workload.name)] * runs)
    own = time.process_time() - own
    ended = await _all_ended(peer, workload, wanted)
    by_process = {name: 1000 * (used - before[name]) / runs for name, used in _cpu_seconds(peer).items()}
    assert server.count() - hits == runs * workload.requests, "the target was called another number of times"
    return {
        "runs_per_s": runs / (ended.last_end - began),
        "acks_per_s": runs / (max(reply.answered for reply in replies) - began),
        "ack_ms": p50_p99_ms(reply.answered - reply.asked for reply in replies),
        "cpu_ms_per_run": sum(by_process.values()),
        "cpu_ms_per_run_by_process": by_process,
        "load_cpu_ms_per_run": 1000 * own / runs,
        "target_cpu_ms_per_run": 1000 * (server.cpu_seconds() - target) / runs,
    }


async def _all_ended(peer: Peer, workload: Workload, wanted: int) -> Ended:
    async def assertion() -> Ended:
        ended = await peer.ended(workload.name)
        assert ended.succeeded == wanted, f"{ended.succeeded} of {wanted} runs have succeeded"
        return ended

    return await eventually(assertion, within=_LONGEST_SECONDS, pause=_POLL_SECONDS)


def _cpu_seconds(peer: Peer) -> dict[str, float]:
    """Processor time by process; children that have ended are in their parent's."""
    found = dict.fromkeys(peer.pids(), 0.0)
    for name, pids in peer.pids().items():
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                found[name] += sum(psutil.Process(pid).cpu_times()[:4])
    return found


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
