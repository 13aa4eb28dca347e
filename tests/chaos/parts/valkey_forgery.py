"""What somebody with access to Redis may do to the hints, on purpose or by accident.

Every function takes a client of the server (`world.redis()`, or one of a cluster's owner) and says how much it did.
None of it may lose, double or delay a run by more than a poll.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from taskforge.bus.streams import EXECUTORS, HINT_STREAM, PAYLOAD, StepKey, encode_hint
from taskforge.runtime.ids import new_id

_THIEF = "thief"


async def add(client: Redis, payloads: Sequence[bytes], *, field: bytes = PAYLOAD) -> int:
    """Write entries as they are."""
    for payload in payloads:
        await client.xadd(HINT_STREAM, {field: payload})
    return len(payloads)


async def add_garbage(client: Redis, rng: random.Random, count: int = 20) -> int:
    """Entries that are no hints: random bytes, cut or of another version, the wrong field, huge, empty."""
    hint = encode_hint(new_id(), 0)
    kinds = (
        lambda: rng.randbytes(rng.randrange(64)),
        lambda: hint[: rng.randrange(len(hint))],
        lambda: hint.replace(b"\x08\x01", b"\x08\x02", 1),
        lambda: rng.randbytes(100_000),
        lambda: b"",
        lambda: hint + rng.randbytes(3),
    )
    await add(client, [hint], field=b"other")
    return 1 + await add(client, [rng.choice(kinds)() for _ in range(count)])


async def add_duplicates(client: Redis, steps: Sequence[StepKey], times: int = 100) -> int:
    """The same hints again and again."""
    return await add(client, [encode_hint(run_id, step) for run_id, step in steps] * times)


async def add_unknown(client: Redis, run_ids: Sequence[UUID] = (), count: int = 20) -> int:
    """Hints for runs that do not exist, and for steps that the given runs do not have."""
    steps = [(new_id(), index % 3) for index in range(count)] + [(run_id, 999) for run_id in run_ids]
    return await add_duplicates(client, steps, 1)


async def trim_all(client: Redis) -> int:
    """XTRIM 0: every hint that is waiting is gone, and the group stays."""
    return int(await client.xtrim(HINT_STREAM, maxlen=0, approximate=False))


async def destroy_group(client: Redis) -> int:
    """XGROUP DESTROY: blocked readers are thrown out."""
    return int(await client.xgroup_destroy(HINT_STREAM, EXECUTORS)) if await client.exists(HINT_STREAM) else 0


async def steal(client: Redis, count: int = 100) -> int:
    """Read hints as a member of the group and never acknowledge them: they stay pending."""
    found: Any = await client.xreadgroup(EXECUTORS, _THIEF, {HINT_STREAM: ">"}, count=count)
    return len(found[0][1]) if found else 0


async def delete_consumers(client: Redis) -> int:
    """XGROUP DELCONSUMER of everybody, with whatever is pending. Returns how many hints were."""
    consumers = await client.xinfo_consumers(HINT_STREAM, EXECUTORS)
    return sum([int(await client.xgroup_delconsumer(HINT_STREAM, EXECUTORS, each["name"])) for each in consumers])


async def consumers(client: Redis) -> dict[str, int]:
    """The members of the group and how many hints are pending for each."""
    found = await client.xinfo_consumers(HINT_STREAM, EXECUTORS)
    return {each["name"].decode(): int(each["pending"]) for each in found}
