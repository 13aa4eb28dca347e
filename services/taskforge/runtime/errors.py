"""The only translator between our errors and `google.rpc.Status`, in both directions."""

from __future__ import annotations

import secrets
from typing import cast

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from taskforge.domain import errors as domain_errors
from taskforge.domain.errors import FieldViolation, TaskforgeError

DOMAIN = "taskforge"

log = structlog.get_logger()

_CLASSES: dict[int, type[TaskforgeError]] = {
    code_pb2.Code.Value(kind.code): kind
    for kind in (
        domain_errors.InvalidArgument,
        domain_errors.Unauthenticated,
        domain_errors.PermissionDenied,
        domain_errors.NotFound,
        domain_errors.AlreadyExists,
        domain_errors.FailedPrecondition,
        domain_errors.Aborted,
        domain_errors.ResourceExhausted,
        domain_errors.Unavailable,
    )
}


def to_status(error: TaskforgeError) -> status_pb2.Status:
    """Build the status that a client sees."""
    metadata = dict(error.metadata)
    if error.hint:
        metadata["hint"] = error.hint
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                    for v in error.violations
                ]
            )
        )
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(
        code=code_pb2.Code.Value(error.code), message=error.message, details=[_pack(detail) for detail in details]
    )


def internal_error(error: BaseException) -> TaskforgeError:
    """Log a surprise under an incident id, and give the caller that id and nothing else."""
    incident = secrets.token_hex(6)
    log.error("rpc_failed", incident=incident, exc_info=error)
    return TaskforgeError(
        "INTERNAL",
        f"an internal error; the server's log has it as incident {incident}",
        metadata={"incident": incident},
    )


def from_rpc_error(error: grpc.aio.AioRpcError, *, unavailable_reason: str) -> TaskforgeError:
    """Turn a peer's failed answer into our error; a peer that does not answer is `unavailable_reason`."""
    status = cast("status_pb2.Status | None", rpc_status.from_call(error))
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    if status is None or not info.reason:
        return domain_errors.Unavailable(
            unavailable_reason, f"a peer does not answer: {error.details()}", retry_after=1
        )
    kind = _CLASSES.get(status.code, TaskforgeError)
    metadata = dict(info.metadata)
    return kind(
        info.reason,
        status.message,
        hint=metadata.pop("hint", ""),
        metadata=metadata,
        violations=[FieldViolation(field=v.field, description=v.description) for v in bad.field_violations],
    )


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
