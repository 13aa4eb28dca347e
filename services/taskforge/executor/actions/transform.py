"""`transform`: pure reshaping, by a template or by a jq program in the sandbox."""

from __future__ import annotations

from taskforge.domain.outcome import Outcome, Succeeded
from taskforge.executor.actions.action import Attempt
from taskforge.executor.evaluation import Evaluator


class TransformAction:
    """Gives the rendered `value`, or what the program makes of `input`."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    async def __call__(self, attempt: Attempt) -> Outcome:
        """Evaluate."""
        program = attempt.step.params.get("jq")
        if program is None:
            return Succeeded(output=attempt.params["value"])
        return Succeeded(output=await self._evaluator.run_jq(program, attempt.params.get("input")))
