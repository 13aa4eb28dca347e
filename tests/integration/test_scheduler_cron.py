"""Schedules: every tick is one row, and fires at most one run."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from uuid import UUID

from taskforge.domain.workflow import CronTrigger, Overlap
from taskforge.runtime.ids import new_id
from taskforge.scheduler.cron import LIMIT
from taskforge.scheduler.ticks import AT_ONCE
from taskforge.store.trigger_json import to_json
from tests.support.engine import Engine

EVERY = """
name: demo
inputs: {who: {type: string, default: world}}
triggers:
  - {id: often, every: 10s, overlap: OVERLAP}
steps:
  - {id: only, log: "hello ${{ inputs.who }}"}
"""


async def schedule(
    engine: Engine, *, overlap: Overlap = Overlap.ALLOW_ALL, every: float = 10.0, workflow: str = "demo"
) -> UUID:
    revision = await engine.revision(EVERY.replace("OVERLAP", overlap), workflow=workflow)
    trigger_id = new_id()
    await engine.execute(
        "INSERT INTO triggers (trigger_id, workflow, id, kind, revision_id, path_key, definition)"
        " VALUES ($1, $2, 'often', 'schedule', $3, '', $4)",
        trigger_id,
        workflow,
        revision,
        to_json(CronTrigger(id="often", every=every, overlap=overlap)),
    )
    await engine.cron.reconcile()
    return trigger_id


async def back(engine: Engine, seconds: int, *, every: int = 10) -> None:
    """Put the next tick into the past, as a downtime would."""
    await engine.execute(
        "UPDATE schedules SET next_fire_at = to_timestamp("
        "floor(extract(epoch FROM clock_timestamp()) / $2) * $2) - make_interval(secs => $1)",
        float(seconds),
        float(every),
    )


async def outcomes(engine: Engine) -> list[str]:
    return [row["outcome"] for row in await engine.fetch("SELECT outcome FROM ticks ORDER BY nominal_at")]


async def test_a_due_tick_starts_a_run_with_the_default_inputs(engine: Engine) -> None:
    await schedule(engine)
    await back(engine, 0)
    assert await engine.cron.fire_due() == 1
    [run] = await engine.fetch("SELECT cause_kind, cause_trigger, inputs, trigger FROM runs")
    assert (run["cause_kind"], run["cause_trigger"]) == ("schedule", "often")
    assert json.loads(run["inputs"]) == {"who": "world"}
    assert json.loads(run["trigger"])["type"] == "schedule"
    assert await engine.cron.fire_due() == 0


async def test_many_schedulers_fire_a_tick_once(engine: Engine) -> None:
    await schedule(engine)
    await back(engine, 0)
    await asyncio.gather(*(engine.cron.fire_due() for _ in range(5)))
    assert await outcomes(engine) == ["FIRED"]
    assert len(await engine.fetch("SELECT 1 FROM runs")) == 1


async def test_more_than_one_transaction_takes_fires_once_each(engine: Engine) -> None:
    await schedule(engine)
    count = 3 * LIMIT + 7
    await engine.execute(
        "INSERT INTO triggers (trigger_id, workflow, id, kind, revision_id, path_key, definition)"
        " SELECT gen_random_uuid(), workflow, id || n, kind, revision_id, path_key, definition"
        " FROM triggers, generate_series(2, $1::integer) AS n",
        count,
    )
    await engine.cron.reconcile()
    await back(engine, 0)
    assert await engine.cron.tick() >= count  # a schedule whose next instant came in between is due again
    fired = await engine.fetch("SELECT count(*), count(DISTINCT run_id) FROM ticks WHERE outcome = 'FIRED'")
    runs = await engine.fetch("SELECT count(*) FROM runs")
    assert fired[0][0] == fired[0][1] == runs[0][0] >= count
    assert len(await engine.fetch("SELECT DISTINCT trigger_id FROM ticks")) == count


async def test_a_tick_that_exists_fires_nothing(engine: Engine) -> None:
    trigger_id = await schedule(engine)
    await back(engine, 0)
    await engine.execute(
        "INSERT INTO ticks (trigger_id, nominal_at, outcome)"
        " SELECT trigger_id, next_fire_at, 'COALESCED' FROM schedules WHERE trigger_id = $1",
        trigger_id,
    )
    await engine.cron.fire_due()
    assert await engine.fetch("SELECT 1 FROM runs") == []


async def test_after_a_downtime_the_last_tick_fires_and_the_others_are_accounted_for(engine: Engine) -> None:
    await schedule(engine)
    await back(engine, 30)
    await engine.cron.fire_due()
    assert await outcomes(engine) == ["COALESCED", "COALESCED", "COALESCED", "FIRED"]
    assert len(await engine.fetch("SELECT 1 FROM runs")) == 1


async def test_a_fast_schedule_loses_no_tick_in_a_long_downtime(engine: Engine) -> None:
    """More ticks than one transaction takes: the next one goes on where it ended, and only the newest tick fires."""
    missed = AT_ONCE + 500
    await schedule(engine, every=1.0)
    await back(engine, missed, every=1)
    [before] = await engine.fetch("SELECT next_fire_at FROM schedules")
    while await engine.cron.fire_due():
        pass
    rows = await engine.fetch("SELECT nominal_at, outcome FROM ticks ORDER BY nominal_at")
    assert rows[0]["nominal_at"] == before["next_fire_at"]
    gaps = {(later["nominal_at"] - earlier["nominal_at"]).total_seconds() for earlier, later in pairwise(rows)}
    assert gaps == {1.0}
    assert {row["outcome"] for row in rows[:missed]} == {"COALESCED"}
    assert rows[-1]["outcome"] == "FIRED"


async def test_what_was_missed_before_yesterday_is_one_row(engine: Engine) -> None:
    await schedule(engine, every=3600.0)
    await back(engine, 30 * 86_400, every=3600)
    await engine.cron.fire_due()
    assert await outcomes(engine) == ["MISSED_WINDOW"] + ["COALESCED"] * 23 + ["FIRED"]


async def test_a_look_says_when_there_is_something_to_do(engine: Engine) -> None:
    await engine.cron.reconcile()
    assert await engine.cron.look() is None
    await schedule(engine)
    seconds = await engine.cron.look()
    assert seconds is not None
    assert 0 < seconds <= 10
    await back(engine, 20)
    assert (await engine.cron.look() or 0) <= -20
    await back(engine, -20)
    await engine.execute("DELETE FROM triggers")
    assert await engine.cron.look() == 0  # the schedule has to follow, long before it is due


async def test_a_schedule_whose_workflow_cannot_be_compiled_stops_no_other(engine: Engine) -> None:
    """As after going back to a version that knows less."""
    broken = await schedule(engine, workflow="newer")
    await engine.execute("UPDATE revisions SET source = 'name: newer\nfuture: true' WHERE workflow = 'newer'")
    await schedule(engine)
    await back(engine, 0)
    assert await engine.cron.fire_due() == 1
    assert await engine.fetch("SELECT 1 FROM ticks WHERE trigger_id = $1", broken) == []
    assert len(await engine.fetch("SELECT 1 FROM runs")) == 1
    assert await engine.cron.reconcile()
    seconds = await engine.cron.look()
    assert seconds is not None
    assert seconds > 0


async def test_a_schedule_in_a_time_zone_that_is_gone_stops_no_other(engine: Engine) -> None:
    broken = await schedule(engine, workflow="gone")
    gone = '{"id": "often", "cron": "* * * * *", "timezone": "Mars/Olympus"}'
    await engine.execute("UPDATE schedules SET definition = $1", gone)
    await engine.execute("UPDATE triggers SET definition = $1", gone)
    await schedule(engine)
    await back(engine, 0)
    assert await engine.cron.fire_due() == 1
    await engine.execute("DELETE FROM schedules WHERE trigger_id = $1", broken)
    await engine.execute("UPDATE triggers SET updated_at = clock_timestamp()")
    await engine.cron.reconcile()
    assert len(await engine.fetch("SELECT 1 FROM schedules")) == 1


async def test_it_is_tried_again_when_a_definition_changes(engine: Engine) -> None:
    trigger_id = await schedule(engine)
    good = (await engine.fetch("SELECT definition FROM schedules"))[0]["definition"]
    await engine.execute('UPDATE schedules SET definition = \'{"id": "often", "cron": "newer than we are"}\'')
    await back(engine, 20)
    assert await engine.cron.fire_due() == 0
    await engine.execute("UPDATE schedules SET definition = $1", good)
    await engine.execute("UPDATE triggers SET updated_at = clock_timestamp()")
    await engine.cron.tick()
    assert await outcomes(engine) == ["COALESCED", "COALESCED", "FIRED"]
    assert {row["trigger_id"] for row in await engine.fetch("SELECT trigger_id FROM ticks")} == {trigger_id}


async def test_overlap_skip_waits_for_the_run_before(engine: Engine) -> None:
    await schedule(engine, overlap=Overlap.SKIP)
    await back(engine, 10)
    await engine.cron.fire_due()
    await back(engine, 0)
    await engine.execute("DELETE FROM ticks WHERE nominal_at = (SELECT max(nominal_at) FROM ticks)")
    await engine.cron.fire_due()
    assert (await outcomes(engine))[-1] == "SKIPPED_OVERLAP"
    assert len(await engine.fetch("SELECT 1 FROM runs")) == 1


async def test_a_removed_trigger_takes_its_schedule_along(engine: Engine) -> None:
    await schedule(engine)
    await engine.execute("DELETE FROM triggers")
    await engine.cron.reconcile()
    assert await engine.fetch("SELECT 1 FROM schedules") == []
