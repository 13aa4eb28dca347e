"""The WebhookService: where webhooks listen and what arrived."""

from __future__ import annotations

from uuid import UUID

from taskforge.domain.errors import NotFound
from taskforge.gateway.convert import run_reference, timestamp
from taskforge.gateway.deadlines import Context
from taskforge.gateway.names import parse_name, parse_workflow
from taskforge.gateway.paging import Paging
from taskforge.gateway.schedules import trigger_cursor
from taskforge.gateway.workflow_messages import webhook_path
from taskforge.store.run_reads import LAST_ID
from taskforge.store.trigger_json import WEBHOOK, webhook_from_json
from taskforge.store.triggers import DeliveryRow, TriggerRow, Triggers
from taskforge.v1 import webhook_service_pb2 as pb
from taskforge.v1.webhook_service_pb2_grpc import WebhookServiceServicer

_WEBHOOKS = Paging(method="ListWebhooks", first=("", ""), parse=trigger_cursor)
_DELIVERIES = Paging(method="ListDeliveries", first=LAST_ID, parse=UUID)


class WebhookService(WebhookServiceServicer):
    """See proto/taskforge/v1/webhook_service.proto."""

    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers

    async def ListWebhooks(  # noqa: N802
        self, request: pb.ListWebhooksRequest, context: Context
    ) -> pb.ListWebhooksResponse:
        """List webhooks by workflow and trigger."""
        workflow = parse_workflow(request.workflow, field="workflow") if request.workflow else ""
        page = _WEBHOOKS.open(request.page_size, request.page_token, workflow)
        rows = await self._triggers.page(WEBHOOK, workflow=workflow, after=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: f"{row.workflow}/{row.id}")
        return pb.ListWebhooksResponse(webhooks=[_webhook(row) for row in shown], next_page_token=token)

    async def ListDeliveries(  # noqa: N802
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        """List the deliveries of a webhook, newest first."""
        workflow, trigger = parse_name(request.parent, "workflows", "webhooks", field="parent")
        row = await self._triggers.get(WEBHOOK, workflow, trigger)
        if row is None:
            raise NotFound(
                "WEBHOOK_NOT_FOUND",
                f"workflow {workflow} has no webhook {trigger}",
                hint="list what there is with: taskforge webhook list",
                metadata={"name": request.parent},
            )
        page = _DELIVERIES.open(request.page_size, request.page_token, row.trigger_id)
        rows = await self._triggers.deliveries(row.trigger_id, before=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda delivery: delivery.delivery_id)
        return pb.ListDeliveriesResponse(
            deliveries=[_delivery(delivery, request.parent) for delivery in shown], next_page_token=token
        )


def _webhook(row: TriggerRow) -> pb.Webhook:
    trigger = webhook_from_json(row.definition)
    return pb.Webhook(
        name=f"workflows/{row.workflow}/webhooks/{row.id}",
        path=webhook_path(row.workflow, row.id, row.path_key),
        scheme=trigger.scheme,
        secret=trigger.secret or "",
    )


def _delivery(row: DeliveryRow, parent: str) -> pb.Delivery:
    return pb.Delivery(
        name=f"{parent}/deliveries/{row.delivery_id}",
        verdict=f"VERDICT_{row.verdict}",
        run=run_reference(row.run_id),
        dedupe_key=row.dedupe_key or "",
        receive_time=timestamp(row.received_at),
        body_bytes=row.body_bytes,
        message=row.message,
    )
