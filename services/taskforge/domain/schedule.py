"""When schedules fire: cron in a time zone, or a fixed interval. Pure: `after` is passed in.

Daylight saving follows Vixie cron. A schedule whose minute and hour are both fixed fires once a day: a time that the
clocks skip fires at the first instant after the gap, a time that they repeat fires the first time only. A schedule with
`*` in minute or hour follows the time that really passes: it never pauses, and skips what never happens.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from taskforge.domain.cron import CronError, CronPattern, parse_cron
from taskforge.domain.workflow import CronTrigger

#: Ticks that nobody got to for longer are not made up for, and only the first of them is recorded.
CATCH_UP_WINDOW = timedelta(hours=24)

_MILLISECOND = timedelta(milliseconds=1)
_MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ATTEMPTS = 2000  # candidates that daylight saving may rule out in a row; a gap has 60 or 120 minutes


class TickOutcome(StrEnum):
    """What became of an instant at which a schedule was due."""

    FIRED = "FIRED"  # it started a run
    SKIPPED_OVERLAP = "SKIPPED_OVERLAP"  # the run before was still active
    COALESCED = "COALESCED"  # a later tick was due, too, and stands for it
    MISSED_WINDOW = "MISSED_WINDOW"  # it was too late, as were those after it that have no row


def next_fire(trigger: CronTrigger, after: datetime) -> datetime | None:
    """The first fire strictly after an instant, in UTC; None if there is none for four decades."""
    if trigger.cron is None:
        return _next_interval(trigger.every or 0.0, after)
    return _next_cron(trigger.cron, trigger.timezone, after.astimezone(UTC))


def fires_between(trigger: CronTrigger, start: datetime, end: datetime, limit: int) -> list[datetime]:
    """The fires after `start`, up to and including `end`, at most `limit` of them."""
    fires: list[datetime] = []
    fire = next_fire(trigger, start)
    while fire is not None and fire <= end and len(fires) < limit:
        fires.append(fire)
        fire = next_fire(trigger, fire)
    return fires


def check_cron(text: str) -> CronError | None:
    """What is wrong with a pattern, or None."""
    try:
        pattern = parse_cron(text)
    except CronError as error:
        return error
    if pattern.next_after(datetime(2024, 1, 1)) is None:
        return CronError(f"'{text}' never fires: no such day exists")
    return None


def check_timezone(name: str) -> CronError | None:
    """What is wrong with a time zone's name, or None."""
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        zones = {zone.lower(): zone for zone in available_timezones()}
        by_city = {zone.rsplit("/", 1)[-1]: zone for zone in sorted(zones)}
        wanted = name.lower().replace(" ", "_")
        found = difflib.get_close_matches(wanted, zones, n=1) or [
            by_city[city] for city in difflib.get_close_matches(wanted.rsplit("/", 1)[-1], by_city, n=1)
        ]
        hint = f"did you mean '{zones[found[0]]}'?" if found else "write an IANA name such as Europe/Paris"
        return CronError(f"unknown time zone '{name[:60]}'", hint)
    return None


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=4096)
def _next_cron(text: str, timezone: str, after: datetime) -> datetime | None:
    """What is due at the same instant mostly has the same pattern: thousands of schedules ask one question."""
    pattern = parse_cron(text)
    zone = _zone(timezone)
    return _next_fixed(pattern, zone, after) if pattern.is_fixed else _next_running(pattern, zone, after)


def _next_interval(every: float, after: datetime) -> datetime | None:
    """Multiples of the interval since 1970, so that every scheduler finds the same ones without asking."""
    step = round(every * 1000)
    if step < 1:
        return None
    passed = (after - _EPOCH) // _MILLISECOND
    return _EPOCH + (passed // step + 1) * step * _MILLISECOND


def _next_fixed(pattern: CronPattern, zone: ZoneInfo, after: datetime) -> datetime | None:
    wall = after.astimezone(zone).replace(tzinfo=None)
    for _ in range(_ATTEMPTS):
        found = pattern.next_after(wall)
        if found is None:
            return None
        instant = _instant(found, zone, fold=0)
        if instant.astimezone(zone).replace(tzinfo=None) != found:
            instant = _end_of_gap(found, zone)
        if instant > after:
            return instant
        wall = found
    return None


def _next_running(pattern: CronPattern, zone: ZoneInfo, after: datetime) -> datetime | None:
    local = after.astimezone(zone)
    wall = local.replace(tzinfo=None)
    found = _next_on_clock(pattern, zone, wall, after)
    repeated = _next_repeated(pattern, zone, wall, after) if local.fold == 0 else None
    return min((instant for instant in (found, repeated) if instant is not None), default=None)


def _next_on_clock(pattern: CronPattern, zone: ZoneInfo, wall: datetime, after: datetime) -> datetime | None:
    """The first instant after `after` that shows a match later on the clock than `wall`."""
    for _ in range(_ATTEMPTS):
        match = pattern.next_after(wall)
        if match is None:
            return None
        for fold in (0, 1):
            instant = _instant(match, zone, fold)
            if instant > after and instant.astimezone(zone).replace(tzinfo=None) == match:
                return instant
        wall = match
    return None


def _next_repeated(pattern: CronPattern, zone: ZoneInfo, wall: datetime, after: datetime) -> datetime | None:
    """A match that the clock has shown already and will show once more, because it is about to be set back."""
    second = _instant(wall, zone, fold=1)
    back = second - _instant(wall, zone, fold=0)
    if back <= timedelta(0):
        return None
    match = pattern.next_after(wall - back - _MINUTE)
    while match is not None and match <= wall:
        instant = _instant(match, zone, fold=1)
        if instant > after and instant.astimezone(zone).fold == 1:
            return instant
        match = pattern.next_after(match)
    return None


def _instant(wall: datetime, zone: ZoneInfo, fold: int) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant after the gap that swallowed a wall-clock time: where the offset changes."""
    low, high = _instant(wall, zone, fold=1), _instant(wall, zone, fold=0)
    offset = high.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high
