"""What becomes of the ticks of a schedule that is due. Pure: the row carries the database's time.

The newest tick fires. Those before it were missed while no scheduler ran: each gets a row, so that nothing is lost
silently, except that of those older than a day only the first one gets one, which stands for them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from taskforge.domain.schedule import CATCH_UP_WINDOW, TickOutcome, next_fire
from taskforge.domain.workflow import CronTrigger
from taskforge.runtime.ids import new_id
from taskforge.store.trigger_json import cron_from_json

#: Ticks that one transaction writes. Schedules that have missed more take several.
AT_ONCE = 10_000


@dataclass(slots=True, kw_only=True)
class Tick:
    """One instant of a schedule."""

    trigger_id: UUID
    nominal_at: datetime
    outcome: TickOutcome
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A schedule that is due, with its ticks up to now. `next_fire_at` has passed, too, if they were too many."""

    row: Mapping[str, Any]
    trigger: CronTrigger
    ticks: list[Tick]
    next_fire_at: datetime | None


def due(row: Mapping[str, Any], limit: int) -> Due:
    """Decide on the next ticks of one schedule, about `limit` of them.

    Raises:
        Exception: its definition cannot be read, or its time zone is not known here.
    """
    trigger = cron_from_json(json.loads(row["definition"]))
    now: datetime = row["now"]
    first: datetime = row["next_fire_at"]
    oldest = now - CATCH_UP_WINDOW
    ticks = [_tick(row, first, TickOutcome.MISSED_WINDOW if first <= oldest else TickOutcome.COALESCED)]
    following = next_fire(trigger, max(first, oldest))
    while following is not None and following <= now and len(ticks) <= limit:
        ticks.append(_tick(row, following, TickOutcome.COALESCED))
        following = next_fire(trigger, following)
    is_up_to_date = following is None or following > now
    if is_up_to_date and ticks[-1].outcome is TickOutcome.COALESCED:
        ticks[-1].outcome, ticks[-1].run_id = TickOutcome.FIRED, new_id()
    return Due(row=row, trigger=trigger, ticks=ticks, next_fire_at=following)


def _tick(row: Mapping[str, Any], nominal_at: datetime, outcome: TickOutcome) -> Tick:
    return Tick(trigger_id=row["trigger_id"], nominal_at=nominal_at, outcome=outcome)
