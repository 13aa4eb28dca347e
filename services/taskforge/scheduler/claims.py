"""Leasing QUEUED steps to executors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from taskforge.domain.run import Claimed
from taskforge.domain.states import StepState
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.grants import GrantPlan, build_grants
from taskforge.scheduler.run_turn import Note, RunTurn, StepRef, load_turns, save_turns
from taskforge.store import runs as store
from taskforge.store.pool import Connection, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One executor's wish for work."""

    executor_id: UUID
    hints: tuple[StepRef, ...]
    poll: bool
    limit: int


class Claimer:
    """Grants leases in batches."""

    def __init__(self, database: Database, definitions: Definitions, *, lease: timedelta) -> None:
        self._database = database
        self._definitions = definitions
        self._lease = lease

    async def claim(self, claims: Sequence[Claim]) -> list[list[pb.Grant]]:
        """Lease what the claims name, then whatever else is QUEUED to those that poll; one list a claim."""
        async with self._database.transaction(store.FILE) as connection:
            polled = await self._find_queued(connection, claims)
            wanted = {run_id for claim in claims for run_id, _ in claim.hints} | {run_id for run_id, _ in polled}
            turns = await load_turns(connection, self._definitions, wanted)
            plans = [_take(claim, turns, polled) for claim in claims]
            await self._save(connection, turns)
            grants = await build_grants(connection, [plan for some in plans for plan in some], self._lease)
        found = iter(grants)
        return [[next(found) for _ in some] for some in plans]

    async def _find_queued(self, connection: Connection, claims: Sequence[Claim]) -> list[StepRef]:
        limit = sum(claim.limit for claim in claims if claim.poll)
        if not limit:
            return []
        rows = await connection.rows("find_queued", limit=limit)
        return [(row["run_id"], row["step"]) for row in rows]

    async def _save(self, connection: Connection, turns: dict[UUID, RunTurn]) -> None:
        if turns:
            now = next(iter(turns.values())).now
            await save_turns(connection, turns.values(), now=now, lease=self._lease)


def _take(claim: Claim, turns: dict[UUID, RunTurn], polled: list[StepRef]) -> list[GrantPlan]:
    """Apply one claim: its hints first; what it does not use of the polled steps is left to the next claim."""
    plans: list[GrantPlan] = []
    for ref in claim.hints:
        if len(plans) < claim.limit:
            _take_one(claim, turns, ref, plans)
    while claim.poll and polled and len(plans) < claim.limit:
        _take_one(claim, turns, polled.pop(0), plans)
    return plans


def _take_one(claim: Claim, turns: dict[UUID, RunTurn], ref: StepRef, plans: list[GrantPlan]) -> None:
    run_id, step = ref
    turn = turns.get(run_id)
    if turn is None or not 0 <= step < len(turn.workflow.steps):
        return
    if _is_own_lease(claim, turn, step):
        plans.append(GrantPlan(turn=turn, step=step))
    elif turn.view(step).state is StepState.QUEUED:
        refused = turn.take(Claimed(step=step), Note(executor_id=claim.executor_id))
        if refused is None:
            plans.append(GrantPlan(turn=turn, step=step))


def _is_own_lease(claim: Claim, turn: RunTurn, step: int) -> bool:
    """Whether the answer to an earlier claim was lost: the same grant is given again."""
    row = turn.step_row(step)
    if row is None or turn.view(step).state is not StepState.RUNNING:
        return False
    return row.view.state is StepState.RUNNING and row.lease_alive and row.executor_id == claim.executor_id
