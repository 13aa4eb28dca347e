"""Leasing QUEUED steps to executors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from taskforge.domain.run import Claimed
from taskforge.domain.states import StepState
from taskforge.failpoints import Point, reach
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.grants import GrantPlan, build_grants, grant_known, needs_reading
from taskforge.scheduler.leases import HeldLease, extend
from taskforge.scheduler.memory import Memory
from taskforge.scheduler.run_turn import (
    Note,
    RunTurn,
    StepRef,
    load_turns,
    save_turns,
    without_waiting_long,
    write_known,
)
from taskforge.store import runs as store
from taskforge.store.pool import Connection, Database
from taskforge.store.runs import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One executor's wish for work."""

    executor_id: UUID
    hints: tuple[StepRef, ...]
    poll: bool
    limit: int
    held: frozenset[HeldLease] | None = None  #: not to be granted again; in a poll, all it knows of. None: not said


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What was granted at once, and what is left to be claimed by those who read."""

    grants: list[pb.Grant]
    left: Claim | None


class Claimer:
    """Grants leases in batches."""

    def __init__(self, database: Database, definitions: Definitions, memory: Memory, *, lease: timedelta) -> None:
        self._database = database
        self._definitions = definitions
        self._memory = memory
        self._lease = lease

    async def claim_known(self, claims: Sequence[Claim]) -> list[Granted]:
        """Lease what the claims name of remembered runs, in one statement and without reading."""
        turns = self._memory.take({run_id for claim in claims for run_id, _ in claim.hints})
        plans = [_take_known(claim, turns) for claim in claims]
        written = await write_known(self._database, turns.values(), lease=self._lease)
        plans = [[plan for plan in some if plan.turn.row.run_id in written] for some in plans]
        claimed = [
            Granted(grants=[grant_known(plan, self._lease) for plan in some], left=_left(claim, some))
            for claim, some in zip(claims, plans, strict=True)
        ]
        self._memory.keep([turns[run_id] for run_id in written], written)
        if written:
            await reach(Point.CLAIM_COMMITTED)
        return claimed

    async def claim(self, claims: Sequence[Claim]) -> list[list[pb.Grant]]:
        """Lease what the claims name, what their executors lost, and whatever is QUEUED to those that poll.

        What another scheduler holds for long is left out: it comes again with the next hint or poll.

        Returns:
            One list a claim.
        """
        return await without_waiting_long(lambda patience: self._claim(claims, patience))

    async def _claim(self, claims: Sequence[Claim], patience: Patience) -> list[list[pb.Grant]]:
        async with self._database.transaction(store.FILE) as connection:
            lost = await self._find_lost(connection, claims)
            polled = await self._find_queued(connection, claims)
            named = [ref for claim in claims for ref in (*claim.hints, *lost.get(claim.executor_id, ()))]
            run_ids = {run_id for run_id, _ in (*named, *polled)}
            turns = await load_turns(connection, self._definitions, run_ids, patience=patience)
            plans = [_take(claim, turns, lost.get(claim.executor_id, ()), polled) for claim in claims]
            written = await save_turns(connection, turns.values(), lease=self._lease)
            plans = [await self._renewed(connection, *pair) for pair in zip(claims, plans, strict=True)]
            grants = await build_grants(connection, [plan for some in plans for plan in some], self._lease)
        self._memory.keep(turns.values(), written)
        if grants:
            await reach(Point.CLAIM_COMMITTED)
        found = iter(grants)
        return [[next(found) for _ in some] for some in plans]

    async def _find_lost(self, connection: Connection, claims: Sequence[Claim]) -> dict[UUID, list[StepRef]]:
        """Leases that executors which poll do not know of, by executor: the answers that granted them were lost.

        One may also be a continuation whose answer is under way. It comes twice then, and its executor takes it once.
        """
        asking = {claim.executor_id: claim for claim in claims if claim.poll and claim.held is not None}
        if not asking:
            return {}
        held = set().union(*(claim.held or () for claim in asking.values()))
        limit = len(held) + sum(claim.limit for claim in asking.values())
        lost: dict[UUID, list[StepRef]] = {}
        for row in await connection.rows("find_leases_of", executor_ids=list(asking), lease=self._lease, limit=limit):
            lease = HeldLease(run_id=row["run_id"], step=row["step"], token=row["lease_token"])
            if lease not in held:
                lost.setdefault(row["executor_id"], []).append((lease.run_id, lease.step))
        return lost

    async def _find_queued(self, connection: Connection, claims: Sequence[Claim]) -> list[StepRef]:
        limit = sum(claim.limit for claim in claims if claim.poll)
        if not limit:
            return []
        rows = await connection.rows("find_queued", limit=limit)
        return [(row["run_id"], row["step"]) for row in rows]

    async def _renewed(self, connection: Connection, claim: Claim, plans: list[GrantPlan]) -> list[GrantPlan]:
        """Renew what is granted again, for its grant says how long it lasts; what cannot be renewed is left out."""
        again = [plan for plan in plans if _is_granted_again(plan)]
        if not again:
            return plans
        renewed = await extend(connection, claim.executor_id, [plan.lease for plan in again], self._lease)
        return [plan for plan in plans if plan not in again or (plan.turn.row.run_id, plan.step) in renewed]


def _take_known(claim: Claim, turns: dict[UUID, RunTurn]) -> list[GrantPlan]:
    plans: list[GrantPlan] = []
    for run_id, step in dict.fromkeys(claim.hints):
        turn = turns.get(run_id)
        if turn is None or turn.view(step).state is not StepState.QUEUED or len(plans) == claim.limit:
            continue
        plan = GrantPlan(turn=turn, step=step)
        if not needs_reading(plan) and turn.take(Claimed(step=step), Note(executor_id=claim.executor_id)) is None:
            plans.append(plan)
    return plans


def _left(claim: Claim, plans: Sequence[GrantPlan]) -> Claim | None:
    """What a claim still asks for after these plans."""
    leases = [plan.lease for plan in plans]
    taken = {(lease.run_id, lease.step) for lease in leases}
    hints = tuple(ref for ref in claim.hints if ref not in taken)
    limit = claim.limit - len(plans)
    if not limit or not (hints or claim.poll):
        return None
    held = None if claim.held is None else claim.held.union(leases)
    return replace(claim, hints=hints, limit=limit, held=held)


def _take(claim: Claim, turns: dict[UUID, RunTurn], lost: Sequence[StepRef], polled: list[StepRef]) -> list[GrantPlan]:
    """Apply one claim: what is known by name first; what it does not use of the polled steps is left to the next."""
    plans: list[GrantPlan] = []
    for ref in dict.fromkeys((*lost, *claim.hints)):
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
    if row is None or turn.view(step).state is not StepState.RUNNING or row.view.state is not StepState.RUNNING:
        return False
    lease = HeldLease(run_id=turn.row.run_id, step=step, token=row.view.token)
    if claim.held is not None and lease in claim.held:
        return False
    return row.lease_alive and row.executor_id == claim.executor_id


def _is_granted_again(plan: GrantPlan) -> bool:
    row = plan.turn.step_row(plan.step)
    return row is not None and row.view.state is StepState.RUNNING
