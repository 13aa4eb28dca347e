"""What is said about ticks around a change of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskforge.domain.schedule import next_fire
from taskforge.domain.workflow import CronTrigger
from taskforge.gateway.schedule_notes import note_on


def notes(trigger: CronTrigger, start: str, count: int) -> list[str]:
    before = datetime.fromisoformat(start).replace(tzinfo=UTC)
    found = []
    for _ in range(count):
        tick = next_fire(trigger, before)
        assert tick is not None
        found.append(note_on(trigger, tick, before))
        before = tick
    return found


# Paris sets its clocks forward on 29 March 2026 at 02:00, and back on 25 October 2026 at 03:00.


def test_a_time_that_the_clocks_skip() -> None:
    skipped = "the clocks skip the time meant, so it fires at 03:00, when they have been set forward"
    assert notes(nightly(), "2026-03-28T12:00", 3) == [skipped, "", ""]


def test_a_time_that_the_clocks_show_twice() -> None:
    twice = "the clocks show 02:30 twice; this is the first time"
    assert notes(nightly(), "2026-10-23T12:00", 3) == [
        "",
        twice,
        "the clocks are set back by an hour before this tick",
    ]


def test_an_hourly_schedule_runs_through_both_hours() -> None:
    hourly = CronTrigger(id="x", cron="30 * * * *", timezone="Europe/Paris")
    assert notes(hourly, "2026-10-24T23:45", 4) == [
        "the clocks show 02:30 twice; this is the first time",
        "the clocks show 02:30 twice; this is the second time",
        "",
        "",
    ]


def test_a_tick_after_a_change_says_so() -> None:
    morning = CronTrigger(id="x", cron="0 9 * * *", timezone="Europe/Paris")
    assert notes(morning, "2026-03-28T12:00", 2) == ["the clocks are set forward by an hour before this tick", ""]


def test_half_an_hour_is_said_as_such() -> None:
    island = CronTrigger(id="x", cron="0 9 * * *", timezone="Australia/Lord_Howe")
    [note, *_] = [note for note in notes(island, "2026-10-01T12:00", 5) if note]
    assert note == "the clocks are set forward by 30 minutes before this tick"


@pytest.mark.parametrize(
    "trigger", [CronTrigger(id="x", every=600.0), CronTrigger(id="x", cron="30 2 * * *", timezone="UTC")]
)
def test_without_a_change_there_is_nothing_to_say(trigger: CronTrigger) -> None:
    assert set(notes(trigger, "2026-03-28T12:00", 10)) == {""}


def nightly() -> CronTrigger:
    return CronTrigger(id="x", cron="30 2 * * *", timezone="Europe/Paris")
