"""The public gRPC servicer: unpacks a call, packs the answer. And who may call it."""

from __future__ import annotations

from typing import Any

import grpc

from taskforge.domain.errors import Unauthenticated
from taskforge.failpoints import Point, reach
from taskforge.ingest.receiver import HookUrl, Receiver
from taskforge.ingest.requests import read_request
from taskforge.runtime.guard import Metadata
from taskforge.v1 import hook_service_pb2 as pb
from taskforge.v1.hook_service_pb2_grpc import HookServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]

_PUBLIC_METHOD = "/taskforge.v1.HookService/ReceiveHook"


def authenticate(method: str, metadata: Metadata) -> str:
    """Let the one public method through: its deliveries are verified by their signatures. Refuse everything else."""
    if method != _PUBLIC_METHOD:
        raise Unauthenticated("TOKEN_INVALID", f"{method} is not open to anybody here")
    return "webhook"


class HookService(HookServiceServicer):
    """See proto/taskforge/v1/hook_service.proto."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def ReceiveHook(self, request: pb.ReceiveHookRequest, context: Context) -> pb.ReceiveHookResponse:  # noqa: N802
        """Take one webhook delivery."""
        metadata = tuple(context.invocation_metadata() or ())
        url = HookUrl(workflow=request.workflow, trigger=request.trigger, key=request.key)
        delivery = read_request(metadata, request.body.data, request.body.content_type)
        await reach(Point.REQUEST_PARSED)
        receipt = await self._receiver.receive(url, delivery)
        await reach(Point.BEFORE_REPLY)
        return pb.ReceiveHookResponse(
            verdict=receipt.verdict.value.lower(),
            run=f"runs/{receipt.run_id}" if receipt.run_id else "",
            delivery=str(receipt.delivery_id),
        )
