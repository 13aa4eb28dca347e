"""`switch`: the first branch whose condition holds is taken."""

from __future__ import annotations

from taskforge.domain.outcome import Outcome, Succeeded
from taskforge.executor.actions.action import Attempt
from taskforge.executor.evaluation import Evaluator

NO_BRANCH = -1


class SwitchAction:
    """Evaluates conditions in order. The output names the branch by its position, null if none was taken."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    async def __call__(self, attempt: Attempt) -> Outcome:
        """Choose."""
        for index, condition in enumerate(attempt.plan.branches):
            if condition is None or await self._evaluator.holds(condition, attempt.context):
                return Succeeded(output={"branch": index}, branch=index)
        return Succeeded(output={"branch": None}, branch=NO_BRANCH)
