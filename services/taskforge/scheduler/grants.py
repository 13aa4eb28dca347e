"""What an executor is told with a lease: the inputs and the ended steps that the rest of the run may read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from taskforge.domain.run import Snapshot, StepView
from taskforge.domain.states import StepState
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.scheduler.leases import HeldLease
from taskforge.scheduler.run_turn import RunInputs, RunTurn
from taskforge.store.pool import Connection
from taskforge.store.runs import of_runs

Results = Mapping[tuple[UUID, int], Mapping[str, Any]]

_WITH_RESULT = (StepState.SUCCEEDED, StepState.FAILED)


class GrantPlan(NamedTuple):
    """A leased step whose grant is to be filled in.

    `known` holds the ended steps that the executor has already; None for a fresh claim, which gets everything.
    """

    turn: RunTurn
    step: int
    known: Collection[int] | None = None

    @property
    def lease(self) -> HeldLease:
        """The lease that is granted."""
        return HeldLease(run_id=self.turn.row.run_id, step=self.step, token=self.turn.view(self.step).token)


async def build_grants(connection: Connection, plans: Sequence[GrantPlan], lease: timedelta) -> list[pb.Grant]:
    """Read what the plans need, in two queries at most, and build the messages in the same order."""
    if not plans:
        return []
    results = await _read_results(connection, plans)
    await _read_inputs(connection, [plan.turn for plan in plans if plan.known is None])
    return [_grant(plan, results, lease) for plan in plans]


def grant_known(plan: GrantPlan, lease: timedelta) -> pb.Grant:
    """The same for a plan that needs no reading."""
    return _grant(plan, {}, lease)


def needs_reading(plan: GrantPlan) -> bool:
    """Whether the message holds something that is only in the database."""
    return (plan.known is None and plan.turn.inputs is None) or bool(_needed_results(plan))


async def _read_inputs(connection: Connection, turns: Iterable[RunTurn]) -> None:
    unknown = {turn.row.run_id: turn for turn in turns if turn.inputs is None}
    if not unknown:
        return
    for row in await connection.rows("read_run_inputs", **of_runs(unknown)):
        inputs = RunInputs(inputs=row["inputs"], trigger=row["trigger"], created_at=row["created_at"])
        unknown[row["run_id"]].inputs = inputs


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


def _grant(plan: GrantPlan, results: Results, lease: timedelta) -> pb.Grant:
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
    if turn.inputs is not None and plan.known is None:
        grant.inputs_json = turn.inputs.inputs
        grant.trigger_json = turn.inputs.trigger
        grant.create_time_us = int(turn.inputs.created_at.timestamp() * 1_000_000)
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
