"""Reads what the checker looks at from the database, at one moment."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.chaos.rows import AttemptRow, EventRow, History, LetterRow, RunRow, StepRow

_RUNS = "SELECT run_id, state, seq, cause_kind, cause_id, ended_at FROM runs WHERE workflow = $1"
_STEPS = """
SELECT run_id, step, state, epoch, lease_token,
       extract(epoch FROM clock_timestamp() - queued_at)::float8 AS queued_for,
       extract(epoch FROM clock_timestamp() - lease_until)::float8 AS expired_for,
       extract(epoch FROM clock_timestamp() - due_at)::float8 AS overdue_for
FROM steps WHERE run_id = ANY($1)
"""
_ATTEMPTS = """
SELECT run_id, step, epoch, attempt, outcome, lease_token, executor_id FROM attempts WHERE run_id = ANY($1)
"""
_EVENTS = """
SELECT run_id, seq, step, from_state, to_state, cause, epoch, attempt, lease_token FROM events WHERE run_id = ANY($1)
"""
_LETTERS = "SELECT run_id, step, epoch, state FROM dead_letters WHERE run_id = ANY($1)"
_TICKETS = "SELECT run_id, inputs->>'ticket' AS ticket FROM runs WHERE workflow = $1"


async def read_history(connection: Any, workflow: str) -> History:
    """All runs of a workflow with everything that belongs to them."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        runs = [RunRow(**row) for row in await connection.fetch(_RUNS, workflow)]
        ids = [run.run_id for run in runs]
        return History(
            runs=runs,
            steps=[StepRow(**row) for row in await connection.fetch(_STEPS, ids)],
            attempts=[AttemptRow(**row) for row in await connection.fetch(_ATTEMPTS, ids)],
            events=[EventRow(**row) for row in await connection.fetch(_EVENTS, ids)],
            letters=[LetterRow(**row) for row in await connection.fetch(_LETTERS, ids)],
        )


async def read_tickets(connection: Any, workflow: str) -> dict[UUID, str]:
    """What each run was asked for, by its inputs."""
    return {row["run_id"]: row["ticket"] for row in await connection.fetch(_TICKETS, workflow)}


async def count_unfinished(connection: Any, workflow: str) -> int:
    """How many runs have not ended."""
    found = await connection.fetchval("SELECT count(*) FROM runs WHERE workflow = $1 AND ended_at IS NULL", workflow)
    return int(found)
