"""From the domain to the internal protos. Each output is encoded once, where it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskforge.domain.json_values import encode_checked
from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, Skipped, StepError, Succeeded
from taskforge.domain.workflow import JsonValue
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.security.masking import Masker

_MAX_MESSAGE_CHARS = 4000


def seal_outcome(outcome: Outcome, masker: Masker) -> tuple[Outcome, str]:
    """An outcome that may leave the executor, and its output as JSON text: masked, and known to be storable."""
    match outcome:
        case Succeeded(output=output, branch=branch):
            sealed, text = _seal(output, masker)
            if text is None:
                message = f"the output cannot be stored: {sealed}"
                return Failed(error=StepError(kind=ErrorKind.OUTPUT, message=message[:_MAX_MESSAGE_CHARS])), ""
            return (outcome if sealed is output else Succeeded(output=sealed, branch=branch)), text
        case Failed(error=error):
            return Failed(error=_seal_error(error, masker)), ""
        case _:
            return outcome, ""


def seal_data(data: JsonValue, masker: Masker) -> str:
    """A log line's data as JSON text; what cannot be stored is said instead of it."""
    sealed, text = _seal(data, masker)
    return text if text is not None else _text({"unstorable": str(sealed)})


def seal_text(text: str, masker: Masker) -> str:
    """A message that can be stored and holds no secret."""
    printable = masker.mask(text).replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return printable if len(printable) <= _MAX_MESSAGE_CHARS else printable[:_MAX_MESSAGE_CHARS] + "…"


class Ended(NamedTuple):
    """A step that has ended here. `outcome` is fit to leave."""

    step: int
    outcome: Outcome
    output: str = ""  #: as JSON
    elapsed_us: int = 0
    lines: Sequence[pb.LogLine] = ()


def tell(message: pb.StepOutcome, ended: Ended) -> None:
    """Write the report of one step into an empty message: what is made elsewhere has to be copied."""
    outcome = ended.outcome
    message.step = ended.step
    message.elapsed_us = ended.elapsed_us
    match outcome:
        case Succeeded(branch=branch):
            message.kind = pb.StepOutcome.KIND_SUCCEEDED
            message.output_json = ended.output
            if branch is not None:
                message.branch_plus_one = branch + 1
        case Skipped():
            message.kind = pb.StepOutcome.KIND_SKIPPED
        case Failed(error=error):
            message.kind = pb.StepOutcome.KIND_FAILED
            _tell_error(message.error, error)
        case Cancelled():
            message.kind = pb.StepOutcome.KIND_CANCELLED
        case Released():
            message.kind = pb.StepOutcome.KIND_RELEASED


def _seal(value: JsonValue, masker: Masker) -> tuple[JsonValue, str | None]:
    """The masked value and its JSON text; the complaint and None if it cannot be stored."""
    encoded = encode_checked(value)
    if not isinstance(encoded, bytes):
        return masker.mask("; ".join(map(str, encoded))), None
    text = encoded.decode()
    if not masker or not masker.is_in_json(text):
        return value, text
    masked = masker.mask_json(value)
    encoded = encode_checked(masked)
    if not isinstance(encoded, bytes):  # a mask can be longer than what it hides
        return "; ".join(map(str, encoded)), None
    return masked, encoded.decode()


def _seal_error(error: StepError, masker: Masker) -> StepError:
    details, text = _seal(error.details, masker) if error.details is not None else (None, "")
    return StepError(
        kind=error.kind,
        message=seal_text(error.message, masker),
        status=error.status,
        retry_after=error.retry_after,
        details=details if text is not None else None,
    )


def _tell_error(message: pb.StepFailure, error: StepError) -> None:
    message.kind = error.kind.value
    message.message = error.message
    message.status = error.status or 0
    message.retry_after_ms_plus_one = 0 if error.retry_after is None else round(error.retry_after * 1000) + 1
    message.details_json = "" if error.details is None else _text(error.details)


def _text(value: JsonValue) -> str:
    """The JSON text of a value that has been checked."""
    encoded = encode_checked(value)
    return encoded.decode() if isinstance(encoded, bytes) else ""
