"""What each name in an expression can have: fields of outputs and errors, of `trigger` and `run`, names of secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from taskforge.domain.workflow import JsonValue
from taskforge.language.cel_ast import Reference
from taskforge.language.document_fields import SECRET_NAME
from taskforge.language.drafts import Draft
from taskforge.language.paths import Path, format_reference
from taskforge.language.places import Kind, Place
from taskforge.language.problems import Severity, did_you_mean

_WEBHOOK_FIELDS = frozenset({"method", "headers", "query", "body", "received_at"})
_SCHEDULE_FIELDS = frozenset({"nominal_at"})
RUN_FIELDS = frozenset({"id", "workflow", "created_at"})
STEP_FIELDS = ("output", "state", "error")
_ERROR_FIELDS = frozenset({"kind", "message", "status"})
_OUTPUT_FIELDS: Mapping[str, frozenset[str] | None] = {
    "http": frozenset({"status", "headers", "body", "elapsed_ms"}),
    "switch": frozenset({"branch"}),
    "log": frozenset(),
    "fail": frozenset(),
}


class MisreadError(Exception):
    """A reference that cannot work."""

    def __init__(self, message: str, hint: str = "", code: str = "TF1202", severity: Severity = Severity.ERROR) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
        self.severity = severity


def secret_name(reference: Reference, place: Place) -> str:
    """The secret that is read, if one may be read in this place."""
    if place.kind is not Kind.HTTP:
        allowed = "http steps: url, query, headers, body and auth"
        raise MisreadError("a secret is not possible here", f"secrets are read only in {allowed}", "TF1204")
    path = reference.path
    name = path[1] if len(path) > 1 else None
    if not isinstance(name, str) or reference.dynamic:
        raise MisreadError("a secret is named, not computed", "write secrets.NAME", "TF1204")
    if not re.fullmatch(SECRET_NAME, name):
        raise MisreadError(f"'{name}' is not the name of a secret", code="TF1204")
    if len(path) > 2:
        raise MisreadError("a secret is text; it has no fields", code="TF1204")
    return name


def check_field(reference: Reference, known: frozenset[str], what: str) -> None:
    """Refuse a name that is not among the known ones."""
    path = reference.path
    if len(path) > 1 and path[1] not in known:
        raise MisreadError(
            f"no {what} '{path[1]}'", did_you_mean(str(path[1]), known) if known else "declare it below inputs"
        )


def check_trigger(reference: Reference, known: frozenset[str]) -> None:
    """Refuse a field of `trigger` that no trigger of the workflow has."""
    path = reference.path
    if len(path) < 2 or path[1] in known:
        return
    kind = "webhook" if path[1] in _WEBHOOK_FIELDS else "schedule" if path[1] in _SCHEDULE_FIELDS else None
    if kind is not None:
        raise MisreadError(f"no {kind} starts this workflow, so trigger has no '{path[1]}'")
    raise MisreadError(f"no field of trigger '{path[1]}'", did_you_mean(str(path[1]), known))


def trigger_fields(*, webhook: bool, schedule: bool) -> frozenset[str]:
    """The fields that `trigger` can have."""
    fields = frozenset({"type", "id"})
    return fields | (_WEBHOOK_FIELDS if webhook else frozenset()) | (_SCHEDULE_FIELDS if schedule else frozenset())


def check_output(step: Draft, reference: Reference) -> None:
    """Refuse fields that the step's output certainly does not have."""
    path = reference.path
    if len(path) < 4 or path[2] != "output" or step.document is None:
        return
    action = step.document.action
    known = _OUTPUT_FIELDS.get(action)
    if known is not None and path[3] not in known:
        hint = did_you_mean(str(path[3]), known) if known else ""
        raise MisreadError(f"the output of {action} step '{step.id}' has no '{path[3]}'", hint)
    if action == "http" and path[3] == "headers" and len(path) > 4 and path[4] != str(path[4]).lower():
        raise MisreadError("names of headers are lower-case in the output", f"write '{str(path[4]).lower()}'")
    if step.document.transform is not None and "value" in step.document.transform.model_fields_set:
        _check_literal(step.document.transform.value, path)


def _check_literal(value: JsonValue, path: Path) -> None:
    """Follow a path into a transform's `value` as far as it is written out."""
    for depth in range(3, len(path)):
        if not isinstance(value, dict):
            return
        if path[depth] not in value:
            where = format_reference(path[:depth])
            raise MisreadError(f"{where} has no '{path[depth]}'", did_you_mean(str(path[depth]), value))
        value = value[path[depth]]


def check_error(step: Draft, reference: Reference) -> None:
    """Refuse errors that a step never has, and fields that no error has."""
    path = reference.path
    if not goes_on(step):
        hint = f"set on_error: continue on '{step.id}'"
        raise MisreadError(f"step '{step.id}' has no error to read: its failure ends the run", hint)
    if len(path) > 3 and path[3] not in _ERROR_FIELDS:
        raise MisreadError(f"an error has no '{path[3]}'", did_you_mean(str(path[3]), _ERROR_FIELDS))


def goes_on(step: Draft) -> bool:
    """Whether the run goes on when the step fails."""
    said = [draft.raw.get("on_error") for draft in (step, *(switch for switch, _ in step.ancestors()))]
    return next((value for value in said if value), None) == "continue"
