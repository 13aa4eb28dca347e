"""Schedules: they fire, each tick is kept, and what comes next can be read beforehand."""

from __future__ import annotations

from typing import Any

from taskforge.v1.run_pb2 import Cause
from taskforge.v1.schedule_service_pb2 import GetScheduleRequest, ListSchedulesRequest, Tick
from tests.e2e.stories import Workflows
from tests.support.api import Api, plain
from tests.support.target import Target
from tests.support.waiting import eventually


async def schedule_of(api: Api, name: str, trigger: str, *, count: int = 5) -> Any:
    """Read a schedule."""
    request = GetScheduleRequest(name=f"workflows/{name}/schedules/{trigger}", count=count)
    return await api.call(api.schedules.GetSchedule, request)


async def test_a_schedule_fires_and_keeps_its_ticks(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply("""
        name: $name
        inputs:
          who: {type: string}
        triggers:
          - {id: often, every: 1s, overlap: allow_all, inputs: {who: clock}}
        steps:
          - {id: greet, transform: {value: "hello ${{ inputs.who }}, it is ${{ trigger.nominal_at }}"}}
        output: ${{ steps.greet.output }}
    """)

    async def fired() -> list[Tick]:
        ticks = [tick for tick in (await schedule_of(api, name, "often", count=10)).last_ticks if tick.run]
        assert len(ticks) >= 2, f"it has fired {len(ticks)} times"
        return ticks

    ticks: list[Tick] = await eventually(fired, within=15.0)
    assert {tick.outcome for tick in ticks} == {Tick.OUTCOME_FIRED}
    assert len({tick.run for tick in ticks}) == len(ticks)
    assert all(tick.nominal_time.nanos == 0 for tick in ticks)

    run = await api.ended(ticks[-1].run)
    assert run.cause.kind == Cause.KIND_SCHEDULE
    assert run.cause.trigger == "often"
    nominal = ticks[-1].nominal_time.ToJsonString()
    assert plain(run.output) == f"hello clock, it is {nominal}"


async def test_a_schedule_does_not_overlap_itself(api: Api, workflows: Workflows, target: Target) -> None:
    target.hold("/slow")
    name = await workflows.apply("""
        name: $name
        triggers:
          - {id: often, every: 1s}
        steps:
          - {id: call, http: {url: $target/slow}}
    """)

    async def skipped() -> list[Tick]:
        ticks = list((await schedule_of(api, name, "often", count=10)).last_ticks)
        assert [tick.outcome for tick in ticks].count(Tick.OUTCOME_SKIPPED_OVERLAP) >= 2
        return ticks

    ticks: list[Tick] = await eventually(skipped, within=15.0)
    assert [tick.outcome for tick in ticks].count(Tick.OUTCOME_FIRED) == 1
    assert len(await api.runs_of(name)) == 1


async def test_the_next_ticks_are_known_beforehand(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply("""
        name: $name
        triggers:
          - {id: nightly, cron: "30 2 * * *", timezone: Europe/Paris}
        steps:
          - {id: work, transform: {value: 1}}
    """)
    schedule = await schedule_of(api, name, "nightly", count=400)
    assert (schedule.cron, schedule.time_zone, schedule.overlap) == ("30 2 * * *", "Europe/Paris", "skip")
    local = [tick.local_time[11:16] for tick in schedule.next_ticks]
    assert set(local) <= {"02:30", "03:00", "03:30"}
    assert local.count("02:30") >= len(local) - 1
    listed = await api.call(api.schedules.ListSchedules, ListSchedulesRequest(workflow=f"workflows/{name}"))
    assert [one.name for one in listed.schedules] == [f"workflows/{name}/schedules/nightly"]


async def test_a_cron_schedule_fires_on_the_minute(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply("""
        name: $name
        triggers:
          - {id: minutely, cron: "* * * * *"}
        steps:
          - {id: work, transform: {value: "${{ trigger.nominal_at }}"}}
        output: ${{ steps.work.output }}
    """)
    due = (await schedule_of(api, name, "minutely")).next_ticks[0].time

    async def fired() -> Tick:
        ticks = (await schedule_of(api, name, "minutely")).last_ticks
        assert ticks, f"it is due at {due.ToJsonString()}"
        tick: Tick = ticks[-1]
        return tick

    tick = await eventually(fired, within=75.0, pause=0.2)
    assert tick.nominal_time == due
    assert tick.handle_time.ToNanoseconds() - due.ToNanoseconds() < 3_000_000_000
    assert plain((await api.ended(tick.run)).output) == due.ToJsonString()
