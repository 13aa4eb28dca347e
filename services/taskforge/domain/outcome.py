"""What an executor reports about a step: values, never exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from taskforge.domain.workflow import JsonValue


class ErrorKind(StrEnum):
    """Classes of step errors. `retry.on` names the first six, or statuses."""

    CONNECT = "connect"  # no connection was made: nothing can have happened
    TIMEOUT = "timeout"  # the attempt's time ran out
    NETWORK = "network"  # the connection broke after it was made
    STATUS = "status"  # an answer came, with a status that was not expected
    TLS = "tls"
    BLOCKED = "blocked"  # the egress policy refuses the address
    EXPRESSION = "expression"  # an expression or jq program failed
    INPUT = "input"  # the step's parameters made no valid request
    OUTPUT = "output"  # the result cannot be stored: too large, too deep, not JSON
    SECRET = "secret"  # noqa: S105 -- a class of errors: a secret is missing or cannot be opened
    FAIL = "fail"  # a `fail` step
    CRASH = "crash"  # its executors were lost
    UNKNOWN_OUTCOME = "unknown_outcome"  # the lease was lost and `on_unknown` is `fail`
    INTERNAL = "internal"  # a fault of the executor itself
    RUN_TIMEOUT = "run_timeout"  # the run's own timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class StepError:
    """Why an attempt failed. `message` is complete and already masked."""

    kind: ErrorKind
    message: str
    status: int | None = None  #: the HTTP status, for STATUS
    retry_after: float | None = None  #: seconds the other side asked us to wait
    details: JsonValue = None

    def matches(self, on: frozenset[str]) -> bool:
        """Whether a retry policy's `on` names this error."""
        if self.kind.value in on:
            return True
        if self.status is None:
            return False
        return str(self.status) in on or f"{self.status // 100}xx" in on


class Succeeded(NamedTuple):
    """The step ended with an output; `branch` is set by a switch (-1: no branch was true)."""

    output: JsonValue = None
    branch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The step's `if` was false."""

    reason: str = "if_false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt failed."""

    error: StepError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The executor stopped the step because the run was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The executor hands the step back unharmed: it is draining, or never started the action."""

    reason: str = "drain"


Outcome = Succeeded | Skipped | Failed | Cancelled | Released
