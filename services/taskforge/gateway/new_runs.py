"""What a caller gives to start a run: checked, and put into the form that the scheduler takes."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from uuid import UUID

from taskforge.domain.errors import FieldViolation, InvalidArgument
from taskforge.domain.json_values import encode, encode_checked
from taskforge.domain.workflow import JsonValue, Workflow
from taskforge.gateway.convert import timestamp
from taskforge.gateway.names import field_invalid, run_name, workflow_name
from taskforge.gateway.revisions import CompiledRevision
from taskforge.gateway.structs import json_from_struct, struct_from
from taskforge.gateway.violations import fitting
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.language.inputs import InputViolation, check_inputs
from taskforge.runtime.ids import new_id
from taskforge.v1 import run_pb2, run_service_pb2

_TRIGGER_JSON = json.dumps({"type": "manual", "id": ""})
_MAX_REQUEST_ID_CHARS = 255
_MAX_LABELS = 32
_MAX_LABEL_KEY_CHARS = 63
_MAX_LABEL_VALUE_CHARS = 255


def check_request(request: run_service_pb2.StartRunRequest) -> None:
    """Check what has nothing to do with the workflow.

    Raises:
        InvalidArgument: FIELD_INVALID.
    """
    if len(request.request_id) > _MAX_REQUEST_ID_CHARS:
        raise field_invalid("request_id", f"has more than {_MAX_REQUEST_ID_CHARS} characters")
    if "\0" in request.request_id:
        raise field_invalid("request_id", "holds a NUL character")
    if len(request.labels) > _MAX_LABELS:
        raise field_invalid("labels", f"are more than {_MAX_LABELS}")
    for key, value in request.labels.items():
        if not 0 < len(key) <= _MAX_LABEL_KEY_CHARS or len(value) > _MAX_LABEL_VALUE_CHARS or "\0" in key + value:
            raise field_invalid(
                "labels",
                f"have a wrong entry {key[:_MAX_LABEL_KEY_CHARS]!r}",
                hint=f"keys have 1 to {_MAX_LABEL_KEY_CHARS} characters, values at most {_MAX_LABEL_VALUE_CHARS}",
            )


def new_run(
    request: run_service_pb2.StartRunRequest, revision: CompiledRevision, workflow: Workflow, *, actor: str
) -> pb.StartRun:
    """The run to create.

    Raises:
        InvalidArgument: INPUTS_INVALID with one violation an input.
    """
    given = json_from_struct(request.inputs)
    start = pb.StartRun(
        run_id=new_id().bytes,
        revision_id=revision.revision_id.bytes,
        inputs_json=_complete_inputs(workflow, given),
        trigger_json=_TRIGGER_JSON,
        cause_kind="manual",
        cause_id=actor,
        labels=request.labels,
    )
    if request.request_id:
        # What the caller sent decides, not what defaults made of it: those may change between two attempts.
        asked = {"workflow": workflow.name, "inputs": given, "labels": dict(request.labels)}
        start.idempotency_scope = f"api:{workflow.name}"
        start.idempotency_key = request.request_id
        start.request_hash = hashlib.sha256(encode(asked)).digest()
    return start


def accepted_run(start: pb.StartRun, revision: CompiledRevision, workflow: Workflow, *, now: datetime) -> run_pb2.Run:
    """The answer to a start that created its run: what is known without reading it back."""
    return run_pb2.Run(
        name=run_name(UUID(bytes=start.run_id)),
        workflow=workflow_name(workflow.name),
        revision=revision.number,
        state=run_pb2.Run.State.STATE_QUEUED,
        cause=run_pb2.Cause(kind=run_pb2.Cause.Kind.KIND_MANUAL, id=start.cause_id),
        inputs=struct_from(json.loads(start.inputs_json)),
        labels={**workflow.labels, **start.labels},
        create_time=timestamp(now),
    )


def _complete_inputs(workflow: Workflow, given: dict[str, JsonValue]) -> str:
    encoded = _storable(workflow, given)  # first: a schema is not asked about NaN, or about a tree that never ends
    checked = check_inputs(workflow, given)
    if checked.violations:
        raise _inputs_invalid(workflow.name, [_violation(violation) for violation in checked.violations])
    return encoded if len(checked.values) == len(given) else _storable(workflow, dict(checked.values))


def _storable(workflow: Workflow, values: dict[str, JsonValue]) -> str:
    encoded = encode_checked(values)
    if isinstance(encoded, bytes):
        return encoded.decode()
    places = [(f"inputs{problem.path.replace('/', '.')}", problem.message) for problem in encoded]
    raise _inputs_invalid(workflow.name, [FieldViolation(field=place, description=text) for place, text in places])


def _violation(violation: InputViolation) -> FieldViolation:
    hint = f" ({violation.hint})" if violation.hint else ""
    return FieldViolation(field=f"inputs.{violation.name}", description=violation.message + hint)


def _inputs_invalid(workflow: str, violations: list[FieldViolation]) -> InvalidArgument:
    more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
    return InvalidArgument(
        "INPUTS_INVALID",
        f"the inputs do not fit workflow {workflow}: {violations[0].description[:200]}{more}",
        hint=f"see what it takes with: taskforge workflow show {workflow}",
        metadata={"workflow": workflow},
        violations=fitting(violations),
    )
