"""Runs one step: condition, secrets, parameters, action, deadline, and an outcome that is fit to leave."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from taskforge.domain.outcome import ErrorKind, Failed, Outcome, Skipped, StepError
from taskforge.executor.actions import Actions
from taskforge.executor.actions.action import Attempt
from taskforge.executor.deadlines import Deadlines
from taskforge.executor.evaluation import Evaluator
from taskforge.executor.faults import NotHere, StepFault
from taskforge.executor.holdings import Holding
from taskforge.executor.log_lines import LogLines, Numbers
from taskforge.executor.messages import Ended, seal_outcome
from taskforge.executor.metrics import count_step
from taskforge.executor.patience import insist
from taskforge.executor.run_view import RunView
from taskforge.executor.secrets_cache import NO_MASK, SecretCache
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.language.cel import Expression
from taskforge.language.plan import StepPlan
from taskforge.security.masking import Masker

Answer = TypeVar("Answer", bound=Outcome | None)

log = structlog.get_logger()


class StepRunner:
    """Turns whatever a step does into an outcome. Only NotHere, interruptions and lost leases get past it."""

    def __init__(self, *, evaluator: Evaluator, secrets: SecretCache, actions: Actions) -> None:
        self._evaluator = evaluator
        self._secrets = secrets
        self._actions = actions
        self._deadlines = Deadlines()

    async def run(self, run: RunView, index: int, numbers: Numbers, holding: Holding) -> Ended:
        """Run a step, or find that its `if` is false."""
        plan = run.plan(index)
        if plan.condition is not None and (skipped := await self.check(run, index)) is not None:
            return skipped
        started = time.perf_counter_ns()
        try:
            secrets = await self._resolve(run, plan, holding) if plan.step.secrets else {}
        except StepFault as fault:
            return self._ended(run, plan, Failed(error=fault.error), started)
        lines = LogLines(run.run_id, index, numbers, self._masker(run))
        outcome = await self._guarded(run, plan, self._act(run, plan, secrets, lines, holding))
        return self._ended(run, plan, outcome, started, lines.lines)

    async def check(self, run: RunView, index: int) -> Ended | None:
        """Look at a step's `if` alone: None if it holds, else the step's end."""
        plan = run.plan(index)
        if plan.condition is None or index in run.checked:
            return None
        started = time.perf_counter_ns()
        outcome = await self._guarded(run, plan, self._judge(run, plan.condition))
        if outcome is None:
            run.checked.add(index)
            return None
        return self._ended(run, plan, outcome, started)

    async def _guarded(self, run: RunView, plan: StepPlan, work: Coroutine[Any, Any, Answer]) -> Answer | Failed:
        """Watch the time where it can run out, and make outcomes of what goes wrong."""
        timeout = plan.step.timeout
        try:
            if not run.definition.watched[plan.step.index]:
                return await work
            with self._deadlines.within(timeout):
                return await work
        except StepFault as fault:
            return Failed(error=fault.error)
        except TimeoutError:
            return Failed(error=StepError(kind=ErrorKind.TIMEOUT, message=f"the attempt took longer than {timeout:g}s"))
        except NotHere:
            raise
        except Exception as error:
            log.exception("action_failed", kind=plan.step.kind.value, step=plan.step.id)
            message = f"the executor failed: {type(error).__name__}"
            return Failed(error=StepError(kind=ErrorKind.INTERNAL, message=message))

    async def _judge(self, run: RunView, condition: Expression) -> Outcome | None:
        return None if await self._evaluator.holds(condition, run.context()) else Skipped()

    async def _resolve(self, run: RunView, plan: StepPlan, holding: Holding) -> dict[str, str]:
        """The step's secrets. Not under its deadline: that the scheduler is away is no fault of the step."""
        secrets = await insist(lambda: self._secrets.resolve(plan.step.secrets), holding)
        run.secrets.update(secrets)
        return {secret.name: secret.value for secret in secrets}

    async def _act(
        self, run: RunView, plan: StepPlan, secrets: dict[str, str], lines: LogLines, holding: Holding
    ) -> Outcome:
        action = self._actions.get(plan.step.kind)
        if action is None:
            raise NotHere(f"this executor runs no {plan.step.kind} steps")
        context = run.context(secrets)
        attempt = Attempt(
            run=run.run_name,
            plan=plan,
            params=await self._evaluator.render(plan.params, context),
            context=context,
            masker=lines.masker,
            log=lines,
            numbers=lines.numbers,
        )
        if not plan.step.is_pure:
            await holding.about_to_act()
        return await action(attempt)

    def _masker(self, run: RunView) -> Masker:
        return self._secrets.masker(run.secrets) if run.secrets else NO_MASK

    def _ended(
        self, run: RunView, plan: StepPlan, outcome: Outcome, started: int, lines: Sequence[pb.LogLine] = ()
    ) -> Ended:
        sealed, output = seal_outcome(outcome, self._masker(run))
        count_step(plan.step.kind, sealed)
        return Ended(plan.step.index, sealed, output, (time.perf_counter_ns() - started) // 1000, lines)
