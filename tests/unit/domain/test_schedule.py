"""Schedules in time zones: what happens when clocks change, checked against cronsim and by brute force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from taskforge.domain.cron import parse_cron
from taskforge.domain.schedule import check_cron, check_timezone, fires_between, next_fire
from taskforge.domain.workflow import CronTrigger

ZONES = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Africa/Casablanca",
    "Pacific/Apia",
]


def cron(pattern: str, timezone: str = "UTC") -> CronTrigger:
    return CronTrigger(id="tick", cron=pattern, timezone=timezone)


def fires_on(day: str, pattern: str, timezone: str) -> list[str]:
    """The fires of one local day, in UTC."""
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(timezone))
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=ZoneInfo(timezone))
    moment = timedelta(seconds=1)
    fires = fires_between(cron(pattern, timezone), start.astimezone(UTC) - moment, end.astimezone(UTC) - moment, 2000)
    return [fire.strftime("%m-%dT%H:%MZ") for fire in fires]


@pytest.mark.parametrize(
    ("pattern", "timezone", "day", "fires"),
    [
        ("30 2 * * *", "Europe/Paris", "2026-03-29", ["03-29T01:00Z"]),
        ("30 2 * * *", "Europe/Paris", "2026-10-25", ["10-25T00:30Z"]),
        ("0 2,3 * * *", "America/New_York", "2026-03-08", ["03-08T07:00Z"]),
        ("0 0 * * *", "America/Santiago", "2026-09-06", ["09-06T04:00Z"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["10-03T15:30Z"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05", ["04-04T14:45Z"]),
    ],
)
def test_a_fixed_time_fires_once_a_day_whatever_the_clocks_do(
    pattern: str, timezone: str, day: str, fires: list[str]
) -> None:
    assert fires_on(day, pattern, timezone) == fires


def test_an_hourly_schedule_never_pauses_and_fires_in_both_repeated_hours() -> None:
    fires = fires_on("2026-11-01", "0 * * * *", "America/New_York")
    assert len(fires) == 25
    assert {"11-01T05:00Z", "11-01T06:00Z"} <= set(fires)


def test_an_hourly_schedule_skips_the_hour_that_does_not_exist() -> None:
    fires = fires_on("2026-03-08", "0 * * * *", "America/New_York")
    assert len(fires) == 23
    assert fires[1:3] == ["03-08T06:00Z", "03-08T07:00Z"]


def test_a_running_minute_in_a_fixed_hour_runs_through_the_repeated_hour_twice() -> None:
    assert len(fires_on("2026-10-25", "*/15 2 * * *", "Europe/Paris")) == 8
    assert fires_on("2026-03-29", "*/15 2 * * *", "Europe/Paris") == []


def test_an_interval_fires_at_its_multiples_since_1970() -> None:
    every = CronTrigger(id="tick", every=90.0)
    after = datetime(2026, 11, 22, 10, 0, 1, tzinfo=UTC)
    first = next_fire(every, after)
    assert first is not None
    assert first > after
    assert first.timestamp() % 90 == 0
    assert next_fire(every, first) == first + timedelta(seconds=90)


def test_a_fire_is_strictly_later() -> None:
    fire = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    assert next_fire(cron("0 12 * * *"), fire) == fire + timedelta(days=1)
    assert next_fire(cron("0 12 * * *"), fire - timedelta(microseconds=1)) == fire


def test_fires_between_takes_the_end_but_not_the_start_and_stops_at_its_limit() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert [fire.hour for fire in fires_between(cron("0 * * * *"), start, end, 10)] == [1, 2, 3]
    assert len(fires_between(cron("0 * * * *"), start, end, 2)) == 2
    assert fires_between(cron("0 0 30 2 *"), start, end, 10) == []


def test_a_pattern_that_never_fires_is_refused() -> None:
    error = check_cron("0 0 30 2 *")
    assert error is not None
    assert str(error) == "'0 0 30 2 *' never fires: no such day exists"
    assert check_cron("0 0 29 2 *") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Pariss", "did you mean 'Europe/Paris'?"),
        ("europe/paris", "did you mean 'Europe/Paris'?"),
        ("Berlin", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("Nowhere/Xyzzy", "write an IANA name such as Europe/Paris"),
        ("../../etc/passwd", "write an IANA name such as Europe/Paris"),
        ("", "write an IANA name such as Europe/Paris"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_one_that_was_meant(name: str, hint: str) -> None:
    error = check_timezone(name)
    assert error is not None
    assert error.hint == hint


@pytest.mark.parametrize("name", ZONES)
def test_known_zones_pass(name: str) -> None:
    assert check_timezone(name) is None


# --- against another implementation, and against the definition -----------------------------------

PATTERNS = [
    "0 0 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "15,45 1-3 * * *",
    "59 23 * * *",
    "*/10 * * * *",
    "0 * * * *",
    "0 */3 * * *",
    "*/30 1 * * *",
    "0 3 * * SUN",
]


def transitions(zone: ZoneInfo, year: int) -> list[datetime]:
    """The hours of a year in which the offset of a zone changes."""
    hour = timedelta(hours=1)
    moments = [datetime(year, 1, 1, tzinfo=UTC) + hour * n for n in range(366 * 24)]
    return [a for a in moments if a.astimezone(zone).utcoffset() != (a + hour).astimezone(zone).utcoffset()]


# cronsim loses 03:00 after Lord Howe's half hour; that zone is checked by brute force below.
@pytest.mark.parametrize("name", [name for name in ZONES if name != "Australia/Lord_Howe"])
def test_fires_around_every_change_of_the_clocks_are_those_of_cronsim(name: str) -> None:
    zone = ZoneInfo(name)
    for change in transitions(zone, 2026):
        start, end = change - timedelta(hours=30), change + timedelta(hours=30)
        for pattern in PATTERNS:
            oracle = []
            for fire in CronSim(pattern, start.astimezone(zone)):
                if fire.astimezone(UTC) > end:
                    break
                oracle.append(fire.astimezone(UTC))
            assert fires_between(cron(pattern, name), start, end, 1000) == oracle, (pattern, change)


def shown_by_the_clock(pattern: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The definition of a running schedule: every minute that really passes and whose wall clock matches."""
    parsed = parse_cron(pattern)
    minute = timedelta(minutes=1)
    fires = []
    moment = start + minute
    while moment <= end:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        if parsed.next_after(wall - minute) == wall:
            fires.append(moment)
        moment += minute
    return fires


