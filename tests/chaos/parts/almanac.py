"""When a cron schedule fires, found the slow way: by looking at every minute. Shares no code with the product.

It knows numbers, `*`, lists, ranges and steps, and the two rules of daylight saving that the language documents: a
fixed time that the clocks skip is made up for right after the gap, and one that they repeat counts once; a pattern with
`*` in minute or hour follows the time that really passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

_MINUTE = timedelta(minutes=1)
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@dataclass(frozen=True, slots=True)
class Reading:
    """A pattern of five fields, each the set of its values."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    is_fixed: bool

    def shows(self, wall: datetime) -> bool:
        """Whether it names this minute of a wall clock."""
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        by_day, by_weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either_day else by_day and by_weekday


@lru_cache(maxsize=256)
def read(cron: str) -> Reading:
    """Read a pattern."""
    fields = cron.split()
    minutes, hours, days, months, weekdays = (
        _values(field, *bounds) for field, bounds in zip(fields, _RANGES, strict=True)
    )
    return Reading(
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        either_day=fields[2][0] != "*" and fields[4][0] != "*",
        is_fixed=fields[0][0] != "*" and fields[1][0] != "*",
    )


def _values(field: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin = low if first == "*" else int(first)
        end = high if first == "*" else int(last or first)
        found |= set(range(begin, end + 1, int(step or 1)))
    return frozenset(found)


class Clock:
    """The wall clock of a zone between two instants, minute by minute."""

    def __init__(self, zone: ZoneInfo, start: datetime, end: datetime) -> None:
        self._shown: Mapping[datetime, list[datetime]] = {}
        shown: dict[datetime, list[datetime]] = {}
        instant = start
        while instant <= end:
            shown.setdefault(instant.astimezone(zone).replace(tzinfo=None), []).append(instant)
            instant += _MINUTE
        self._shown = shown

    def fires(self, cron: str) -> list[datetime]:
        """Every instant at which a schedule of this pattern fires."""
        pattern = read(cron)
        found = self._fixed(pattern) if pattern.is_fixed else self._running(pattern)
        return sorted(set(found))

    def _running(self, pattern: Reading) -> Iterator[datetime]:
        for wall, instants in self._shown.items():
            if pattern.shows(wall):
                yield from instants

    def _fixed(self, pattern: Reading) -> Iterator[datetime]:
        wall, last = min(self._shown), max(self._shown)
        meant = False  # a skipped minute was one of ours
        while wall <= last:
            instants = self._shown.get(wall)
            if instants is None:
                meant = meant or pattern.shows(wall)
            elif meant or pattern.shows(wall):
                yield instants[0]
                meant = False
            wall += _MINUTE


def transitions(zone: ZoneInfo, first_year: int, last_year: int) -> list[datetime]:
    """The instants at which a zone's clocks are changed, to the minute."""
    found = []
    day, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        following = day + timedelta(days=1)
        if _offset(zone, day) != _offset(zone, following):
            found.append(_change(zone, day, following))
        day = following
    return found


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = _offset(zone, low)
    while high - low > _MINUTE:
        middle = low + (high - low) // 2
        middle = middle.replace(second=0, microsecond=0)
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()
