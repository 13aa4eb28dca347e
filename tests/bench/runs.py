"""What every part does with workflows and runs: apply, wait, and find out when each ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from tests.bench.load import Reply
from tests.bench.systems import System
from tests.support.api import Api
from tests.support.waiting import eventually

_POLL_SECONDS = 0.25
_LONGEST_SECONDS = 900.0
_ENDED = """
SELECT count(*) FILTER (WHERE ended_at IS NULL) AS unfinished, count(*) FILTER (WHERE state = 'SUCCEEDED') AS succeeded,
       extract(epoch FROM max(ended_at))::float8 AS last_end
FROM runs WHERE workflow = $1 AND created_at >= to_timestamp($2)
"""
_END_TIMES = """
SELECT run_id, extract(epoch FROM ended_at)::float8 AS ended
FROM runs WHERE workflow = $1 AND created_at >= to_timestamp($2) AND ended_at IS NOT NULL
"""


async def apply(system: System, *sources: str) -> None:
    """Apply workflows."""
    api = Api(system.server, system.token)
    await api.apply(*sources)
    await api.close()


async def all_ended(system: System, workflow: str, since: float = 0.0) -> Any:
    """Wait until none of the runs that were started since then is unfinished. The database's clock is ours."""
    async with system.database() as connection:

        async def assertion() -> Any:
            row = await connection.fetchrow(_ENDED, workflow, since)
            assert row["unfinished"] == 0, f"{row['unfinished']} runs are unfinished"
            return row

        return await eventually(assertion, within=_LONGEST_SECONDS, pause=_POLL_SECONDS)


async def ways_to_end(
    system: System, workflow: str, replies: Iterable[Reply], since: float
) -> list[tuple[Reply, float]]:
    """What was accepted, each with the time at which its run had ended.

    Raises:
        KeyError: an accepted run has not ended.
    """
    async with system.database() as connection:
        ended = {row["run_id"]: row["ended"] for row in await connection.fetch(_END_TIMES, workflow, since)}
    return [(reply, ended[run_of(reply)]) for reply in replies if reply.answer.status == 200]


def run_of(reply: Reply) -> UUID:
    """The run that was started."""
    return UUID(json.loads(reply.answer.body)["name"].removeprefix("runs/"))
