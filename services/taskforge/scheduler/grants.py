"""What an executor is told with a lease: the inputs and the ended steps that the rest of the run may read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from taskforge.domain.run import Snapshot, StepView
from taskforge.domain.states import StepState
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.scheduler.run_turn import RunTurn
from taskforge.store.pool import Connection
from taskforge.store.runs import of_runs

Results = Mapping[tuple[UUID, int], Mapping[str, Any]]

_WITH_RESULT = (StepState.SUCCEEDED, StepState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantPlan:
    """A leased step whose grant is to be filled in.

    `known` holds the ended steps that the executor has already; None for a fresh claim, which gets everything.
    """

    turn: RunTurn
    step: int
    known: Collection[int] | None = None


async def build_grants(connection: Connection, plans: Sequence[GrantPlan], lease: timedelta) -> list[pb.Grant]:
    """Read what the plans need, in two queries at most, and build the messages in the same order."""
    if not plans:
        return []
    results = await _read_results(connection, plans)
    fresh = [plan.turn.row.run_id for plan in plans if plan.known is None]
    rows = await connection.rows("read_run_inputs", **of_runs(fresh)) if fresh else []
    inputs = {row["run_id"]: row for row in rows}
    return [_grant(plan, results, inputs, lease) for plan in plans]


async def _read_results(connection: Connection, plans: Sequence[GrantPlan]) -> Results:
    wanted = [(plan.turn.row.run_id, step) for plan in plans for step in _needed_results(plan)]
    if not wanted:
        return {}
    rows = await connection.rows(
        "read_results", **of_runs([run_id for run_id, _ in wanted]), steps=[step for _, step in wanted]
    )
    return {(row["run_id"], row["step"]): row for row in rows}


def _needed_results(plan: GrantPlan) -> list[int]:
    """Results that steps which have not ended may read and that the executor does not have."""
    snapshot = plan.turn.snapshot
    read = {
        index for step in plan.turn.workflow.steps if not snapshot.step(step.index).is_final for index in step.reads
    }
    unknown = read.difference(plan.known or ())
    return sorted(index for index in unknown if snapshot.step(index).state in _WITH_RESULT)


def _grant(
    plan: GrantPlan,
    results: Results,
    inputs: Mapping[UUID, Mapping[str, Any]],
    lease: timedelta,
) -> pb.Grant:
    turn, row = plan.turn, plan.turn.row
    view = turn.view(plan.step)
    grant = pb.Grant(
        lease=pb.Lease(run_id=row.run_id.bytes, step=plan.step, token=view.token),
        attempt=view.attempt,
        epoch=view.epoch,
        revision_id=row.revision_id.bytes,
        workflow=row.workflow,
        steps=_known_steps(plan, turn.snapshot, results),
        lease_milliseconds=int(lease.total_seconds() * 1000),
    )
    if row.run_id in inputs and plan.known is None:
        run = inputs[row.run_id]
        grant.inputs_json = run["inputs"]
        grant.trigger_json = run["trigger"]
        created: datetime = run["created_at"]
        grant.create_time_us = int(created.timestamp() * 1_000_000)
    return grant


def _known_steps(plan: GrantPlan, snapshot: Snapshot, results: Results) -> list[pb.KnownStep]:
    known = plan.known or ()
    return [
        _known_step(index, view, results.get((plan.turn.row.run_id, index), {}))
        for index, view in snapshot.steps.items()
        if view.is_final and index not in known
    ]


def _known_step(index: int, view: StepView, result: Mapping[str, Any]) -> pb.KnownStep:
    return pb.KnownStep(
        step=index,
        state=view.state,
        output_json=result.get("output"),
        error_json=result.get("error"),
        branch_plus_one=0 if view.branch is None else view.branch + 1,
    )
