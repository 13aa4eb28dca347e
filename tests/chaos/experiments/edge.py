"""The edge: killed, in front of a gateway that has stopped, and talked to in bad HTTP."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import psutil

from taskforge.failpoints import Point
from taskforge.v1.run_service_pb2 import ListRunsRequest
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts import junk
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_MEGABYTE = 1024 * 1024
_GATEWAY, _INGEST, _EDGE = "gateway-1", "ingest-1", "edge"
_REFUSED_SECONDS = 1.0  #: how much later than the caller's deadline an answer may come


@experiment(
    "F42",
    "Envoy is killed while requests are under way, and services die after they did what was asked",
    threshold="no violation; the edge repeats nothing that may have been done",
    seconds=22,
)
async def the_edge_is_killed(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=lab.times(400, least=60)) as load:
        kills = lab.times(40, least=4)
        for number in range(kills):
            service = "gateway" if number % 2 else "ingest"
            if number % 4 < 2:
                # The answer is held back, so that the edge dies between what was done and its answer.
                point = lab.rng.choice((Point.REQUEST_PARSED, Point.BEFORE_REPLY))
                world.shots.arm(point, action="hang", service=service, seconds=_HELD_SECONDS)
                await eventually(lambda: _none_left(world), within=20)
                world.kill(_EDGE)
                lab.injected(f"kill -9 edge with a {service} request at {point}")
            else:
                world.shots.arm(Point.BEFORE_REPLY, action="kill", service=service)
                await eventually(lambda: _none_left(world), within=20)
                lab.injected(f"kill -9 {service} at before-reply")
            await world.settled()
            if not load.is_starting:
                break
        world.shots.disarm()
        await load.finished()
        lab.measured("starts sent again by the caller", load.driver.repeated)
        await lab.verify(world, load)


_HELD_SECONDS = 1.0


def _none_left(world: World) -> None:
    assert world.shots.left() == 0, "a shot waits"


# --- a gateway that does not answer --------------------------------------------------------------

_DEADLINE_SECONDS = 2.0
_REJOIN_SECONDS = 5.0
#: Without a deadline of the caller's the edge's own rules hold: 15 s without an answer to a ping, and 10 s of patience.
_EDGE_SECONDS = 30.0
_GONE = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@experiment(
    "F07",
    "The gateway is stopped behind Envoy (SIGSTOP), and goes on later",
    threshold="every call fails at its deadline, HTTP calls with 503 or 504; the gateway is back within 5 s",
    seconds=12,
    in_subset=False,
)
async def the_gateway_stops(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=lab.times(200, least=40), at_once=4) as load:
        slowest = 0.0
        for _ in range(lab.times(10, least=1)):
            await load.reached(min(4, len(load.acknowledged)))
            world.freeze(_GATEWAY)
            lab.injected("SIGSTOP gateway")
            answers = await asyncio.gather(*(_asked(world) for _ in range(8)))
            for code, seconds in answers:
                slowest = max(slowest, seconds)
                lab.expect(code in _GONE, f"a call to a gateway that stands still was answered {code}")
                lab.expect(seconds <= _DEADLINE_SECONDS + _REFUSED_SECONDS, f"a call hung for {seconds:.1f} s")
            world.thaw(_GATEWAY)
            lab.measured("rejoined within s", await _rejoined(lab, world))
        if lab.scale >= 1:
            await _without_a_deadline(lab, world)
        lab.measured("slowest call s", slowest)
        await load.finished()
        await lab.verify(world, load)


async def _asked(world: World, *, within: float = _DEADLINE_SECONDS) -> tuple[str, float]:
    started = time.monotonic()
    try:
        metadata = world.api.metadata
        await world.api.runs.ListRuns(ListRunsRequest(page_size=1), metadata=metadata, timeout=within)
    except grpc.aio.AioRpcError as error:
        return error.code().name, time.monotonic() - started
    return "OK", time.monotonic() - started


async def _rejoined(lab: Lab, world: World) -> float:
    started = time.monotonic()

    async def answers() -> None:
        code, _ = await _asked(world)
        assert code == "OK", f"the gateway answers {code}"

    await eventually(answers, within=_REJOIN_SECONDS + _DEADLINE_SECONDS)
    seconds = time.monotonic() - started
    lab.expect(seconds <= _REJOIN_SECONDS, f"the gateway was back after {seconds:.1f} s")
    return seconds


async def _without_a_deadline(lab: Lab, world: World) -> None:
    """HTTP callers who wait as long as it takes."""
    world.freeze(_GATEWAY)
    started = time.monotonic()
    headers = {"Authorization": f"Bearer {world.token}"}
    async with aiohttp.ClientSession(world.server, headers=headers) as http, http.get("/v1/runs") as answer:
        status = answer.status
    seconds = time.monotonic() - started
    world.thaw(_GATEWAY)
    lab.injected("SIGSTOP gateway, calls without a deadline")
    lab.measured("HTTP without a deadline s", seconds)
    lab.expect(status in (503, 504), f"a gateway that stands still made {status}")
    lab.expect(seconds <= _EDGE_SECONDS, f"an HTTP call hung for {seconds:.1f} s")
    await _rejoined(lab, world)


# --- bad HTTP ------------------------------------------------------------------------------------

_DRIP_SECONDS = 0.5
_SLOW_HEADERS_SECONDS = 15.0
_MEANWHILE_SECONDS = 10.0  #: the junk is made, and the others wait, in one process
_MOST_MEGABYTES = {_EDGE: 160.0, _GATEWAY: 48.0, _INGEST: 48.0}
_SLOW = b"GET /v1/runs HTTP/1.1\r\nHost: edge\r\nX-Slow: " + b"a" * 200
_Words = Callable[[random.Random], bytes]


@experiment(
    "F62",
    "HTTP/2 and gRPC that is broken on purpose: bad frames, 10,000 streams, slow and endless headers, rapid resets",
    threshold="nobody restarts, everybody else is served meanwhile and afterwards, memory stays bounded",
    seconds=22,
    in_subset=False,
)
async def the_edge_hears_junk(lab: Lab) -> None:
    async with lab.world() as world:
        port = urlsplit(world.server).port or 0
        before, starts = _memory(world), _starts(world)
        slow = asyncio.create_task(junk.drip(port, _SLOW, pause=_DRIP_SECONDS), name="slow headers")
        calls = asyncio.create_task(_served(world), name="served meanwhile")
        for name, words in _everything(lab).items():
            patience = _OPEN_SECONDS if name in _MAY_STAY_OPEN else junk.PATIENCE_SECONDS
            talks = [junk.say(port, words(lab.rng), patience=patience) for _ in range(lab.times(20, least=4))]
            endings = await asyncio.gather(*talks)
            lab.injected(name, len(endings))
            longest = max(ending.seconds for ending in endings)
            if name not in _MAY_STAY_OPEN:
                lab.expect(all(ending.closed for ending in endings), f"{name}: a connection was left open")
                lab.measured(f"{name} closed within s", longest)
        ending = await slow
        lab.expect(ending.closed and ending.seconds <= _SLOW_HEADERS_SECONDS, f"slow headers were heard: {ending}")
        lab.injected("slow headers")
        await _unknown_methods(lab, world)
        calls.cancel()
        worst, failed = await calls
        lab.expect(not failed, f"{len(failed)} calls of others failed meanwhile: {failed[:2]}")
        lab.measured("slowest call of others s", worst)
        await world.settled()
        lab.expect(_starts(world) == starts, f"restarted: {_starts(world)}, before: {starts}")
        for name, most in _MOST_MEGABYTES.items():
            growth = _memory(world)[name] - before[name]
            lab.measured(f"{name} grew by MB", growth)
            lab.expect(growth <= most, f"{name} grew by {growth:.0f} MB")


#: These are proper HTTP/2 as far as it goes: a stream is refused, or waits, and the connection may live on.
_MAY_STAY_OPEN = frozenset(
    {"large metadata", "header bombs", "10,000 streams", "lies about messages", "endless floods", "giant frames"}
)
_OPEN_SECONDS = 1.5  #: for which they are left to do their worst


def _everything(lab: Lab) -> Mapping[str, _Words]:
    count = lab.times(10_000, least=2000)
    return {
        "noise": junk.noise,
        "TLS": junk.tls_hello,
        "random frames": junk.random_frames,
        "giant frames": junk.giant_frame,
        "endless headers": junk.endless_headers,
        "header bombs": junk.header_bomb,
        "broken tables": junk.broken_table,
        "zero windows": junk.zero_window,
        "10,000 streams": junk.many_streams(count),
        "rapid resets": junk.rapid_resets(count),
        "endless floods": junk.floods,
        "lies about messages": junk.grpc_lies,
        "large metadata": junk.large_metadata,
        "smuggling": junk.smuggling,
    }


async def _served(world: World) -> tuple[float, list[str]]:
    """Ask all the time, with a connection of one's own; ends when it is cancelled."""
    worst, failed = 0.0, []
    try:
        while True:
            code, seconds = await _asked(world, within=_MEANWHILE_SECONDS)
            worst = max(worst, seconds)
            if code != "OK":
                failed.append(code)
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return worst, failed


async def _unknown_methods(lab: Lab, world: World) -> None:
    for path in ("/taskforge.v1.RunService/Nope", "/taskforge.v1.Nope/GetRun", "/x/y", "/" + "a" * 4000):
        method: Any = world.api.channel.unary_unary(path)
        try:
            await method(b"junk", metadata=world.api.metadata, timeout=5)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        lab.injected("unknown methods")
        lab.expect(code in ("UNIMPLEMENTED", "NOT_FOUND"), f"{path[:40]} was answered {code}")


def _memory(world: World) -> Mapping[str, float]:
    pids = world.pids()
    return {name: psutil.Process(pids[name]).memory_info().rss / _MEGABYTE for name in _MOST_MEGABYTES}


def _starts(world: World) -> Mapping[str, int]:
    return {name: world.keeper.members[name].starts for name in _MOST_MEGABYTES}
