"""What the database says about the runs of one workflow, read as the product reads it to check its invariants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from taskforge.domain.workflow import Workflow
from taskforge.invariants.rows import History
from taskforge.language.parse import parse_workflow
from taskforge.store import invariant_reads
from taskforge.store.pool import Connection
from taskforge.store.queries import load

_RUNS = "SELECT run_id FROM runs WHERE workflow = $1"
_SOURCES = "SELECT revision_id, source FROM revisions WHERE workflow = $1"
_TICKETS = "SELECT run_id, inputs->>'ticket' AS ticket FROM runs WHERE workflow = $1 AND inputs->>'ticket' IS NOT NULL"


async def read_history(connection: Any, workflow: str) -> History:
    """All runs of a workflow with everything that belongs to them, at one moment, and their definitions."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        ids = [row["run_id"] for row in await connection.fetch(_RUNS, workflow)]
        sources = {row["revision_id"]: row["source"] for row in await connection.fetch(_SOURCES, workflow)}
        found = await invariant_reads.read_runs(Connection(connection, load(invariant_reads.FILE)), ids)
    return replace(found, workflows={revision: _compiled(source) for revision, source in sources.items()})


async def read_tickets(connection: Any, workflow: str) -> dict[UUID, str]:
    """What each run was asked for, by its inputs."""
    return {row["run_id"]: row["ticket"] for row in await connection.fetch(_TICKETS, workflow)}


async def count_unfinished(connection: Any, workflow: str) -> int:
    """How many runs have not ended."""
    found = await connection.fetchval("SELECT count(*) FROM runs WHERE workflow = $1 AND ended_at IS NULL", workflow)
    return int(found)


def _compiled(source: str) -> Workflow:
    workflow = parse_workflow(source).workflow
    assert workflow is not None, "a definition that was accepted cannot be compiled any more"
    return workflow
