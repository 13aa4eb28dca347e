"""`fail`: ends the run with an error of the author's own."""

from __future__ import annotations

from taskforge.domain.outcome import ErrorKind, Failed, Outcome, StepError
from taskforge.executor.actions.action import Attempt
from taskforge.executor.actions.text import as_text


async def run_fail(attempt: Attempt) -> Outcome:
    """Fail with the message."""
    return Failed(error=StepError(kind=ErrorKind.FAIL, message=as_text(attempt.params["message"])))
