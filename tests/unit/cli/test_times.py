from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge_cli.errors import CliError
from taskforge_cli.ids import shorten
from taskforge_cli.times import ago, elapsed, parse_duration, parse_moment, rfc3339

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0ms"),
        (0.2124, "212ms"),
        (0.9999, "1.0s"),
        (3.24, "3.2s"),
        (59.97, "1m00s"),
        (125, "2m05s"),
        (11520, "3h12m"),
        (353000, "4d2h"),
        (-1, "0ms"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("1d", 86400), ("2.5h", 9000), ("45", 45)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "x", "5 minutes", "1h x", "-3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--timeout is") as caught:
        parse_duration(text, "--timeout")
    assert caught.value.code == "DURATION_SYNTAX"


def test_a_moment_is_a_date_or_a_duration_before_now() -> None:
    assert parse_moment("24h", "--since", NOW) == NOW - timedelta(hours=24)
    assert parse_moment("2026-02-01T00:00:00Z", "--since", NOW) == datetime(2026, 2, 1, tzinfo=UTC)


def test_moments_are_relative_with_their_largest_unit() -> None:
    assert ago(NOW - timedelta(seconds=125), NOW) == "2m ago"
    assert ago(NOW + timedelta(hours=3), NOW) == "in 3h"
    assert ago(NOW, NOW) == "now"


def test_programs_get_utc_with_milliseconds() -> None:
    assert rfc3339(NOW.astimezone()) == "2026-03-01T12:00:00.000Z"


def test_ids_are_as_short_as_they_can_be() -> None:
    alone = "0192f1c2-aaaa-7bbb-8ccc-ddddeeeeffff"
    assert shorten([alone]) == {alone: "0192f1c2-aaaa"}


@given(st.lists(st.uuids(), min_size=1, max_size=30), st.integers(min_value=0, max_value=30))
def test_short_ids_are_unique_prefixes(uuids: list[object], shared: int) -> None:
    common = "0192f1c2-aaaa-7bbb-8ccc-ddddeeeeffff"[:shared]
    ids = {common + str(uuid)[shared:] for uuid in uuids}
    found = shorten(ids)
    for name, short in found.items():
        assert name.startswith(short)
        assert len(short) >= 13
        assert [other for other in ids if other.startswith(short)] == [name]
