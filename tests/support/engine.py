"""The scheduler's parts over a real database, driven by hand: a test plays the executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from taskforge.domain.errors import TaskforgeError
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.ids import new_id
from taskforge.scheduler.admission import Admission
from taskforge.scheduler.claims import Claim, Claimer
from taskforge.scheduler.completions import Completer, Report
from taskforge.scheduler.cron import Cron
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.leases import HeldLease, Renewer
from taskforge.scheduler.memory import Memory
from taskforge.scheduler.operators import Operators
from taskforge.scheduler.run_turn import StepRef
from taskforge.scheduler.starts import NewRun, StartedRun, Starter
from taskforge.scheduler.sweeps import Sweeper
from taskforge.store import pool
from taskforge.store.runs import SESSION
from tests.support.postgres import Database

KIND = pb.StepOutcome.Kind
RESULT = pb.StretchResult.Kind

#: Two requests, one after the other.
TWO = """
name: demo
steps:
  - {id: a, http: {method: POST, url: "http://localhost/a"}}
  - {id: b, http: {method: POST, url: "http://localhost/b"}}
"""


@dataclass
class RememberedHints:
    """Where the scheduler's hints go in these tests; what is in `refs` was made known."""

    refs: list[StepRef] = field(default_factory=list)
    unread: int | None = None  #: what is said about how many nobody has read; None: that nobody can say

    def publish(self, refs: Sequence[StepRef]) -> None:
        """Remember."""
        self.refs.extend(refs)

    async def backlog(self) -> int | None:
        """What the test says."""
        return self.unread

    async def trim(self) -> None:
        """Nothing to trim."""


class Engine:
    """A scheduler without its server. `lease` is short, so that tests can let it run out."""

    def __init__(self, database: Database, *, lease: float = 30.0, max_crashes: int = 3) -> None:
        self._raw = database
        self.database = pool.Database(database.url_for("scheduler"), settings=SESSION)
        self.lease = timedelta(seconds=lease)
        self.hints = RememberedHints()
        self.definitions = Definitions()
        self.memory = Memory()
        self.starter = Starter(self.database, self.definitions, self.memory, Admission(200_000))
        self.claimer = Claimer(self.database, self.definitions, self.memory, lease=self.lease)
        self.completer = Completer(self.database, self.definitions, self.memory, lease=self.lease)
        self.renewer = Renewer(self.database, lease=self.lease)
        self.operators = Operators(self.database, self.definitions, lease=self.lease)
        self.sweeper = Sweeper(self.database, self.definitions, self.hints, lease=self.lease, max_crashes=max_crashes)
        self.cron = Cron(self.database, self.definitions, self.starter, self.hints)

    async def close(self) -> None:
        """Close the pool."""
        await self.database.close()

    async def revision(self, source: str, *, workflow: str = "demo") -> UUID:
        """Store a definition as the gateway would."""
        revision_id = new_id()
        await self.execute(
            "INSERT INTO revisions (revision_id, workflow, number, source, source_hash, created_by)"
            " VALUES ($1, $2, (SELECT count(*) + 1 FROM revisions WHERE workflow = $2), $3, 'hash', 'test')",
            revision_id,
            workflow,
            source,
        )
        return revision_id

    def new_run(self, revision_id: UUID, **overrides: Any) -> NewRun:
        """A manual start without inputs."""
        values: dict[str, Any] = {"inputs": "{}", "trigger": '{"type": "manual"}', "cause_kind": "manual"}
        return NewRun(run_id=new_id(), revision_id=revision_id, **{**values, **overrides})

    async def start(self, revision_id: UUID, **overrides: Any) -> UUID:
        """Start one run and return its id."""
        results, hints = await self.starter.start([self.new_run(revision_id, **overrides)])
        self.hints.publish(hints)
        assert isinstance(results[0], StartedRun), results[0]
        return results[0].run_id

    async def claim(
        self, executor_id: UUID, *refs: StepRef, limit: int = 100, held: Sequence[pb.Lease] | None = None
    ) -> list[pb.Grant]:
        """Claim the named steps, or without names whatever is QUEUED; `held`: what the executor says it holds."""
        named = None if held is None else frozenset(_held(lease) for lease in held)
        claim = Claim(executor_id=executor_id, hints=refs, poll=not refs, limit=limit, held=named)
        [claimed] = await self.claimer.claim_known([claim])
        return claimed.grants + ((await self.claimer.claim([claimed.left]))[0] if claimed.left else [])

    async def report(self, executor_id: UUID, stretch: pb.Stretch) -> pb.StretchResult:
        """Report one stretch."""
        reports = [Report(executor_id=executor_id, stretch=stretch)]
        done = await self.completer.complete_known(reports)
        if done.results[0] is None:
            done = await self.completer.complete(reports)
        self.hints.publish(done.queued)
        [result] = done.results
        if isinstance(result, TaskforgeError):
            raise result
        assert result is not None
        return result

    async def renew(self, executor_id: UUID, *leases: pb.Lease) -> list[pb.RenewLeasesResponse.Result]:
        """Renew leases."""
        return await self.renewer.renew(executor_id, [_held(lease) for lease in leases])

    async def execute(self, sql: str, *arguments: Any) -> None:
        """Run a statement as the owner."""
        async with self._raw.connect() as connection:
            await connection.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Read rows as the owner."""
        async with self._raw.connect() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def run_state(self, run_id: UUID) -> str:
        """The run's state."""
        return str((await self.fetch("SELECT state FROM runs WHERE run_id = $1", run_id))[0]["state"])

    async def step_states(self, run_id: UUID) -> dict[int, str]:
        """The states of the steps that have a row."""
        rows = await self.fetch("SELECT step, state FROM steps WHERE run_id = $1", run_id)
        return {row["step"]: row["state"] for row in rows}

    async def expire(self, run_id: UUID) -> None:
        """Make the run's leases run out, as time would."""
        await self.execute(
            "UPDATE steps SET lease_until = clock_timestamp() - interval '1 second'"
            " WHERE run_id = $1 AND state = 'RUNNING'",
            run_id,
        )


def _held(lease: pb.Lease) -> HeldLease:
    return HeldLease(run_id=UUID(bytes=lease.run_id), step=lease.step, token=lease.token)


def succeeded(step: int, output: str = "null", *, branch: int | None = None) -> pb.StepOutcome:
    """An outcome."""
    return pb.StepOutcome(
        step=step,
        kind=KIND.KIND_SUCCEEDED,
        output_json=output,
        branch_plus_one=0 if branch is None else branch + 1,
    )


def failed(step: int, kind: str = "status", *, status: int = 0, message: str = "no") -> pb.StepOutcome:
    """An outcome."""
    error = pb.StepFailure(kind=kind, message=message, status=status)
    return pb.StepOutcome(step=step, kind=KIND.KIND_FAILED, error=error)


def stretch(lease: pb.Lease, outcome: pb.StepOutcome, *carried: pb.StepOutcome, accept_next: bool = True) -> pb.Stretch:
    """A stretch."""
    return pb.Stretch(lease=lease, outcome=outcome, carried=carried, accept_next=accept_next)
