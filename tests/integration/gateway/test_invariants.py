"""CheckInvariants: silent about what the product did, and loud about a row that somebody else has changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from taskforge.runtime.ids import new_id
from taskforge.store import invariant_reads
from taskforge.v1 import dead_letter_service_pb2, run_service_pb2
from taskforge.v1.system_service_pb2 import CheckInvariantsRequest, CheckInvariantsResponse
from tests.support.engine import Engine, failed, stretch, succeeded
from tests.support.gateway import Api
from tests.support.waiting import eventually

ALICE = new_id()
TWO = """
name: {name}
steps:
  - {{id: a, http: {{method: POST, url: "http://localhost/"}}}}
  - {{id: b, http: {{method: POST, url: "http://localhost/"}}}}
"""
BRANCHES = """
name: branches
steps:
  - {id: a, http: {method: POST, url: "http://localhost/"}}
  - {id: b, needs: [], http: {method: POST, url: "http://localhost/"}}
  - id: route
    needs: []
    switch:
      - if: ${{ true }}
        steps: [{id: taken, log: taken}]
      - else:
        steps: [{id: other, needs: [b], log: other}]
"""
TICKING = """
name: ticking
triggers: [{id: tick, every: 10s, overlap: allow_all}]
steps: [{id: a, log: hello}]
"""

pytestmark = pytest.mark.usefixtures("scheduler")


async def page(api: Api, **fields: Any) -> CheckInvariantsResponse:
    answer: CheckInvariantsResponse = await api.call(api.system.CheckInvariants, CheckInvariantsRequest(**fields))
    return answer


async def pages(api: Api, **fields: Any) -> list[CheckInvariantsResponse]:
    found = [await page(api, **fields)]
    while found[-1].next_page_token:
        found.append(await page(api, page_token=found[-1].next_page_token, **fields))
    return found


async def violations(api: Api, **fields: Any) -> list[tuple[str, str, str]]:
    return [
        (violation.invariant, violation.run, violation.step)
        for answer in await pages(api, **fields)
        for violation in answer.violations
    ]


async def done(api: Api, engine: Engine, *, workflow: str = "demo") -> str:
    """A run that succeeded."""
    name = (await api.start(workflow)).name
    await finish(engine)
    return name


async def finish(engine: Engine) -> None:
    """Let the run whose first step waits go on to its end."""
    [grant] = await engine.claim(ALICE)
    result = await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    await engine.report(ALICE, stretch(result.next.lease, succeeded(1)))


async def given_up(api: Api, engine: Engine) -> str:
    """A run whose first step gave up."""
    name = (await api.start("demo")).name
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(0, status=400, message="broken")))
    return name


def id_of(name: str) -> UUID:
    return UUID(name.removeprefix("runs/"))


async def letter_of(api: Api, run: str) -> str:
    request = dead_letter_service_pb2.ListDeadLettersRequest(run=run)
    return str((await api.call(api.dead_letters.ListDeadLetters, request)).dead_letters[0].name)


async def test_what_the_product_did_holds(api: Api, engine: Engine) -> None:
    await api.apply(TWO.format(name="demo"))
    await done(api, engine)
    run = await given_up(api, engine)
    request = dead_letter_service_pb2.RedriveDeadLetterRequest(name=await letter_of(api, run))
    await api.call(api.dead_letters.RedriveDeadLetter, request)
    await finish(engine)
    await given_up(api, engine)
    discarded = await letter_of(api, await given_up(api, engine))
    await api.call(api.dead_letters.DiscardDeadLetter, dead_letter_service_pb2.DiscardDeadLetterRequest(name=discarded))
    await api.call(api.runs.RetryRun, run_service_pb2.RetryRunRequest(name=await given_up(api, engine)))
    cancelled = (await api.start("demo")).name
    await api.call(api.runs.CancelRun, run_service_pb2.CancelRunRequest(name=cancelled))
    await api.start("demo")
    assert await violations(api) == []


async def test_a_changed_row_is_reported_with_its_run_and_step(api: Api, engine: Engine) -> None:
    await api.apply(TWO.format(name="demo"))
    await done(api, engine)
    broken = await done(api, engine)
    await engine.execute("DELETE FROM attempts WHERE run_id = $1 AND step = 1", id_of(broken))
    assert await violations(api) == [("I7", broken, "b")]


async def test_a_dead_letter_that_was_closed_behind_everybody_s_back_is_reported(api: Api, engine: Engine) -> None:
    await api.apply(TWO.format(name="demo"))
    run = await given_up(api, engine)
    await engine.execute("UPDATE dead_letters SET state = 'DISCARDED', closed_at = now(), closed_by = 'nobody'")
    assert await violations(api) == [("I18", run, "a")]


async def test_a_delivery_that_is_gone_is_reported(api: Api, engine: Engine) -> None:
    await api.apply(TWO.format(name="demo"))
    run = await done(api, engine)
    await engine.execute("UPDATE runs SET cause_kind = 'webhook', cause_id = $1", str(new_id()))
    assert await violations(api) == [("I4", run, "")]


async def test_pages_hold_as_many_runs_as_were_asked_for(api: Api, engine: Engine) -> None:
    await api.apply(TWO.format(name="demo"))
    runs = [await done(api, engine) for _ in range(5)]
    await engine.execute("DELETE FROM attempts WHERE step = 1")
    found = await pages(api, page_size=2)
    assert [answer.runs for answer in found] == [2, 2, 1, 0]
    assert [answer.steps for answer in found] == [4, 4, 2, 0]
    told = [{violation.run for violation in answer.violations} for answer in found]
    assert told == [set(runs[3:]), set(runs[1:3]), set(runs[:1]), set()]


async def test_a_long_history_makes_a_short_page(api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariant_reads, "EVENT_BUDGET", 12)
    await api.apply(TWO.format(name="demo"))
    for _ in range(3):
        await done(api, engine)
    assert [answer.runs for answer in await pages(api)] == [1, 1, 1, 0]


async def test_a_redrive_that_skips_a_step_holds(api: Api, engine: Engine) -> None:
    """The step was cancelled before it could be skipped; the redrive does both at once."""
    await api.apply(BRANCHES)
    name = (await api.start("branches")).name
    grants = {grant.lease.step: grant.lease for grant in await engine.claim(ALICE)}
    await report(engine, grants[2], succeeded(2, branch=0))
    await report(engine, grants[0], failed(0, status=400))
    await report(engine, grants[1], succeeded(1))
    await api.call(api.runs.RetryRun, run_service_pb2.RetryRunRequest(name=name))
    assert (await engine.step_states(id_of(name)))[4] == "SKIPPED"
    assert await violations(api) == []


async def report(engine: Engine, lease: Any, outcome: Any) -> None:
    await engine.report(ALICE, stretch(lease, outcome, accept_next=False))


async def test_only_what_was_asked_for_is_checked(api: Api, engine: Engine) -> None:
    await api.apply(TWO.format(name="demo"), TWO.format(name="other"))
    await done(api, engine)
    other = await done(api, engine, workflow="other")
    await engine.execute("DELETE FROM attempts WHERE step = 1")
    assert await violations(api, workflow="workflows/other") == [("I7", other, "b")]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await violations(api, since=later) == []


async def test_the_ticks_of_a_schedule_are_checked_page_by_page(
    api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariant_reads, "TICKS", 3)
    await api.apply(TICKING)
    await engine.cron.reconcile()
    await long_ago(engine, seconds=100)
    assert await engine.cron.fire_due() == 1
    assert await violations(api) == []
    answers = await pages(api)
    ticks = await engine.fetch("SELECT nominal_at FROM ticks ORDER BY nominal_at")
    assert sum(answer.ticks for answer in answers) == len(ticks) >= 9
    assert sum(answer.schedules for answer in answers) == 1
    await engine.execute("DELETE FROM ticks WHERE nominal_at = $1", ticks[5]["nominal_at"])
    [found] = [violation for answer in await pages(api) for violation in answer.violations]
    assert (
        found.message == f"ticking/tick: 1 missing tick at {ticks[5]['nominal_at'].isoformat().replace('+00:00', 'Z')}"
    )


async def test_a_tick_of_long_ago_stands_for_those_after_it(
    api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.apply(TICKING.replace("10s", "1h"))
    await engine.cron.reconcile()
    ninety_days = "date_trunc('hour', clock_timestamp(), 'UTC') - interval '90 days'"
    await engine.execute(
        f"UPDATE schedules SET next_fire_at = {ninety_days}, updated_at = {ninety_days} - interval '1 minute'"  # noqa: S608
    )

    async def caught_up() -> None:
        await engine.cron.fire_due()
        assert 20 < len(await engine.fetch("SELECT 1 FROM ticks")) < 30

    await eventually(caught_up)
    for size in (1000, 5, 2):
        monkeypatch.setattr(invariant_reads, "TICKS", size)
        assert await violations(api) == [], size
    await engine.execute("DELETE FROM ticks WHERE nominal_at = (SELECT max(nominal_at) FROM ticks)")
    assert len(await violations(api)) >= 1
    await engine.execute("UPDATE ticks SET outcome = 'COALESCED' WHERE outcome = 'MISSED_WINDOW'")
    assert len(await violations(api)) > 80 * 24 / 2  # gaps are told page by page


async def test_a_tick_whose_run_is_gone_is_reported(api: Api, engine: Engine) -> None:
    await api.apply(TICKING)
    await engine.cron.reconcile()
    await long_ago(engine, seconds=15)
    await engine.cron.fire_due()
    [run] = await engine.fetch("SELECT run_id FROM runs")
    for table in ("runs", "steps", "events"):
        await engine.execute(f"DELETE FROM {table}")  # noqa: S608
    assert await violations(api) == [("I19", f"runs/{run['run_id']}", "")]


async def test_wrong_requests_are_refused(api: Api) -> None:
    for fields, reason in (
        ({"page_size": -1}, "FIELD_INVALID"),
        ({"workflow": "demo"}, "FIELD_INVALID"),
        ({"page_token": "junk"}, "PAGE_TOKEN_INVALID"),
    ):
        refusal = await api.refused(api.system.CheckInvariants, CheckInvariantsRequest(**fields))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def long_ago(engine: Engine, *, seconds: int) -> None:
    """The schedule was made so long ago, and nobody has looked since."""
    await engine.execute(
        "UPDATE schedules SET updated_at = clock_timestamp() - $1::integer * interval '1 second',"
        " next_fire_at = to_timestamp(floor((extract(epoch FROM clock_timestamp()) - $1::integer) / 10) * 10 + 10)",
        seconds,
    )
