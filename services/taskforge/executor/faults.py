"""How a step's parts say that it cannot go on. Caught in one place, where they become outcomes."""

from __future__ import annotations

from taskforge.domain.outcome import ErrorKind, StepError


class StepFault(Exception):
    """The attempt failed: this becomes its `Failed` outcome."""

    def __init__(self, error: StepError) -> None:
        super().__init__(error.message)
        self.error = error


class NotHere(Exception):
    """This executor cannot run the step now; the step is handed back, never failed."""


def fault(kind: ErrorKind, message: str) -> StepFault:
    """A fault that has nothing but a class and a message."""
    return StepFault(StepError(kind=kind, message=message))
