"""Calls between the services and from outside that end in every way in which a call can."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial

import grpc

from taskforge.internal.v1.scheduler_service_pb2 import StartRun, StartRunsRequest
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from taskforge.v1.run_service_pb2_grpc import RunServiceStub
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.keeper import Member
from tests.chaos.world.load import HEAD, Load, Workload
from tests.chaos.world.logs import Logs
from tests.chaos.world.nemesis import LINKS
from tests.chaos.world.recovery import recovered
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.world import World
from tests.support.api import ApiError, error_of, start_request
from tests.support.waiting import eventually

_LINKS = (*LINKS, "edge-gateway", "edge-ingest")
#: The links that carry gRPC.
_CALLING = ("edge-gateway", "gateway-scheduler", "ingest-scheduler", "executor-scheduler")
_CUT_BYTES = 6000  #: at most so many more pass: a few messages
_SAMPLES = 5
_PATIENT = 3.0  #: callers hang up after so many times the usual time, at the latest
_AT_ONCE = 8
_STEADY = 4
_PATIENCE_SECONDS = 60.0
_LARGE = 5 * 1024 * 1024
_TOO_LARGE = 65 * 1024 * 1024  #: more than any service takes
_CALL_SECONDS = 20.0
#: A peer that has vanished is found by pings, and then everybody recovers.
_VANISHED_SECONDS = 10.0 + RECOVERY_SECONDS
#: What nobody means to answer.
_UNTYPED = frozenset({"UNKNOWN", "INTERNAL", "DATA_LOSS"})
#: What a proxy says to both sides when one of them leaves in the middle of an answer.
_IN_BETWEEN = "RST_STREAM"

_QUICK = Workload(
    source=HEAD
    + """
  - id: shape
    transform: {{value: {{ticket: "${{{{ inputs.ticket }}}}"}}}}
