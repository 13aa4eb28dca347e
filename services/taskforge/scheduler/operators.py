"""What a person asks for: stop a run, run failed steps again, close a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from taskforge.domain.errors import FailedPrecondition, NotFound, TaskforgeError
from taskforge.domain.run import CancelRequested, Redriven
from taskforge.domain.states import RUN_FINAL, DeadLetterState, RunState, StepState
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.run_turn import RunTurn, StepRef, load_turns, queued_refs, save_turns
from taskforge.store import runs as store
from taskforge.store.pool import Connection, Database
from taskforge.store.run_writes import WriteConflict

_RETRYABLE = (RunState.FAILED, RunState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks, and why."""

    actor: str
    comment: str = ""


class Operators:
    """Changes that people ask for, one transaction each: they are rare, and each has its own answer."""

    def __init__(self, database: Database, definitions: Definitions, *, lease: timedelta) -> None:
        self._database = database
        self._definitions = definitions
        self._lease = lease

    async def cancel(self, run_id: UUID, request: Request) -> TaskforgeError | None:
        """Ask a run to stop."""
        async with self._database.transaction(store.FILE) as connection:
            turn = await self._load(connection, run_id)
            if turn is None:
                return _no_run(run_id)
            if turn.snapshot.state is RunState.CANCELLING:
                return None
            refused = turn.take(CancelRequested(reason="cancel_requested"))
            if refused is not None:
                return FailedPrecondition("RUN_FINISHED", f"the run is {turn.snapshot.state} already")
            await self._save(connection, turn)
        return None

    async def retry_run(self, run_id: UUID, request: Request) -> tuple[TaskforgeError | None, Sequence[StepRef]]:
        """Run all failed and cancelled steps of a run again."""
        async with self._database.transaction(store.FILE) as connection:
            turn = await self._load(connection, run_id)
            if turn is None:
                return _no_run(run_id), ()
            if turn.snapshot.state not in _RETRYABLE:
                return _not_retryable(turn), ()
            again = tuple(
                index
                for index, view in sorted(turn.snapshot.steps.items())
                if view.state in (StepState.FAILED, StepState.CANCELLED)
            )
            refused = turn.take(Redriven(steps=again, actor=request.actor))
            if refused is not None:
                return FailedPrecondition("RUN_NOT_RETRYABLE", refused.reason), ()
            letters = await connection.rows("find_open_dead_letters", run_ids=[run_id])
            await _close(connection, [row["dead_letter_id"] for row in letters], DeadLetterState.REDRIVEN, request)
            await self._save(connection, turn)
        return None, queued_refs([turn])

    async def redrive(self, letter_id: UUID, request: Request) -> tuple[TaskforgeError | None, Sequence[StepRef]]:
        """Run the step of one dead letter again."""
        async with self._database.transaction(store.FILE) as connection:
            letter = await _read_letter(connection, letter_id)
            if isinstance(letter, TaskforgeError):
                return letter, ()
            # The run's lock comes first everywhere, so the letter's state is read again under it.
            turn = await self._load(connection, letter["run_id"])
            if turn is None:
                return _no_run(letter["run_id"]), ()
            if turn.view(letter["step"]).epoch != letter["epoch"]:
                return _closed("the step was run again already"), ()
            refused = turn.take(Redriven(steps=(letter["step"],), actor=request.actor))
            if refused is not None:
                return FailedPrecondition("RUN_NOT_RETRYABLE", f"cannot redrive: {refused.reason}"), ()
            if not await _close(connection, [letter_id], DeadLetterState.REDRIVEN, request):
                raise WriteConflict
            await self._save(connection, turn)
        return None, queued_refs([turn])

    async def discard(self, letter_id: UUID, request: Request) -> TaskforgeError | None:
        """Close a dead letter without running anything."""
        async with self._database.transaction(store.FILE) as connection:
            letter = await _read_letter(connection, letter_id)
            if isinstance(letter, TaskforgeError):
                return letter
            if not await _close(connection, [letter_id], DeadLetterState.DISCARDED, request):
                return _closed("it was closed a moment ago")
        return None

    async def _load(self, connection: Connection, run_id: UUID) -> RunTurn | None:
        return (await load_turns(connection, self._definitions, [run_id])).get(run_id)

    async def _save(self, connection: Connection, turn: RunTurn) -> None:
        await save_turns(connection, [turn], lease=self._lease)


async def _read_letter(connection: Connection, letter_id: UUID) -> dict[str, Any] | TaskforgeError:
    row = await connection.row("read_dead_letter", id=letter_id)
    if row is None:
        return NotFound("DEAD_LETTER_NOT_FOUND", f"there is no dead letter {letter_id}")
    if row["state"] != DeadLetterState.OPEN:
        return _closed(f"it is {row['state']} already")
    return dict(row)


async def _close(connection: Connection, ids: Sequence[UUID], state: DeadLetterState, request: Request) -> int:
    return await connection.run(
        "close_dead_letters", ids=list(ids), state=state, actor=request.actor, comment=request.comment
    )


def _no_run(run_id: UUID) -> NotFound:
    return NotFound("RUN_NOT_FOUND", f"there is no run {run_id}")


def _closed(why: str) -> FailedPrecondition:
    return FailedPrecondition("DEAD_LETTER_CLOSED", f"the dead letter is closed: {why}")


def _not_retryable(turn: RunTurn) -> FailedPrecondition:
    state = turn.snapshot.state
    hint = "cancel it first" if state not in RUN_FINAL else "start a new run"
    return FailedPrecondition(
        "RUN_NOT_RETRYABLE", f"the run is {state}; only FAILED and CANCELLED runs can be run again", hint=hint
    )
