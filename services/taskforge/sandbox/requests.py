"""What may be asked of a sandbox, and what it may answer: values, never exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from taskforge.domain.json_values import MAX_BYTES
from taskforge.domain.workflow import JsonValue

MAX_INPUT_BYTES = 4 * 1024 * 1024  #: of the encoded input: several outputs may be read by one program
MAX_SOURCE_CHARS = 64 * 1024  #: of a program or expression


class Kind(StrEnum):
    """What a worker can evaluate."""

    JQ = "jq"
    CEL = "cel"


@dataclass(frozen=True, slots=True, kw_only=True)
class JqRequest:
    """Run a jq program on one input."""

    kind: ClassVar[Kind] = Kind.JQ
    program: str
    input: JsonValue
    max_output_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class CelRequest:
    """Evaluate a CEL expression: `Expression.source` over `Expression.prune(context)`."""

    kind: ClassVar[Kind] = Kind.CEL
    expression: str
    context: Mapping[str, JsonValue]
    max_output_bytes: int = MAX_BYTES


class SandboxClosedError(Exception):
    """The pool was closed before or during the evaluation."""


class ProgramError(Exception):
    """Inside the worker: the program does not compile, or fails on this input."""


Request = JqRequest | CelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ok:
    """The value: JSON that may be stored."""

    value: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFailed:
    """The program is wrong, or failed on this input. The message may hold parts of the input."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTimedOut:
    """The program ran for too long; its worker was killed."""

    seconds: float

    @property
    def message(self) -> str:
        """One line for the step's error."""
        return f"the evaluation took longer than {self.seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOutOfMemory:
    """The program needed more memory than a worker may have."""

    limit_bytes: int

    @property
    def message(self) -> str:
        """One line for the step's error."""
        return f"the evaluation needed more than {self.limit_bytes // 1024 // 1024} MiB of memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTooLarge:
    """The program produced more than may be stored."""

    limit_bytes: int

    @property
    def message(self) -> str:
        """One line for the step's error."""
        return f"the result is larger than {self.limit_bytes} bytes of JSON"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputInvalid:
    """The program produced something that is not JSON or cannot be stored: NaN, NUL, too deep."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRefused:
    """The input or the program is too large, or the input is not JSON. Nothing was run."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxBusy:
    """Too many evaluations wait already; this one was not queued."""

    waiting: int

    @property
    def message(self) -> str:
        """One line for the step's error."""
        return f"{self.waiting} evaluations are waiting already"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFailed:
    """No worker could be started, or two of them died over this request without a cause that is known."""

    message: str = "the evaluation worker died"


Result = (
    Ok
    | EvaluationFailed
    | EvaluationTimedOut
    | EvaluationOutOfMemory
    | OutputTooLarge
    | OutputInvalid
    | InputRefused
    | SandboxBusy
    | SandboxFailed
)
