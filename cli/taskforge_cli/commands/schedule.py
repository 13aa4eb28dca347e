"""`taskforge schedule`: what fires by time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from taskforge.v1.schedule_service_pb2 import (
    GetScheduleRequest,
    ListSchedulesRequest,
    ListSchedulesResponse,
    NextTick,
    Schedule,
)
from taskforge_cli import suggestions
from taskforge_cli.columns import text, when
from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.errors import CliError
from taskforge_cli.messages import last_part, state_of
from taskforge_cli.output import Listing
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column
from taskforge_cli.times import ago, elapsed, rfc3339

app = noun("See what fires by time.")

_OUTCOMES = {"FIRED": "good", "SKIPPED_OVERLAP": "warn", "COALESCED": "warn", "MISSED_WINDOW": "bad"}


def _next(schedule: Any) -> Cell:
    return _moment(schedule.next_ticks[0].time) if schedule.next_ticks else Cell("never", "faint", exact="")


def _last(schedule: Any) -> Cell:
    if not schedule.last_ticks:
        return Cell("-", "faint", exact="")
    tick = schedule.last_ticks[0]
    outcome, moment = state_of(tick, "outcome"), _moment(tick.nominal_time)
    words = outcome.lower().replace("_", " ")
    return Cell(f"{moment.text}, {words}", _OUTCOMES.get(outcome, "plain"), exact=f"{moment.exact} {outcome}")


def _moment(stamp: Any) -> Cell:
    moment = stamp.ToDatetime().replace(tzinfo=UTC)
    return Cell(ago(moment, datetime.now(UTC)), exact=rfc3339(moment))


def _workflow_of(name: str) -> str:
    return name.split("/")[1]


_LIST = Listing(
    field="schedules",
    columns=(
        text("WORKFLOW", lambda schedule: _workflow_of(schedule.name)),
        text("TRIGGER", lambda schedule: last_part(schedule.name)),
        text("WHEN", lambda schedule: schedule.cron or f"every {elapsed(schedule.every_seconds)}"),
        text("ZONE", lambda schedule: schedule.time_zone),
        Column("NEXT", _next),
        Column("LAST", _last),
        text("OVERLAP", lambda schedule: schedule.overlap, wide=True),
    ),
    empty="no schedules; give a workflow a trigger with cron: or every:",
)
_TICKS = Listing(
    field="next_ticks",
    columns=(
        text("LOCAL TIME", lambda tick: tick.local_time),
        when("IN", "time"),
        text("NOTE", lambda tick: tick.note, stretch=True),
    ),
    empty="it never fires again",
)


@app.command("list", cls=Command)
def list_schedules(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Option("--workflow", "-w", metavar="NAME", help="Only this workflow's.")] = "",
) -> None:
    """List schedules with their next and last ticks."""
    session = Session.of(ctx)
    session.output.messages(_schedules(session, workflow), _LIST)


@app.command("next", cls=Command, epilog=examples("taskforge schedule next report nightly --count 10"))
def next_ticks(
    ctx: typer.Context,
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW", help="The workflow's name.", show_default=False, autocompletion=suggestions.workflows
        ),
    ],
    trigger: Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger, if there are several.")] = "",
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many ticks.")] = 5,
) -> None:
    """Show when a schedule fires next, with daylight saving time and its traps."""
    session = Session.of(ctx)
    name = f"workflows/{last_part(workflow)}/schedules/{trigger}" if trigger else _only(session, workflow)
    request = GetScheduleRequest(name=name, count=max(1, min(count, 100)))
    found = session.client().call("ScheduleService/GetSchedule", request, Schedule)
    output = session.output
    if output.is_human:
        ticks: list[NextTick] = list(found.next_ticks)
        output.rows(ticks, _TICKS)
    else:
        output.message(found, lambda: None)


def _schedules(session: Session, workflow: str) -> list[Schedule]:
    request = ListSchedulesRequest(workflow=f"workflows/{last_part(workflow)}" if workflow else "")
    pages = session.client().pages("ScheduleService/ListSchedules", request, ListSchedulesResponse, limit=10_000)
    return [schedule for page in pages for schedule in page.schedules]


def _only(session: Session, workflow: str) -> str:
    found = [schedule.name for schedule in _schedules(session, workflow)]
    name = last_part(workflow)
    if not found:
        hints = ["all schedules: taskforge schedule list"]
        raise CliError("SCHEDULE_NOT_FOUND", f"workflow {name} has no schedule", hints=hints)
    if len(found) > 1:
        hints = [f"taskforge schedule next {name} {last_part(one)}" for one in found]
        raise CliError("TRIGGER_AMBIGUOUS", f"workflow {name} has {len(found)} schedules", hints=hints)
    return found[0]
