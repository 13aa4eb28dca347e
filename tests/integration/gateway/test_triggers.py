"""Schedules and webhooks: where they stand, what comes, what came."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc

from taskforge.runtime.ids import new_id
from taskforge.v1 import schedule_service_pb2, webhook_service_pb2
from tests.support.engine import Engine
from tests.support.gateway import Api

TICK = schedule_service_pb2.Tick.Outcome
VERDICT = webhook_service_pb2.Delivery.Verdict

WORKFLOW = """
name: NAME
triggers:
  - {id: nightly, cron: "30 2 * * *", timezone: Europe/Paris}
  - {id: often, every: 90s, overlap: allow_all}
  - {id: push, webhook: {verify: {scheme: github, secret: GH_HOOK}}}
  - {id: open, webhook: {verify: {scheme: none}}}
steps:
  - {id: say, log: hi}
"""


def workflow(name: str = "demo") -> str:
    return WORKFLOW.replace("NAME", name)


async def schedules(api: Api, **fields: Any) -> Any:
    return await api.call(api.schedules.ListSchedules, schedule_service_pb2.ListSchedulesRequest(**fields))


async def schedule(api: Api, name: str, count: int = 0) -> Any:
    request = schedule_service_pb2.GetScheduleRequest(name=f"workflows/demo/schedules/{name}", count=count)
    return await api.call(api.schedules.GetSchedule, request)


async def test_schedules_are_listed_by_workflow_and_id(api: Api) -> None:
    await api.apply(workflow("b"), workflow("a"))
    first = await schedules(api, page_size=3)
    rest = await schedules(api, page_size=3, page_token=first.next_page_token)
    assert [one.name for page in (first, rest) for one in page.schedules] == [
        f"workflows/{name}/schedules/{trigger}" for name in "ab" for trigger in ("nightly", "often")
    ]
    assert [one.name for one in (await schedules(api, workflow="workflows/b")).schedules] == [
        "workflows/b/schedules/nightly",
        "workflows/b/schedules/often",
    ]
    assert all(len(one.next_ticks) == 1 for one in first.schedules)


async def test_the_next_ticks_are_shown_in_utc_and_on_the_wall(api: Api) -> None:
    await api.apply(workflow())
    nightly = await schedule(api, "nightly", count=400)
    assert (nightly.cron, nightly.time_zone, nightly.overlap) == ("30 2 * * *", "Europe/Paris", "skip")
    assert len(nightly.next_ticks) == 100
    local = [datetime.fromisoformat(tick.local_time) for tick in nightly.next_ticks]
    assert all(moment.minute == 30 or tick.note for moment, tick in zip(local, nightly.next_ticks, strict=True))
    assert [moment.astimezone(UTC) for moment in local] == [
        tick.time.ToDatetime(tzinfo=UTC) for tick in nightly.next_ticks
    ]
    assert local[0] > datetime.now(UTC)

    often = await schedule(api, "often")
    times = [tick.time.seconds for tick in often.next_ticks]
    assert (often.every_seconds, often.cron, often.overlap) == (90, "", "allow_all")
    assert times == [times[0] + 90 * index for index in range(5)]
    assert times[0] % 90 == 0


async def test_the_last_ticks_are_shown_newest_first(api: Api, engine: Engine) -> None:
    await api.apply(workflow())
    [trigger] = await engine.fetch("SELECT trigger_id FROM triggers WHERE id = 'often'")
    begin, run = datetime(2026, 1, 1, tzinfo=UTC), new_id()
    outcomes = ["MISSED_WINDOW", "COALESCED", "SKIPPED_OVERLAP", "FIRED"]
    for index, outcome in enumerate(outcomes):
        await engine.execute(
            "INSERT INTO ticks (trigger_id, nominal_at, outcome, run_id) VALUES ($1, $2, $3, $4)",
            trigger["trigger_id"],
            begin + timedelta(minutes=index),
            outcome,
            run if outcome == "FIRED" else None,
        )
    ticks = (await schedule(api, "often", count=3)).last_ticks
    assert [TICK.Name(tick.outcome).removeprefix("OUTCOME_") for tick in ticks] == outcomes[:0:-1]
    assert ticks[0].run == f"runs/{run}"
    assert ticks[1].run == ""
    assert ticks[0].nominal_time.ToDatetime(tzinfo=UTC) == begin + timedelta(minutes=3)
    listed = (await schedules(api)).schedules
    assert [len(one.last_ticks) for one in listed] == [0, 1]


async def test_a_schedule_that_cannot_be_read_hides_no_other(api: Api, engine: Engine) -> None:
    """Its zone has left the table of zones, or a newer version wrote its pattern."""
    await api.apply(workflow("a"), workflow("b"))
    gone = """jsonb_set(definition, '{timezone}', '"Mars/Olympus"')"""
    await engine.execute(f"UPDATE triggers SET definition = {gone} WHERE workflow = 'a' AND id = 'nightly'")  # noqa: S608
    listed = (await schedules(api)).schedules
    assert [len(one.next_ticks) for one in listed] == [0, 1, 1, 1]
    assert listed[0].time_zone == "Mars/Olympus"


async def test_a_webhook_is_no_schedule(api: Api) -> None:
    await api.apply(workflow())
    request = schedule_service_pb2.GetScheduleRequest(name="workflows/demo/schedules/push")
    refusal = await api.refused(api.schedules.GetSchedule, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SCHEDULE_NOT_FOUND")
    request = schedule_service_pb2.GetScheduleRequest(name="workflows/demo/schedules/often", count=-1)
    assert (await api.refused(api.schedules.GetSchedule, request)).reason == "FIELD_INVALID"


async def test_webhooks_are_listed_with_their_unguessable_path(api: Api, engine: Engine) -> None:
    await api.apply(workflow())
    request = webhook_service_pb2.ListWebhooksRequest(workflow="workflows/demo")
    unverified, push = (await api.call(api.webhooks.ListWebhooks, request)).webhooks
    [row] = await engine.fetch("SELECT path_key FROM triggers WHERE id = 'push'")
    assert push.name == "workflows/demo/webhooks/push"
    assert push.path == f"/hooks/demo/push/{row['path_key']}"
    assert (push.scheme, push.secret) == ("github", "GH_HOOK")
    assert (unverified.scheme, unverified.secret) == ("none", "")
    assert push.path.rpartition("/")[2] != unverified.path.rpartition("/")[2]


async def deliver(engine: Engine, trigger_id: UUID, verdict: str, *, run: UUID | None = None) -> UUID:
    delivery = new_id()
    await engine.execute(
        "INSERT INTO webhook_deliveries"
        " (delivery_id, trigger_id, revision_id, verdict, run_id, dedupe_key, body, headers, message)"
        " SELECT $1, t.trigger_id, t.revision_id, $3, $4, 'key', $5, $6, 'why' FROM triggers t WHERE t.trigger_id = $2",
        delivery,
        trigger_id,
        verdict,
        run,
        b"12345",
        json.dumps({"x": "y"}),
    )
    return delivery


async def test_deliveries_are_listed_newest_first_with_their_verdicts(api: Api, engine: Engine) -> None:
    await api.apply(workflow())
    [trigger] = await engine.fetch("SELECT trigger_id FROM triggers WHERE id = 'push'")
    run = new_id()
    made = [
        await deliver(engine, trigger["trigger_id"], verdict, run=run if verdict in ("ACCEPTED", "DUPLICATE") else None)
        for verdict in ("ACCEPTED", "DUPLICATE", "FILTERED", "BAD_SIGNATURE", "UNPROCESSABLE")
    ]
    parent = "workflows/demo/webhooks/push"
    request = webhook_service_pb2.ListDeliveriesRequest(parent=parent, page_size=3)
    first = await api.call(api.webhooks.ListDeliveries, request)
    request.page_token = first.next_page_token
    rest = await api.call(api.webhooks.ListDeliveries, request)
    shown = [*first.deliveries, *rest.deliveries]
    assert [one.name for one in shown] == [f"{parent}/deliveries/{delivery}" for delivery in reversed(made)]
    assert (shown[-1].verdict, shown[-1].run, shown[-1].body_bytes) == (VERDICT.VERDICT_ACCEPTED, f"runs/{run}", 5)
    assert (shown[0].verdict, shown[0].run, shown[0].message) == (VERDICT.VERDICT_UNPROCESSABLE, "", "why")
    assert rest.next_page_token == ""

    request = webhook_service_pb2.ListDeliveriesRequest(parent="workflows/demo/webhooks/often")
    assert (await api.refused(api.webhooks.ListDeliveries, request)).reason == "WEBHOOK_NOT_FOUND"
