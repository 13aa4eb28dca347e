"""Creating runs: one statement for all that wait, keys first, then runs with their first steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from taskforge.domain.errors import AlreadyExists, NotFound, ResourceExhausted, TaskforgeError
from taskforge.domain.run import Started
from taskforge.domain.states import RunState
from taskforge.domain.workflow import Workflow
from taskforge.scheduler.admission import Admission
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.memory import Memory
from taskforge.scheduler.run_turn import RunTurn, StepRef, queued_refs
from taskforge.store import runs as store
from taskforge.store.pool import Connection, Database
from taskforge.store.run_writes import Creation, KeyWrite, create_runs, create_runs_at_once
from taskforge.store.runs import RunRow

Key = tuple[str, str]

#: A call sent again is answered from what it wrote the first time, perhaps without being told so. That commit may not
#: have reached the standby yet. This statement's commit waits until both have.
_BARRIER = "write_barrier"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to create. JSON fields are checked text."""

    run_id: UUID
    revision_id: UUID
    inputs: str
    trigger: str
    cause_kind: str
    cause_trigger: str = ""
    cause_id: str = ""
    key: Key | None = None  #: (scope, key): at most one run for it
    request_hash: bytes = b""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """The run that exists now: a new one, or the earlier one with the same id or key."""

    run_id: UUID
    created: bool


Result = StartedRun | TaskforgeError


class _Begun(NamedTuple):
    """One result a run that was asked for; the new ones, and when each that did not exist yet was written."""

    results: list[Result]
    turns: Mapping[UUID, RunTurn]
    written: Mapping[UUID, datetime]

    @property
    def queued(self) -> Sequence[StepRef]:
        """The steps that wait for an executor now."""
        return queued_refs(self.turns[run_id] for run_id in self.written)


class Starter:
    """Creates runs in batches."""

    def __init__(self, database: Database, definitions: Definitions, memory: Memory, admission: Admission) -> None:
        self._database = database
        self._definitions = definitions
        self._memory = memory
        self._admission = admission

    async def start(self, runs: Sequence[NewRun]) -> tuple[list[Result], Sequence[StepRef]]:
        """Create what there is room for; returns one result a run and the steps to hint after the commit."""
        taken = self._admission.take(len(runs))
        full = ResourceExhausted("QUEUE_FULL", "too many steps wait for an executor", retry_after=5)
        turned_away: list[Result] = [full] * (len(runs) - taken)
        if not taken:
            return turned_away, ()
        queued = taken  # unless the commit says otherwise
        try:
            results, hints = await self._create(runs[:taken])
            queued = len(hints)
        finally:
            self._admission.settle(taken, queued)
        return [*results, *turned_away], hints

    async def _create(self, runs: Sequence[NewRun]) -> tuple[list[Result], Sequence[StepRef]]:
        await self._load_definitions(runs)
        known = all(self._unknown(run) is None for run in runs)
        begun = await (self._create_at_once(runs) if known else self._create_in_turn(runs))
        hints = begun.queued
        self._memory.keep(begun.turns.values(), begun.written)
        return begun.results, hints

    async def _create_at_once(self, runs: Sequence[NewRun]) -> _Begun:
        """In a transaction of one statement. Runs whose keys are taken are told by whom in another one."""
        turns = {run.run_id: self._new_turn(run) for run in runs}
        keys = [KeyWrite(*run.key, run.run_id, run.request_hash) for run in runs if run.key is not None]
        written = await create_runs_at_once(self._database, [turn.write for turn in turns.values()], keys)
        results: list[Result] = [StartedRun(run_id=run.run_id, created=run.run_id in written) for run in runs]
        late = [index for index, run in enumerate(runs) if run.key is not None and run.run_id not in written]
        if late:
            earlier = await self._create_in_turn([runs[index] for index in late])
            for index, result in zip(late, earlier.results, strict=True):
                results[index] = result
            turns, written = {**turns, **earlier.turns}, {**written, **earlier.written}
        elif not written:
            await self._database.write(store.FILE, _BARRIER)
        return _Begun(results, turns, written)

    async def _create_in_turn(self, runs: Sequence[NewRun]) -> _Begun:
        async with self._database.transaction(store.FILE) as connection:
            begun = await self._begin(connection, runs)
            if not begun.written:
                await connection.run(_BARRIER)
            return begun

    async def start_within(
        self, connection: Connection, runs: Sequence[NewRun]
    ) -> tuple[list[Result], Sequence[StepRef]]:
        """The same inside a transaction of the caller's, such as the one that writes a schedule's tick."""
        await self._definitions.load_all(connection, [run.revision_id for run in runs])
        begun = await self._begin(connection, runs)
        return begun.results, begun.queued

    async def _load_definitions(self, runs: Sequence[NewRun]) -> None:
        if any(self._definitions.cached(run.revision_id) is None for run in runs):
            async with self._database.connection(store.FILE) as connection:
                await self._definitions.load_all(connection, [run.revision_id for run in runs])

    async def _begin(self, connection: Connection, runs: Sequence[NewRun]) -> _Begun:
        """Keys first, then the runs that have none or got theirs."""
        results: list[Result | None] = [self._unknown(run) for run in runs]
        await _settle_keys(connection, runs, results)
        fresh = [run for run, result in zip(runs, results, strict=True) if result is None]
        turns = {run.run_id: self._new_turn(run) for run in fresh}
        written = await create_runs(connection, [turn.write for turn in turns.values()])
        settled = [
            result or StartedRun(run_id=run.run_id, created=run.run_id in written)
            for run, result in zip(runs, results, strict=True)
        ]
        return _Begun(settled, turns, written)

    def _unknown(self, run: NewRun) -> TaskforgeError | None:
        if self._definitions.cached(run.revision_id) is None:
            return NotFound("WORKFLOW_NOT_FOUND", "there is no such revision of a workflow")
        return None

    def _new_turn(self, run: NewRun) -> RunTurn:
        workflow = self._definitions.cached(run.revision_id)
        assert workflow is not None  # noqa: S101 -- `_unknown` sorted the others out
        row = RunRow(
            run_id=run.run_id,
            workflow=workflow.name,
            revision_id=run.revision_id,
            state=RunState.QUEUED,
            seq=0,
            error=None,
        )
        turn = RunTurn.new(row, workflow, _creation(run, workflow))
        turn.take(Started())
        return turn


