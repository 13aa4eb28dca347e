"""The hidden last step, which evaluates the workflow's `output`."""

from __future__ import annotations

from taskforge.domain.outcome import Outcome, Succeeded
from taskforge.executor.actions.action import Attempt


async def run_output(attempt: Attempt) -> Outcome:
    """Give the rendered value."""
    return Succeeded(output=attempt.params["value"])
