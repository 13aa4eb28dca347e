"""Cron patterns on the wall clock: the dialect, and the same days and minutes as cronsim finds."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from taskforge.domain.cron import CronError, parse_cron

NEW_YEAR = datetime(2026, 1, 1)


def first(pattern: str, count: int = 1, after: datetime = NEW_YEAR) -> list[str]:
    found = []
    for _ in range(count):
        match = parse_cron(pattern).next_after(after)
        assert match is not None
        found.append(match.strftime("%m-%d %H:%M"))
        after = match
    return found


def refusal(pattern: str) -> CronError:
    with pytest.raises(CronError) as caught:
        parse_cron(pattern)
    return caught.value


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*/20 * * * *", ["01-01 00:20", "01-01 00:40", "01-01 01:00"]),
        ("5,10-12 3 * * *", ["01-01 03:05", "01-01 03:10", "01-01 03:11"]),
        ("0 9 * * MON-FRI", ["01-01 09:00", "01-02 09:00", "01-05 09:00"]),
        ("0 0 31 * *", ["01-31 00:00", "03-31 00:00", "05-31 00:00"]),
        ("0 0 1 JAN,jul *", ["07-01 00:00", "01-01 00:00"]),
        ("0 0 * * 0", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * 7", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * 6-7", ["01-03 00:00", "01-04 00:00", "01-10 00:00"]),
        ("0 0 * * 3-3", ["01-07 00:00", "01-14 00:00"]),
        ("0 0 L * *", ["01-31 00:00", "02-28 00:00"]),
        ("0 0 * * 5L", ["01-30 00:00", "02-27 00:00"]),
        ("0 0 * * FRI#2", ["01-09 00:00", "02-13 00:00"]),
        ("0 0 15W * *", ["01-15 00:00", "02-16 00:00"]),
        ("@hourly", ["01-01 01:00", "01-01 02:00"]),
        ("@daily", ["01-02 00:00", "01-03 00:00"]),
        ("@weekly", ["01-04 00:00", "01-11 00:00"]),
        ("@monthly", ["02-01 00:00", "03-01 00:00"]),
        ("@yearly", ["01-01 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00"]),
    ],
)
def test_patterns_match_as_cron_does(pattern: str, matches: list[str]) -> None:
    assert first(pattern, len(matches)) == matches


def test_two_restricted_day_fields_are_alternatives() -> None:
    assert first("0 0 13 * FRI", 3) == ["01-02 00:00", "01-09 00:00", "01-13 00:00"]
    assert first("0 0 1-31 * MON", 2) == ["01-02 00:00", "01-03 00:00"]


def test_a_day_field_that_starts_with_a_star_does_not_make_an_alternative() -> None:
    assert first("0 0 */2 * MON", 2) == ["01-05 00:00", "01-19 00:00"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("* * * *", "'* * * *' has 4 fields, not five"),
        ("", "'' has 0 fields, not five"),
        ("0 0 0 * * *", "six fields; seconds and years are not part of it"),
        ("61 * * * *", "'61' is not a minute"),
        ("* 24 * * *", "'24' is not a hour"),
        ("* * 0 * *", "'0' is not a day of the month"),
        ("* * * 13 *", "'13' is not a month"),
        ("* * * * 8", "'8' is not a day of the week"),
        ("*/0 * * * *", "'*/0' is not a minute"),
        ("*/61 * * * *", "'*/61' is not a minute"),
        ("a * * * *", "'a' is not a minute"),
        ("1,,2 * * * *", "'1,,2' is not a minute"),
        ("H * * * *", "'H' is not a minute"),
        ("* * ? * *", "'?' is not part of cron"),
        ("@reboot", "@reboot has no meaning here"),
        ("@dayly", "unknown schedule '@dayly'"),
        ("@DAILY", "unknown schedule '@DAILY'"),
        ("$(id) * * * *", "is not a minute"),
    ],
)
def test_other_patterns_are_refused_by_field(pattern: str, message: str) -> None:
    assert message in str(refusal(pattern))


def test_six_fields_are_led_to_intervals() -> None:
    assert refusal("*/10 * * * * *").hint == "write every: 10s"


def test_a_day_that_does_not_exist_is_never_found() -> None:
    assert parse_cron("0 0 30 2 *").next_after(NEW_YEAR) is None
    assert parse_cron("0 0 31 2,4,6,9,11 *").next_after(NEW_YEAR) is None


def test_days_that_are_decades_away_are_found() -> None:
    assert parse_cron("* * 13 3 */7").next_after(datetime(1995, 1, 1)) == datetime(2005, 3, 13)
    assert parse_cron("0 0 29 2 */7").next_after(datetime(2088, 3, 1)) == datetime(2128, 2, 29)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, high - low).map(lambda n: f"*/{n}")
    several = st.lists(number, min_size=1, max_size=3, unique=True).map(lambda many: ",".join(map(str, sorted(many))))
    return st.one_of(st.just("*"), st.just("*"), number.map(str), span, step, several)


patterns = st.tuples(_field(0, 59), _field(0, 23), _field(1, 28), _field(1, 12), _field(0, 7)).map(" ".join)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1))


@settings(max_examples=100, deadline=None)
@given(pattern=patterns, moment=moments)
def test_matches_are_those_of_cronsim(pattern: str, moment: datetime) -> None:
    assert parse_cron(pattern).next_after(moment) == next(CronSim(pattern, moment))


@settings(max_examples=50, deadline=None)
@given(pattern=patterns, moment=moments)
def test_the_next_match_is_later_and_on_a_whole_minute(pattern: str, moment: datetime) -> None:
    match = parse_cron(pattern).next_after(moment)
    assert match is not None
    assert match > moment
    assert (match.second, match.microsecond) == (0, 0)
    assert parse_cron(pattern).next_after(match - timedelta(minutes=1)) == match