async def _settle_keys(connection: Connection, runs: Sequence[NewRun], results: list[Result | None]) -> None:
    """Take the keys of the runs that have one; those that come too late get the earlier run, or an error."""
    keyed = sorted((run.key, index) for index, run in enumerate(runs) if run.key is not None and results[index] is None)
    if not keyed:
        return
    scopes = [key[0] for key, _ in keyed]
    keys = [key[1] for key, _ in keyed]
    await connection.run(
        "insert_keys",
        scopes=scopes,
        keys=keys,
        run_ids=[runs[index].run_id for _, index in keyed],
        request_hashes=[runs[index].request_hash for _, index in keyed],
    )
    owners = {(row["scope"], row["key"]): row for row in await connection.rows("read_keys", scopes=scopes, keys=keys)}
    for key, index in keyed:
        owner = owners[key]
        if owner["request_hash"] != runs[index].request_hash:
            results[index] = AlreadyExists(
                "IDEMPOTENCY_KEY_REUSED",
                f"the key {key[1]!r} was used for another request",
                metadata={"run": f"runs/{owner['run_id']}"},
            )
        elif owner["run_id"] != runs[index].run_id:
            results[index] = StartedRun(run_id=owner["run_id"], created=False)


def _creation(run: NewRun, workflow: Workflow) -> Creation:
    return Creation(
        revision_id=run.revision_id,
        cause_kind=run.cause_kind,
        cause_trigger=run.cause_trigger,
        cause_id=run.cause_id,
        inputs=run.inputs,
        trigger=run.trigger,
        labels=json.dumps({**workflow.labels, **run.labels}),
        timeout=_timeout(workflow),
    )


def _timeout(workflow: Workflow) -> timedelta | None:
    return None if workflow.timeout is None else timedelta(seconds=workflow.timeout)
