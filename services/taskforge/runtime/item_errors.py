"""Errors of single items, which the scheduler sends inside its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskforge.domain.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    TaskforgeError,
)
from taskforge.internal.v1 import scheduler_service_pb2 as pb

_CLASSES: Mapping[str, type[TaskforgeError]] = {
    "WORKFLOW_NOT_FOUND": NotFound,
    "RUN_NOT_FOUND": NotFound,
    "DEAD_LETTER_NOT_FOUND": NotFound,
    "IDEMPOTENCY_KEY_REUSED": AlreadyExists,
    "RUN_FINISHED": FailedPrecondition,
    "RUN_NOT_RETRYABLE": FailedPrecondition,
    "DEAD_LETTER_CLOSED": FailedPrecondition,
    "LEASE_LOST": Aborted,
    "QUEUE_FULL": ResourceExhausted,
}
_HINTS: Mapping[str, str] = {
    "IDEMPOTENCY_KEY_REUSED": "send the same workflow, inputs and labels again, or another request_id",
    "RUN_FINISHED": "there is nothing left to stop; see it with: taskforge run show",
    "LEASE_LOST": "the run changed at the same moment; try again",
}
_QUEUE_FULL_RETRY_SECONDS = 5.0


def to_error(item: pb.ItemError) -> TaskforgeError:
    """The error to raise for an item. A reason that is not known here comes from a newer scheduler."""
    kind = _CLASSES.get(item.reason, TaskforgeError)
    return kind(
        item.reason,
        item.message,
        hint=_HINTS.get(item.reason, ""),
        retry_after=_QUEUE_FULL_RETRY_SECONDS if item.reason == "QUEUE_FULL" else None,
    )


def raise_for(results: Sequence[pb.ItemResult]) -> None:
    """Raise the error of the one item that was sent, if it has one."""
    if results[0].HasField("error"):
        raise to_error(results[0].error)
