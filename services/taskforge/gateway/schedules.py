"""The ScheduleService: what fires by time, and what became of each tick."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from taskforge.domain.errors import NotFound
from taskforge.domain.schedule import next_fire
from taskforge.domain.workflow import CronTrigger
from taskforge.gateway.convert import run_reference, timestamp
from taskforge.gateway.deadlines import Context
from taskforge.gateway.names import field_invalid, parse_name, parse_workflow
from taskforge.gateway.paging import Paging
from taskforge.gateway.schedule_notes import note_on
from taskforge.store.trigger_json import SCHEDULE, cron_from_json
from taskforge.store.triggers import TickRow, TriggerRow, Triggers
from taskforge.v1 import schedule_service_pb2 as pb
from taskforge.v1.schedule_service_pb2_grpc import ScheduleServiceServicer

log = structlog.get_logger()

_DEFAULT_COUNT = 5
_MAX_COUNT = 100


def trigger_cursor(text: str) -> tuple[str, str]:
    """A page's cursor from its text: `workflow/trigger`."""
    workflow, separator, trigger = text.partition("/")
    if not separator:
        raise ValueError(text)
    return workflow, trigger


_PAGES = Paging(method="ListSchedules", first=("", ""), parse=trigger_cursor)


class ScheduleService(ScheduleServiceServicer):
    """See proto/taskforge/v1/schedule_service.proto."""

    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers

    async def ListSchedules(  # noqa: N802
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        """List schedules by workflow and trigger."""
        workflow = parse_workflow(request.workflow, field="workflow") if request.workflow else ""
        page = _PAGES.open(request.page_size, request.page_token, workflow)
        rows = await self._triggers.page(SCHEDULE, workflow=workflow, after=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: f"{row.workflow}/{row.id}")
        return pb.ListSchedulesResponse(schedules=await self._messages(shown, count=1), next_page_token=token)

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Context) -> pb.Schedule:  # noqa: N802
        """Read one schedule with its next and last ticks."""
        if request.count < 0:
            raise field_invalid("count", "is negative")
        workflow, trigger = parse_name(request.name, "workflows", "schedules", field="name")
        row = await self._triggers.get(SCHEDULE, workflow, trigger)
        if row is None:
            raise NotFound(
                "SCHEDULE_NOT_FOUND",
                f"workflow {workflow} has no schedule {trigger}",
                hint="list what there is with: taskforge schedule list",
                metadata={"name": request.name},
            )
        count = min(request.count or _DEFAULT_COUNT, _MAX_COUNT)
        return (await self._messages([row], count=count))[0]

    async def _messages(self, rows: Sequence[TriggerRow], *, count: int) -> list[pb.Schedule]:
        ticks = await self._triggers.last_ticks([row.trigger_id for row in rows], count=count)
        # In a thread: a long page of schedules in many time zones takes a while to look ahead for.
        return await asyncio.to_thread(
            lambda: [_message(row, ticks.get(row.trigger_id, ()), count=count) for row in rows]
        )


def _message(row: TriggerRow, ticks: Sequence[TickRow], *, count: int) -> pb.Schedule:
    trigger = cron_from_json(row.definition)
    try:
        following = _next_ticks(trigger, row.now, count)
    except (ValueError, KeyError, OSError) as error:  # as parse_cron and ZoneInfo raise them
        # Its zone has left the table of zones, or a newer version wrote its pattern. The scheduler leaves it out, too.
        log.warning("schedule_unreadable", workflow=row.workflow, schedule=row.id, error=str(error))
        following = []
    return pb.Schedule(
        name=f"workflows/{row.workflow}/schedules/{row.id}",
        cron=trigger.cron or "",
        every_seconds=trigger.every or 0.0,
        time_zone=trigger.timezone,
        overlap=trigger.overlap.value,
        next_ticks=following,
        last_ticks=[_tick(tick) for tick in ticks],
    )


def _next_ticks(trigger: CronTrigger, now: datetime, count: int) -> list[pb.NextTick]:
    zone = ZoneInfo(trigger.timezone)
    found: list[pb.NextTick] = []
    before = now
    while len(found) < count and (tick := next_fire(trigger, before)) is not None:
        local = tick.astimezone(zone).isoformat()
        found.append(pb.NextTick(time=timestamp(tick), local_time=local, note=note_on(trigger, tick, before)))
        before = tick
    return found


def _tick(row: TickRow) -> pb.Tick:
    return pb.Tick(
        nominal_time=timestamp(row.nominal_at),
        handle_time=timestamp(row.handled_at),
        outcome=f"OUTCOME_{row.outcome}",
        run=run_reference(row.run_id),
    )