output: ${{{{ steps.shape.output.ticket }}}}
"""
)


@experiment(
    "F41",
    "Callers hang up, messages are too large, connections break in the middle of one, peers vanish and say goodbye",
    threshold="typed errors, one run a key, no UNKNOWN, no traceback in any log",
    seconds=70,
    in_subset=False,
)
async def calls_end_badly(lab: Lab) -> None:
    async with lab.world(links=_LINKS) as world:
        logs = Logs(world)
        errors: Counter[ApiError] = Counter()
        async with lab.load(world, runs=0, workload=_QUICK) as load:
            await _hang_up(lab, load, lab.times(1000, least=100))
            errors += load.driver.errors
            await load.finished()
            await lab.verify(world, load)
            errors += await _send_large_messages(lab, world, load.name)
        async with lab.load(world, runs=None, at_once=_STEADY) as load:
            await _break_messages(lab, world, load)
            await _vanish(lab, world, load)
            await _say_goodbye(lab, world)
            await load.finished()
            await lab.verify(world, load)
            errors += load.driver.errors
        codes: Counter[str] = Counter()
        for told, count in errors.items():
            codes[told.code] += count
            typed = told.code not in _UNTYPED or _IN_BETWEEN in told.message
            lab.expect(typed, f"{count} calls ended with {told.code}: {told.message}")
        for code, count in sorted(codes.items()):
            lab.measured(code, count)
        for line in logs.blew_up():
            lab.expect(False, f"in a log: {line}")


async def _hang_up(lab: Lab, load: Load, count: int) -> None:
    """At random moments of a start, half of them by a deadline; each is then asked for again."""
    most = _PATIENT * await _usual_seconds(load)
    plans = iter([(f"{load.name}-{number}", lab.rng.uniform(0, most), number % 2 == 0) for number in range(count)])
    before = _answered(load)

    async def caller(process: int) -> None:
        for ticket, after, politely in plans:
            await load.driver.hang_up(ticket, process=process, after=after, politely=politely)
            lab.injected("start with a deadline that passes" if politely else "start that is cancelled")

    await asyncio.gather(*(caller(process) for process in range(_AT_ONCE)))
    in_time = _answered(load) - before - count
    lab.measured("answered before that", in_time)
    lab.expect(in_time < count, "nobody hung up in time")


async def _usual_seconds(load: Load) -> float:
    """How long a start takes on this machine, now."""
    taken = []
    for number in range(_SAMPLES):
        started = time.monotonic()
        await load.driver.hang_up(f"{load.name}-sample-{number}", process=0, after=_CALL_SECONDS, politely=True)
        taken.append((time.monotonic() - started) / 2)  # it asks twice
    return statistics.median(taken)


def _answered(load: Load) -> int:
    return sum(op.kind == "ok" and op.action == "start" for op in load.driver.ops)


async def _send_large_messages(lab: Lab, world: World, workflow: str) -> Counter[ApiError]:
    """Through the edge, and past it to the services themselves: every one is refused, with a reason or a limit."""
    errors: Counter[ApiError] = Counter()
    for what, size, send in _large_calls(world, workflow):
        lab.injected("message too large")
        try:
            await send(size)
        except grpc.aio.AioRpcError as error:
            errors[replace(error_of(error), violations={})] += 1
        else:
            lab.expect(False, f"{what} took a message of {size} bytes")
    return errors


def _large_calls(world: World, workflow: str) -> Iterator[tuple[str, int, Callable[[int], Awaitable[object]]]]:
    public, internal = world.api.metadata, (("authorization", f"Bearer {world.wiring.internal_token}"),)

    async def by_edge(size: int) -> object:
        return await world.api.runs.StartRun(_large(workflow, size), metadata=public, timeout=_CALL_SECONDS)

    async def to_gateway(size: int) -> object:
        async with _channel(world, "gateway-1") as channel:
            stub = RunServiceStub(channel)
            return await stub.StartRun(_large(workflow, size), metadata=public, timeout=_CALL_SECONDS)

    async def to_scheduler(size: int) -> object:
        async with _channel(world, "scheduler-1") as channel:
            stub = SchedulerServiceStub(channel)
            request = StartRunsRequest(runs=[StartRun(inputs_json="x" * size)])
            return await stub.StartRuns(request, metadata=internal, timeout=_CALL_SECONDS)

    yield "the edge", _LARGE, by_edge
    yield "the gateway", _LARGE, to_gateway
    yield "the gateway", _TOO_LARGE, to_gateway
    yield "the scheduler", _TOO_LARGE, to_scheduler


def _large(workflow: str, size: int) -> object:
    return start_request(workflow, {"ticket": "x" * size})


def _channel(world: World, name: str) -> grpc.aio.Channel:
    options = (("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.insecure_channel(world.wiring.address(name), options=options)


async def _break_messages(lab: Lab, world: World, load: Load) -> None:
    """Connections break after some more bytes, in the middle of whatever is being said."""
    for _ in range(lab.times(10)):
        for link in _CALLING:
            world.links[link].cut_after(lab.rng.randrange(1, _CUT_BYTES))
            confirmed = len(load.acknowledged)
            await load.reached(confirmed + 2, within=RECOVERY_SECONDS + 5)
            lab.injected(f"{link} cut in a message")


async def _vanish(lab: Lab, world: World, load: Load) -> None:
    """The other end of every connection is gone, and nobody says so. Whoever connects anew finds it."""
    slowest = 0.0
    for link in lab.rng.sample(_CALLING, lab.times(len(_CALLING))):
        world.links[link].strand()
        try:
            seconds = await recovered(load, at_once=_STEADY, within=_PATIENCE_SECONDS)
        except AssertionError as error:
            reports = {name: world.links[name].reports() for name in _CALLING}
            raise AssertionError(f"{_PATIENCE_SECONDS:g} s after {link} was half open: {error}; {reports}") from error
        finally:
            world.links[link].heal()
        slowest = max(slowest, seconds)
        lab.injected(f"{link} half open")
        lab.expect(seconds <= _VANISHED_SECONDS, f"{link}: a peer that had vanished was waited for {seconds:.1f} s")
    lab.measured("slowest to leave a peer that vanished s", slowest)


async def _say_goodbye(lab: Lab, world: World) -> None:
    """A server that ends tells its clients to send no more."""
    for name in ("scheduler-1", "gateway-1", "ingest-1"):
        member = world.keeper.members[name]
        again = partial(_started, member, member.starts + 1)
        world.kill(name, signal.SIGTERM)
        await eventually(again, within=30.0)
        await world.settled()
        lab.injected(f"GOAWAY of {name.partition('-')[0]}")


def _started(member: Member, times: int) -> None:
    assert member.starts >= times, f"{member.name} has not ended"
