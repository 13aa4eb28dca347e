"""Runs on a real scheduler and real executors, started and looked at behind the gateway's back."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from taskforge.language.parse import parse_workflow
from taskforge.runtime.ids import new_id
from taskforge.security.keyring import KeyRing
from tests.support.services import Service, Services
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that has ended."""

    run_id: UUID
    state: str
    output: Any
    error: Any
    steps: dict[str, str]  #: states by step index, as text


class Floor:
    """The engine room: a scheduler, executors, and the database they meet in."""

    scheduler: Service  #: the one that was started last
    executor: Service  #: the one that was started last

    def __init__(self, services: Services) -> None:
        self.services = services
        self._peer: Any = None

    def start_scheduler(self, **overrides: str) -> Service:
        """Start the scheduler; leases and sweeps are short, so that tests see them."""
        settings: dict[str, Any] = {"TASKFORGE_LEASE_SECONDS": "3", "TASKFORGE_SWEEP_SECONDS": "0.2", **overrides}
        self.scheduler = self.services.start("scheduler", settings)
        return self.scheduler

    def start_executor(self, instance: int = 0, **overrides: str) -> Service:
        """Start an executor."""
        self.executor = self.services.start("executor", overrides, instance=instance)
        return self.executor

    async def apply(self, source: str, *, workflow: str = "demo") -> UUID:
        """Store a definition as the gateway would."""
        assert not parse_workflow(source).errors
        revision_id = new_id()
        await self.execute(
            "INSERT INTO revisions (revision_id, workflow, number, source, source_hash, created_by)"
            " VALUES ($1, $2, (SELECT count(*) + 1 FROM revisions WHERE workflow = $2), $3, 'hash', 'test')",
            revision_id,
            workflow,
            source,
        )
        return revision_id

    async def set_secret(self, name: str, value: str, *, version: int = 1) -> None:
        """Seal and store a secret as the gateway would."""
        ring = KeyRing.load(self.services.keyring_file)
        await self.execute(
            "INSERT INTO secrets (name, version, sealed) VALUES ($1, $2, $3)"
            " ON CONFLICT (name) DO UPDATE SET version = $2, sealed = $3",
            name,
            version,
            ring.seal(name, version, value.encode()),
        )

    async def start_run(self, revision_id: UUID, inputs: dict[str, Any] | None = None) -> UUID:
        """Start one run."""
        run = pb.StartRun(
            run_id=new_id().bytes,
            revision_id=revision_id.bytes,
            inputs_json=json.dumps(inputs or {}),
            trigger_json='{"type": "manual", "id": ""}',
            cause_kind="manual",
            cause_id=os.urandom(4).hex(),
        )
        response = await self._call("StartRuns", pb.StartRunsRequest(runs=[run]))
        assert not response.results[0].HasField("error"), response
        return UUID(bytes=response.results[0].run_id)

    async def cancel(self, run_id: UUID) -> None:
        """Ask a run to stop."""
        await self._call("CancelRuns", pb.CancelRunsRequest(run_ids=[run_id.bytes], actor="test"))

    async def ended(self, run_id: UUID, *, within: float = 30.0) -> Ended:
        """Wait for a run's end."""

        async def look() -> Any:
            [row] = await self.fetch("SELECT state, output, error, ended_at FROM runs WHERE run_id = $1", run_id)
            assert row["ended_at"] is not None, f"the run is {row['state']}: {await self.steps(run_id)}"
            return row

        row = await eventually(look, within=within)
        return Ended(
            run_id=run_id,
            state=row["state"],
            output=json.loads(row["output"]) if row["output"] else None,
            error=json.loads(row["error"]) if row["error"] else None,
            steps=await self.steps(run_id),
        )

    async def run(self, source: str, inputs: dict[str, Any] | None = None) -> Ended:
        """Apply a definition, run it, wait for its end."""
        return await self.ended(await self.start_run(await self.apply(source), inputs))

    async def steps(self, run_id: UUID) -> dict[str, str]:
        """The states of a run's steps, by index."""
        rows = await self.fetch("SELECT step, state FROM steps WHERE run_id = $1 ORDER BY step", run_id)
        return {str(row["step"]): row["state"] for row in rows}

    async def output(self, run_id: UUID, step: int) -> Any:
        """A step's output."""
        [row] = await self.fetch("SELECT output FROM steps WHERE run_id = $1 AND step = $2", run_id, step)
        return json.loads(row["output"])

    async def execute(self, sql: str, *arguments: Any) -> None:
        """Run a statement as the owner."""
        async with self.services.database.connect() as connection:
            await connection.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Read rows as the owner."""
        async with self.services.database.connect() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def _call(self, method: str, request: Any) -> Any:
        if self._peer is None:
            self._peer = self.services.peer("scheduler")
        stub = SchedulerServiceStub(self._peer.channel)
        return await self._peer.call(getattr(stub, method), request, timeout=10)


@pytest.fixture
def empty_floor(services: Services) -> Floor:
    """Nothing started yet."""
    return Floor(services)


@pytest.fixture
def floor(empty_floor: Floor) -> Floor:
    """A scheduler and one executor."""
    empty_floor.start_scheduler()
    empty_floor.start_executor()
    return empty_floor
