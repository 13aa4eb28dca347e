"""Between the internal protos and the domain."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID

from taskforge.domain.errors import InvalidArgument
from taskforge.domain.json_values import MAX_BYTES, check_json
from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, Skipped, StepError, Succeeded
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.store.ids import id_from_bytes


class Unstorable(InvalidArgument):
    """An outcome that must not reach the database; the executor reports a failure in its place."""

    def __init__(self, message: str) -> None:
        super().__init__("FIELD_INVALID", message)


def uuid_from(raw: bytes) -> UUID:
    """A UUID from its 16 bytes."""
    if len(raw) != 16:
        raise InvalidArgument("FIELD_INVALID", "an id must have 16 bytes")
    return id_from_bytes(raw)


def outcome_from(message: pb.StepOutcome) -> Outcome:
    """The domain's outcome. An output stays JSON text: the scheduler stores it and never looks inside.

    Raises:
        Unstorable: the output or the error's details cannot be stored.
    """
    match message.kind:
        case pb.StepOutcome.KIND_SUCCEEDED:
            branch = message.branch_plus_one - 1 if message.branch_plus_one else None
            return Succeeded(output=checked_json(message.output_json) or "null", branch=branch)
        case pb.StepOutcome.KIND_SKIPPED:
            return Skipped()
        case pb.StepOutcome.KIND_FAILED:
            return Failed(error=error_from(message.error))
        case pb.StepOutcome.KIND_CANCELLED:
            return Cancelled()
        case pb.StepOutcome.KIND_RELEASED:
            return Released()
        case _:
            raise Unstorable("an outcome has no kind")


def error_from(message: pb.StepFailure) -> StepError:
    """The domain's error; an unknown class from a newer executor is kept as INTERNAL."""
    kind = ErrorKind(message.kind) if message.kind in set(ErrorKind) else ErrorKind.INTERNAL
    retry_after = (message.retry_after_ms_plus_one - 1) / 1000 if message.retry_after_ms_plus_one else None
    details = checked_json(message.details_json)
    return StepError(
        kind=kind,
        message=message.message.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
        status=message.status or None,
        retry_after=retry_after,
        details=json.loads(details) if details else None,
    )


def checked_json(text: str) -> str:
    """The text, if the database can hold it as JSON.

    Most outputs have no escapes, and the database itself refuses what is no JSON; only text that could hide a NUL or
    a lone surrogate is decoded here.
    """
    # UTF-8 takes one to four bytes a character: most texts are short enough without counting.
    if len(text) > MAX_BYTES // 4 and len(text.encode()) > MAX_BYTES:
        raise Unstorable(f"the output has more than {MAX_BYTES} bytes")
    if "\\u" in text:
        try:
            problems = check_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise Unstorable(f"the output is no JSON: {error}") from error
        if problems:
            raise Unstorable(f"the output cannot be stored: {problems[0]}")
    return text


def stretch_hash(stretch: pb.Stretch) -> bytes:
    """What makes two reports of one stretch the same report."""
    digest = hashlib.blake2b(stretch.outcome.SerializeToString(deterministic=True), digest_size=16)
    for carried in stretch.carried:
        digest.update(carried.SerializeToString(deterministic=True))
    return digest.digest()
