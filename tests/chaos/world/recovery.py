"""When a fault is over: what had been begun ends, and what is asked for is answered again."""

from __future__ import annotations

import time
from collections import Counter

from tests.chaos.world.load import Load
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.support.waiting import eventually

#: Of the caller, who gives up a call that was under way only after so many seconds, and asks again.
_CALL_SECONDS = 5.0
HEALED_SECONDS = RECOVERY_SECONDS + _CALL_SECONDS

_OLD_RUNS = "SELECT count(*) FROM runs WHERE workflow = $1 AND created_at <= $2 AND ended_at IS NULL"
_NOW = "SELECT clock_timestamp()"


async def recovered(load: Load, *, at_once: int, within: float = HEALED_SECONDS) -> float:
    """Wait until every run that exists now has ended, and starts are confirmed by both ways; the seconds it took.

    Args:
        load: an endless one.
        at_once: how many starts it has under way: so many confirmations may be answers to what was asked before.
        within: raises AssertionError after so many seconds.
    """
    started, asked = time.monotonic(), len(load.driver.ops)
    async with load.world.database() as connection:
        now = await connection.fetchval(_NOW)

        async def done() -> None:
            left = await connection.fetchval(_OLD_RUNS, load.name, now)
            assert left == 0, f"{left} runs have not ended"
            confirmed = Counter(op.action for op in load.driver.ops[asked:] if op.kind == "ok")
            for action in ("start", "deliver"):
                assert confirmed[action] > at_once, f"{confirmed[action]} answers to '{action}'"

        await eventually(done, within=within, pause=0.1)
    return time.monotonic() - started


async def answered_again(load: Load, *, within: float = RECOVERY_SECONDS) -> float:
    """Wait until a start is confirmed that was asked for from now on; the seconds it took."""
    started, asked = time.monotonic(), len(load.driver.ops)

    def confirmed() -> None:
        new = set()
        for op in load.driver.ops[asked:]:
            if op.action in ("start", "deliver") and op.kind == "invoke":
                new.add(op.process)
            elif op.process in new and op.kind == "ok":
                return
        raise AssertionError("no start was confirmed")

    await eventually(confirmed, within=within)
    return time.monotonic() - started


async def refused_for_now(load: Load, *, count: int = 2, within: float = RECOVERY_SECONDS) -> None:
    """Wait until so many starts in a row were not confirmed: whoever does this has broken something."""
    asked = len(load.driver.ops)

    def refused() -> None:
        ends = [op.kind for op in load.driver.ops[asked:] if op.action in ("start", "deliver") and op.kind != "invoke"]
        assert len(ends) >= count, f"{len(ends)} starts were answered"
        assert "ok" not in ends[-count:], "starts are confirmed"

    await eventually(refused, within=within)
