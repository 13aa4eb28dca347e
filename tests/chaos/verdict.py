"""Puts together what is known about a load and lets the checker judge it."""

from __future__ import annotations

from collections.abc import Sequence

from taskforge.invariants.check import check
from taskforge.invariants.resting import rests
from taskforge.invariants.rows import Fault, Outside, Violation
from tests.chaos.history import read_history, read_tickets
from tests.chaos.parts.shots import Fired
from tests.chaos.world.calls import read_calls
from tests.chaos.world.load import Load
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.world import World


async def judge(world: World, load: Load, *, faults: Sequence[Fired], final: bool) -> list[Violation]:
    """Every violation. With `final`, runs that have not ended, or not as they should have, are violations too."""
    async with world.database() as connection:
        history = await read_history(connection, load.name)
        tickets = await read_tickets(connection, load.name)
    outside = Outside(
        ops=load.driver.ops,
        ledger=load.ledger_lines(),
        tickets=tickets,
        callers=load.workload.callers,
        keyed=load.workload.keyed,
        calls=read_calls(world),
        faults=[_as_fault(fired) for fired in faults],
    )
    found = check(history, outside)
    if final:
        ended = load.workload.expected
        found += [
            Violation(invariant="I15", run_id=run.run_id, message=f"ended {run.state}")
            for run in history.runs
            if run.state not in ended
        ]
        found += rests(history, grace=RECOVERY_SECONDS)
    return found


def _as_fault(fired: Fired) -> Fault:
    at = fired.at.timestamp()
    return Fault(what=f"{fired.action} at {fired.point}", target=fired.service, at=at, until=at + fired.seconds)
