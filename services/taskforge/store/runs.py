"""Rows of runs and steps, as the scheduler locks and reads them. Reads for the API are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from enum import Enum, auto
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from taskforge.domain.outcome import ErrorKind, StepError
from taskforge.domain.run import StepView
from taskforge.domain.states import RunState, StepState
from taskforge.store.pool import BY_KEY, Connection

FILE = "runs"


#: A scheduler's connections. Its transactions take milliseconds: whoever holds a run for so long has stopped.
SESSION = {**BY_KEY, "lock_timeout": "500"}
_LONG_MILLISECONDS = "5000"


class Patience(Enum):
    """How long a run that another transaction holds is waited for."""

    LONG = auto()  # somebody asked for this one
    SHORT = auto()  # as long as SESSION says
    NONE = auto()  # not at all: what is held is left out


class RunsHeld(Exception):
    """Another transaction has held a run for longer than the caller would wait. Nothing of this one may be kept."""


class RunRow(NamedTuple):
    """A run under its row lock."""

    run_id: UUID
    workflow: str
    revision_id: UUID
    state: RunState
    seq: int
    error: StepError | None
    is_overdue: bool = False  #: its timeout has passed


class StepRow(NamedTuple):
    """A step as stored, with what the fence needs."""

    view: StepView
    executor_id: UUID | None
    lease_alive: bool
    is_due: bool  #: a RETRYING step's delay is over
    result_hash: bytes | None
    started_at: datetime | None


def of_runs(run_ids: Collection[UUID]) -> dict[str, Any]:
    """The parameters by which queries find rows of some runs, one at least: their ids, and bounds for the planner."""
    return {"run_ids": list(run_ids), "first": min(run_ids), "last": max(run_ids)}


async def lock_runs(
    connection: Connection, run_ids: Collection[UUID], *, patience: Patience = Patience.LONG
) -> dict[UUID, RunRow]:
    """Lock runs, within a transaction, in the order of their ids; runs that do not exist are left out.

    Raises:
        RunsHeld: another transaction has held one for longer than a SHORT patience.
    """
    if not run_ids:
        return {}
    if patience is Patience.LONG:
        await connection.run("wait_for_locks", milliseconds=_LONG_MILLISECONDS)
    try:
        rows = await connection.rows("lock_free_runs" if patience is Patience.NONE else "lock_runs", **of_runs(run_ids))
    except asyncpg.LockNotAvailableError as error:
        if patience is not Patience.SHORT:
            raise
        raise RunsHeld from error
    return {
        row["run_id"]: RunRow(
            run_id=row["run_id"],
            workflow=row["workflow"],
            revision_id=row["revision_id"],
            state=RunState(row["state"]),
            seq=row["seq"],
            error=error_from_json(row["error"]),
            is_overdue=bool(row["is_overdue"]),
        )
        for row in rows
    }


async def read_steps(connection: Connection, run_ids: Collection[UUID]) -> dict[UUID, dict[int, StepRow]]:
    """Read all steps of locked runs."""
    rows = await connection.rows("read_steps", **of_runs(run_ids))
    found: dict[UUID, dict[int, StepRow]] = {}
    for row in rows:
        found.setdefault(row["run_id"], {})[row["step"]] = _step_row(row)
    return found


def _step_row(row: Mapping[str, Any]) -> StepRow:
    view = StepView(
        state=StepState(row["state"]),
        attempt=row["attempt"],
        failures=row["failures"],
        crashes=row["crashes"],
        epoch=row["epoch"],
        token=row["lease_token"],
        branch=row["branch"],
        elapsed=row["elapsed"],
    )
    return StepRow(
        view=view,
        executor_id=row["executor_id"],
        lease_alive=bool(row["lease_alive"]),
        is_due=bool(row["is_due"]),
        result_hash=row["result_hash"],
        started_at=row["started_at"],
    )


def error_to_json(error: StepError | None) -> str | None:
    """The stored form of an error: an object with `kind`, `message`, `status`, `details`."""
    if error is None:
        return None
    document = {"kind": error.kind, "message": error.message, "status": error.status, "details": error.details}
    return json.dumps({key: value for key, value in document.items() if value is not None}, ensure_ascii=False)


def error_from_json(text: str | None) -> StepError | None:
    """The inverse of `error_to_json`."""
    if text is None:
        return None
    document = json.loads(text)
    return StepError(
        kind=ErrorKind(document["kind"]),
        message=document["message"],
        status=document.get("status"),
        details=document.get("details"),
    )
