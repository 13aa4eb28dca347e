"""Small conversions from rows to protos that every servicer needs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from taskforge.gateway.names import field_invalid, run_name
from taskforge.gateway.structs import value_from
from taskforge.v1 import run_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A proto's time, to the microsecond."""
    if moment is None:
        return None
    seconds, micros = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1000)


def moment_from(time: Timestamp, *, field: str) -> datetime:
    """A datetime from a proto's time."""
    try:
        return _EPOCH + timedelta(seconds=time.seconds, microseconds=time.nanos // 1000)
    except OverflowError as error:
        raise field_invalid(field, "is no time between the years 1 and 9999") from error


def identity(value: UUID | None) -> str:
    """An id as text, empty if there is none."""
    return "" if value is None else str(value)


def run_reference(run_id: UUID | None) -> str:
    """A run's name, empty if there is none."""
    return "" if run_id is None else run_name(run_id)


def step_error(text: str | None, *, step: str = "") -> run_pb2.StepError | None:
    """An error from its stored form: an object with `kind`, `message`, and perhaps `status` and `details`."""
    if text is None:
        return None
    document = json.loads(text)
    details = document.get("details")
    return run_pb2.StepError(
        kind=document.get("kind", ""),
        message=document.get("message", ""),
        status=document.get("status") or 0,
        details=None if details is None else value_from(details),
        step=step,
    )
