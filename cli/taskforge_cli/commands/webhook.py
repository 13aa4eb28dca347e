"""`taskforge webhook`: where webhooks listen and what arrived."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskforge.v1.webhook_service_pb2 import (
    ListDeliveriesRequest,
    ListDeliveriesResponse,
    ListWebhooksRequest,
    ListWebhooksResponse,
    Webhook,
)
from taskforge_cli import suggestions
from taskforge_cli.columns import text, when
from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.errors import CliError
from taskforge_cli.ids import short
from taskforge_cli.messages import last_part, state_of, to_plain
from taskforge_cli.output import Format, Listing
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column

app = noun("Find webhook URLs and see what arrived.")

WorkflowArgument = Annotated[
    str,
    typer.Argument(
        metavar="WORKFLOW", help="The workflow's name.", show_default=False, autocompletion=suggestions.workflows
    ),
]
TriggerArgument = Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger, if there are several.")]

_VERDICTS = {
    "ACCEPTED": "good",
    "RECEIVED": "busy",
    "DUPLICATE": "faint",
    "FILTERED": "faint",
    "BAD_SIGNATURE": "bad",
    "UNPROCESSABLE": "bad",
}


def _verdict(delivery: Any) -> Cell:
    found = state_of(delivery, "verdict")
    return Cell(found, _VERDICTS.get(found, "plain"))


def _run(delivery: Any) -> Cell:
    run = last_part(delivery.run)
    return Cell(short(run) or "-", "link" if run else "faint", exact=run)


_DELIVERIES = Listing(
    field="deliveries",
    columns=(
        when("RECEIVED", "receive_time"),
        Column("VERDICT", _verdict),
        Column("RUN", _run),
        text("BYTES", lambda delivery: delivery.body_bytes),
        text("MESSAGE", lambda delivery: delivery.message, stretch=True),
        text("KEY", lambda delivery: delivery.dedupe_key, wide=True),
        text("ID", lambda delivery: last_part(delivery.name), wide=True),
    ),
    empty="nothing has arrived; find the URL with: taskforge webhook url WORKFLOW",
)


@app.command("list", cls=Command)
def list_webhooks(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Option("--workflow", "-w", metavar="NAME", help="Only this workflow's.")] = "",
) -> None:
    """List webhooks."""
    session = Session.of(ctx)
    found = _webhooks(session, workflow)
    server = session.server().url
    columns = (
        text("WORKFLOW", lambda webhook: webhook.name.split("/")[1]),
        text("TRIGGER", lambda webhook: last_part(webhook.name)),
        text("SCHEME", lambda webhook: webhook.scheme),
        text("SECRET", lambda webhook: webhook.secret or "-"),
        text("URL", lambda webhook: server + webhook.path),
    )
    empty = "no webhooks; give a workflow a trigger with webhook:"
    session.output.messages(found, Listing(field="webhooks", columns=columns, empty=empty))


@app.command("url", cls=Command, epilog=examples('curl -d @event.json "$(taskforge webhook url hello door)"'))
def url(ctx: typer.Context, workflow: WorkflowArgument, trigger: TriggerArgument = "") -> None:
    """Print a webhook's URL. It holds an unguessable part; treat it like a password if the webhook verifies nothing."""
    session = Session.of(ctx)
    found = _one(session, workflow, trigger)
    address = session.server().url + found.path
    if session.output.is_human:
        session.output.text(address + "\n")
    elif session.output.form is Format.NAME:
        session.output.text(found.name + "\n")
    else:
        session.output.data({**to_plain(found), "url": address})


@app.command("deliveries", cls=Command)
def deliveries(
    ctx: typer.Context,
    workflow: WorkflowArgument,
    trigger: TriggerArgument = "",
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="At most this many.")] = 20,
) -> None:
    """List what arrived, newest first, with what was refused and why."""
    session = Session.of(ctx)
    request = ListDeliveriesRequest(parent=_one(session, workflow, trigger).name)
    pages = session.client().pages(
        "WebhookService/ListDeliveries", request, ListDeliveriesResponse, limit=max(1, limit)
    )
    session.output.messages([delivery for page in pages for delivery in page.deliveries], _DELIVERIES)


def _webhooks(session: Session, workflow: str) -> list[Webhook]:
    request = ListWebhooksRequest(workflow=f"workflows/{last_part(workflow)}" if workflow else "")
    pages = session.client().pages("WebhookService/ListWebhooks", request, ListWebhooksResponse, limit=10_000)
    return [webhook for page in pages for webhook in page.webhooks]


def _one(session: Session, workflow: str, trigger: str) -> Webhook:
    name = last_part(workflow)
    every = _webhooks(session, workflow)
    found = [webhook for webhook in every if not trigger or last_part(webhook.name) == trigger]
    if not found:
        what = f"webhook {trigger!r}" if trigger else "webhook"
        there = ", ".join(last_part(webhook.name) for webhook in every)
        hints = [f"there are: {there}" if there else "all webhooks: taskforge webhook list"]
        raise CliError("WEBHOOK_NOT_FOUND", f"workflow {name} has no {what}", hints=hints)
    if len(found) > 1:
        hints = [f"name one: {', '.join(last_part(webhook.name) for webhook in found)}"]
        raise CliError("TRIGGER_AMBIGUOUS", f"workflow {name} has {len(found)} webhooks", hints=hints)
    return found[0]
