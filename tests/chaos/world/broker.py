"""The world's Valkey as experiments handle it: what it holds of the hint stream, and its restarts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from taskforge.bus.streams import EXECUTORS, HINT_STREAM
from tests.chaos.world.world import World
from tests.support.valkey import Valkey
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """The stream and the executors' group at one moment. A stream that is not there is empty."""

    length: int = 0
    unread: int = 0
    read: int = 0  #: since the stream was made
    pending: int = 0
    consumers: tuple[str, ...] = ()


async def look(client: Redis) -> Hints:
    """See what is there. Raises RedisError while the server is away."""
    if not await client.exists(HINT_STREAM):
        return Hints()
    stream: Any = await client.xinfo_stream(HINT_STREAM)
    groups: Any = await client.xinfo_groups(HINT_STREAM)
    group = next((each for each in groups if each["name"] == EXECUTORS.encode()), None)
    if group is None:
        return Hints(length=stream["length"], unread=stream["length"])
    members: Any = await client.xinfo_consumers(HINT_STREAM, EXECUTORS)
    return Hints(
        length=stream["length"],
        unread=await _unread(client, group),
        read=group["entries-read"] or 0,
        pending=group["pending"],
        consumers=tuple(sorted(each["name"].decode() for each in members)),
    )


async def until_read(client: Redis, *, within: float) -> float:
    """Wait until an executor reads a hint that was not read before. Returns how many seconds that took."""
    began = time.monotonic()
    before = -1

    async def read() -> None:
        nonlocal before
        try:
            now = (await look(client)).read
        except (RedisError, OSError) as error:
            raise AssertionError(f"the broker is away: {error}") from error
        # A stream that was made anew counts from the start.
        before = now if before < 0 or now < before else before
        assert now > before, "no executor reads hints"

    await eventually(read, within=within)
    return time.monotonic() - began


async def _unread(client: Redis, group: Any) -> int:
    """The server loses count when the last entry that was read is deleted while an older one is not."""
    if group["lag"] is not None:
        return int(group["lag"])
    return len(await client.xrange(HINT_STREAM, min=b"(" + group["last-delivered-id"]) or ())


async def until_all_read(client: Redis, *, within: float) -> Hints:
    """Wait until no hint is left that nobody has read. Returns what is there then."""

    async def all_read() -> Hints:
        hints = await look(client)
        assert hints.unread == 0, f"{hints.unread} hints were not read"
        return hints

    found: Hints = await eventually(all_read, within=within)
    return found


def own_valkey(world: World) -> Valkey:
    """The world's server, for worlds that have one."""
    assert world.valkey is not None, "this world has no Valkey of its own"
    return world.valkey


async def restart_valkey(world: World) -> None:
    """Kill it and wait until it is back, with the settings and the snapshot that it finds."""
    await world.halt("valkey")
    world.resume("valkey")

    async def back() -> None:
        assert await asyncio.to_thread(own_valkey(world).is_up), "Valkey does not answer"

    await eventually(back)
