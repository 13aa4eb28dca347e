"""Five-field cron patterns on a wall clock, without time zones: `schedule.py` adds those.

croniter reads the fields. The next match is searched here, because a schedule is recomputed at every fire and
croniter's own search costs twenty times as much; it still does the rare forms (`L`, `W`, `#`).

The dialect is Vixie's: if both day fields are restricted, either one suffices; a field that starts with `*` restricts
nothing by itself, so `*/2` and a weekday must both match.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from croniter import CroniterBadDateError, CroniterError, croniter

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_RANGES = ("0-59", "0-23", "1-31", "1-12 or JAN-DEC", "0-7 or SUN-SAT")
_FULL = (range(60), range(24), range(1, 32), range(1, 13), range(7))
_ALLOWED = re.compile(r"[0-9A-Za-z*,/#-]{1,200}", re.ASCII)
_NAMES = re.compile(r"JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT", re.IGNORECASE)
_LAST_WEEKDAY = re.compile(r"(?<![0-9A-Z])([0-7]|[A-Z]{3})L(?![0-9A-Z])", re.IGNORECASE)
_POINT = re.compile(r"(?<![\w-])(\w+)-\1(?!\w)(?:/\d+)?", re.ASCII)
_LETTERS = re.compile(r"[A-Z]", re.IGNORECASE)
_HORIZON_YEARS = 41  # 29 February is a certain day of the week once in 28 years, and in 40 around 2100
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CronPattern:
    """A pattern, ready to search. `text` is its five fields."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  #: both day fields are restricted: one of them suffices
    is_fixed: bool  #: neither minute nor hour starts with `*`
    is_rare: bool  #: uses `L`, `W` or `#`

    def next_after(self, wall: datetime) -> datetime | None:
        """The first matching minute after a wall-clock time (without a zone), or None within four decades."""
        if self.is_rare:
            return self._next_rare(wall)
        start = wall.replace(second=0, microsecond=0) + _MINUTE
        today = start.date()
        if self._matches(today):
            time = self._first_time(start.hour, start.minute)
            if time is not None:
                return datetime(today.year, today.month, today.day, *time)
        found = self._next_day(today)
        return datetime(found.year, found.month, found.day, self.hours[0], self.minutes[0]) if found else None

    def _matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_days, in_weekdays = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_days or in_weekdays if self.either_day else in_days and in_weekdays

    def _first_time(self, hour: int, minute: int) -> tuple[int, int] | None:
        """The first hour and minute at or after the given ones."""
        position = bisect_left(self.hours, hour)
        if position < len(self.hours) and self.hours[position] == hour:
            first = bisect_left(self.minutes, minute)
            if first < len(self.minutes):
                return hour, self.minutes[first]
            position += 1
        return (self.hours[position], self.minutes[0]) if position < len(self.hours) else None

    def _next_day(self, day: date) -> date | None:
        last = day.year + _HORIZON_YEARS
        day += timedelta(days=1)
        while day.year <= last:
            if day.month not in self.months:
                day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            elif self._matches(day):
                return day
            else:
                day += timedelta(days=1)
        return None

    def _next_rare(self, wall: datetime) -> datetime | None:
        search = croniter(self.text, wall, max_years_between_matches=_HORIZON_YEARS, implement_cron_bug=True)
        try:
            found: datetime = search.get_next(datetime)
        except CroniterBadDateError:
            return None
        return found


class CronError(ValueError):
    """A pattern is wrong. The message is for its author; `hint` says what to write."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@lru_cache(maxsize=8192)
def parse_cron(text: str) -> CronPattern:
    """Read a pattern. Raises CronError."""
    fields = _fields_of(text)
    for index, field in enumerate(fields):
        _check_field(field, index)
    expanded, by_weekday = croniter.expand(" ".join(fields))
    values = [
        tuple(sorted(full if "*" in found else {int(value) for value in found if value != "l"}))
        for found, full in zip(expanded, _FULL, strict=True)
    ]
    dates = fields[2].upper()
    return CronPattern(
        text=" ".join(fields),
        minutes=values[0],
        hours=values[1],
        days=frozenset(values[2]),
        months=frozenset(values[3]),
        weekdays=frozenset(values[4]),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
        is_fixed=not fields[0].startswith("*") and not fields[1].startswith("*"),
        is_rare="L" in dates or "W" in dates or bool(by_weekday),
    )


def _fields_of(text: str) -> list[str]:
    text = text.strip()
    if text == "@reboot":
        raise CronError("@reboot has no meaning here: nothing of a workflow boots")
    if text.startswith("@"):
        if text not in _ALIASES:
            raise CronError(f"unknown schedule '{text[:40]}'", f"known: {', '.join(sorted(_ALIASES))}")
        text = _ALIASES[text]
    fields = text.split()
    if len(fields) == 6:
        raise CronError(f"'{text[:80]}' has six fields; seconds and years are not part of it", "write every: 10s")
    if len(fields) != 5:
        count = "field" if len(fields) == 1 else "fields"
        raise CronError(f"'{text[:80]}' has {len(fields)} {count}, not five", f"they are: {', '.join(_FIELDS)}")
    fields = [_POINT.sub(r"\1", field) for field in fields]  # croniter takes `5-5` for a full turn
    fields[4] = _LAST_WEEKDAY.sub(r"L\1", fields[4])  # croniter's spelling
    return fields


def _check_field(field: str, index: int) -> None:
    """Expand a field alone, so that an error can name it."""
    expected = f"it takes {_RANGES[index]}, *, lists with `,`, ranges with `-` and steps with `/`"
    wrong = CronError(f"'{field[:40]}' is not a {_FIELDS[index]}", expected)
    if field == "?":
        raise CronError("'?' is not part of cron", "write *")
    letters = _LETTERS.findall(_NAMES.sub("", field)) if index >= 2 else _LETTERS.findall(field)
    allowed = {2: {"L", "W"}, 4: {"L"}}.get(index, set())
    too_wide = any(int(step) > len(_FULL[index]) for step in re.findall(r"/(\d{1,9})", field))
    if too_wide or not _ALLOWED.fullmatch(field) or {letter.upper() for letter in letters} - allowed:
        raise wrong
    alone = ["*"] * 5
    alone[index] = field
    try:
        croniter.expand(" ".join(alone))
    except (CroniterError, ValueError, KeyError, IndexError):
        raise wrong from None
