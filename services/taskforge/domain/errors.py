"""API errors, each with a code, a reason and metadata. `runtime.errors` is their only translator to gRPC.

    TaskforgeError
    ├── InvalidArgument      fix the request
    ├── Unauthenticated      send a valid token
    ├── PermissionDenied
    ├── NotFound
    ├── AlreadyExists
    ├── FailedPrecondition   change the state first
    ├── Aborted              read again, then retry
    ├── ResourceExhausted    back off, then retry
    └── Unavailable          retry

A reason is a name of `taskforge.v1.ErrorReason` without its prefix; a contract test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One fault of a request: where it is and what is wrong with it."""

    field: str  #: a path in the request, or `line:column` in a document
    description: str


class TaskforgeError(Exception):
    """A failure that the caller is told about. Subclasses fix the gRPC code."""

    code = "INTERNAL"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        hint: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint  #: the exact next thing to do
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after  #: seconds


class InvalidArgument(TaskforgeError):
    """The request is wrong in itself."""

    code = "INVALID_ARGUMENT"


class Unauthenticated(TaskforgeError):
    """No valid token or signature came with the request."""

    code = "UNAUTHENTICATED"


class PermissionDenied(TaskforgeError):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class NotFound(TaskforgeError):
    """There is no such resource."""

    code = "NOT_FOUND"


class AlreadyExists(TaskforgeError):
    """The name or key is taken by something else."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(TaskforgeError):
    """The resource is in a state that does not allow this."""

    code = "FAILED_PRECONDITION"


class Aborted(TaskforgeError):
    """Somebody else was faster."""

    code = "ABORTED"


class ResourceExhausted(TaskforgeError):
    """A limit is reached."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(TaskforgeError):
    """Something that is needed does not answer at the moment."""

    code = "UNAVAILABLE"
