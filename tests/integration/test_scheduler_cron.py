"""Schedules: every tick is one row, and fires at most one run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from taskforge.domain.workflow import CronTrigger, Overlap
from taskforge.runtime.ids import new_id
from taskforge.store.trigger_json import to_json
from tests.support.engine import Engine
from tests.support.postgres import Database

EVERY = """
name: demo
inputs: {who: {type: string, default: world}}
triggers:
  - {id: often, every: 10s, overlap: OVERLAP}
steps:
  - {id: only, log: "hello ${{ inputs.who }}"}
"""


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[Engine]:
    engine = Engine(database)
    yield engine
    await engine.close()


async def schedule(engine: Engine, *, overlap: Overlap = Overlap.ALLOW_ALL) -> UUID:
    revision = await engine.revision(EVERY.replace("OVERLAP", overlap))
    trigger_id = new_id()
    await engine.execute(
        "INSERT INTO triggers (trigger_id, workflow, id, kind, revision_id, path_key, definition)"
        " VALUES ($1, 'demo', 'often', 'schedule', $2, '', $3)",
        trigger_id,
        revision,
        to_json(CronTrigger(id="often", every=10.0, overlap=overlap)),
    )
    await engine.cron.reconcile()
    return trigger_id


async def back(engine: Engine, seconds: int) -> None:
    """Put the next tick into the past, as a downtime would."""
    await engine.execute(
        "UPDATE schedules SET next_fire_at = to_timestamp("
        "floor(extract(epoch FROM clock_timestamp()) / 10) * 10) - make_interval(secs => $1)",
        seconds,
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