@settings(max_examples=25, deadline=None)
@given(
    pattern=st.sampled_from(
        ["*/7 * * * *", "0 * * * *", "30 */2 * * *", "*/20 1,2 * * *", "* 0 * * *", "5 * 1-15 * *"]
    ),
    name=st.sampled_from(ZONES),
    hours=st.integers(0, 365 * 24 * 10),
)
def test_a_running_schedule_fires_whenever_the_clock_shows_it(pattern: str, name: str, hours: int) -> None:
    zone = ZoneInfo(name)
    start = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    end = start + timedelta(hours=12)
    assert fires_between(cron(pattern, name), start, end, 2000) == shown_by_the_clock(pattern, zone, start, end)


@pytest.mark.parametrize("name", ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Santiago"])
def test_a_running_schedule_fires_right_around_each_change(name: str) -> None:
    zone = ZoneInfo(name)
    for change in transitions(zone, 2026):
        for minutes in range(-150, 151, 7):
            start = change + timedelta(minutes=minutes)
            end = start + timedelta(hours=2)
            found = fires_between(cron("*/15 * * * *", name), start, end, 100)
            assert found == shown_by_the_clock("*/15 * * * *", zone, start, end), start


@settings(max_examples=100, deadline=None)
@given(
    pattern=st.sampled_from(["0 0 * * *", "30 2 * * *", "15 1 * * *", "0 2,3 * * *"]),
    name=st.sampled_from(ZONES),
    hours=st.integers(0, 365 * 24 * 10),
)
def test_a_fixed_schedule_never_misses_a_day_and_never_fires_twice_for_one_time(
    pattern: str, name: str, hours: int
) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    fires = fires_between(cron(pattern, name), start, start + timedelta(days=3), 20)
    gaps = [later - earlier for earlier, later in pairwise(fires)]
    assert fires
    assert all(timedelta(0) < gap <= timedelta(hours=26) for gap in gaps)
    walls = [fire.astimezone(ZoneInfo(name)).replace(tzinfo=None) for fire in fires]
    assert len(set(walls)) == len(walls)
