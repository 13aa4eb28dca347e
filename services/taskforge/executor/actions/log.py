"""`log`: a line in the run's log."""

from __future__ import annotations

from taskforge.domain.outcome import Outcome, Succeeded
from taskforge.executor.actions.action import Attempt
from taskforge.executor.actions.text import as_text


async def run_log(attempt: Attempt) -> Outcome:
    """Write the line."""
    params = attempt.params
    attempt.log(params.get("level", "info"), as_text(params["message"]), params.get("data"))
    return Succeeded()
