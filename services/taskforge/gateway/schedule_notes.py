"""Remarks on ticks to come: what daylight saving time does to them."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from taskforge.domain.cron import parse_cron
from taskforge.domain.workflow import CronTrigger

_MINUTE = timedelta(minutes=1)


def note_on(trigger: CronTrigger, tick: datetime, before: datetime) -> str:
    """What is special about a tick, empty if nothing is. `before` is the tick before it, or now."""
    if trigger.cron is None:
        return ""
    zone = ZoneInfo(trigger.timezone)
    local = tick.astimezone(zone)
    wall = local.replace(tzinfo=None)
    notes = []
    if not _is_on_pattern(trigger.cron, wall):
        notes.append(f"the clocks skip the time meant, so it fires at {wall:%H:%M}, when they have been set forward")
    elif local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        which = "second" if local.fold else "first"
        notes.append(f"the clocks show {wall:%H:%M} twice; this is the {which} time")
    shift = _offset(local) - _offset(before.astimezone(zone))
    if shift and not notes:
        direction = "forward" if shift > timedelta(0) else "back"
        notes.append(f"the clocks are set {direction} by {_text(abs(shift))} before this tick")
    return "; ".join(notes)


def _is_on_pattern(cron: str, wall: datetime) -> bool:
    return parse_cron(cron).next_after(wall - _MINUTE) == wall


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta(0)


def _text(shift: timedelta) -> str:
    minutes = int(shift.total_seconds() // 60)
    if minutes % 60:
        return f"{minutes} minutes"
    return "an hour" if minutes == 60 else f"{minutes // 60} hours"
