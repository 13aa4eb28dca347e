"""The engine's one decision function: `advance(snapshot, event)`.

Total and pure. The scheduler applies its decisions in a transaction; an executor runs it ahead to know
which steps it may evaluate next; tests and local runs use it as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import assert_never

from taskforge.domain import retry
from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, Skipped, StepError, Succeeded
from taskforge.domain.run import (
    ABSENT,
    Advanced,
    AttemptEnded,
    CancelRequested,
    Carried,
    Claimed,
    DeadLettered,
    Decision,
    Event,
    Finished,
    LeaseExpired,
    Redriven,
    Refused,
    RetryDue,
    RunChanged,
    Snapshot,
    Started,
    StepChanged,
    StepView,
)
from taskforge.domain.states import RUN_FINAL, STEP_FINAL, AttemptOutcome, RunState, StepState
from taskforge.domain.workflow import NO_RETRY, Effect, JsonValue, OnUnknown, RetryPolicy, Step

_STOPPABLE = frozenset({StepState.QUEUED, StepState.RETRYING, StepState.WAITING})
_NO_END = (Released, Cancelled)
_REDRIVABLE = frozenset({RunState.FAILED, RunState.CANCELLED, RunState.RUNNING})


def advance(snapshot: Snapshot, event: Event) -> Advanced | Refused:
    """Decide what an event changes. Events that come too late, twice or out of order are Refused."""
    turn = Turn(snapshot)
    refusal = turn.take(event)
    return refusal if refusal is not None else turn.result()


class Turn:
    """A run that takes one event after the other, each as `advance` does: a working copy that is changed in place."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.workflow, self.state, steps, self.stop_error = snapshot
        self.steps: dict[int, StepView] = dict(steps)
        self.decisions: list[Decision] = []  #: what the last event changed
        self.queued: list[int] = []  #: the steps that became QUEUED by it

    def result(self) -> Advanced:
        """The last event's outcome. The snapshot shares the working copy."""
        after = Snapshot(self.workflow, self.state, self.steps, self.stop_error)
        return Advanced(after, tuple(self.decisions), tuple(self.queued))

    def take(self, event: Event) -> Refused | None:
        """Decide what an event changes; nothing if it is refused."""
        self.decisions = []
        self.queued = []
        match event:
            case Started():
                return self._start()
            case Claimed(step=index):
                return self._claim(index)
            case Finished():
                return self._finish(event)
            case Carried():
                return self._carry(event)
            case LeaseExpired():
                return self._expire(event)
            case RetryDue(step=index):
                return self._retry_due(index)
            case CancelRequested():
                return self._cancel(event)
            case Redriven():
                return self._redrive(event)
            case _:
                assert_never(event)

    # --- events ---------------------------------------------------------------------------------

    def _start(self) -> Refused | None:
        if self.state is not RunState.QUEUED or self.steps:
            return Refused(reason="the run has started already")
        self._release(step.index for step in self.workflow.steps if not step.needs)
        self._end_run_if_done()
        return None

    def _claim(self, index: int) -> Refused | None:
        view = self._view(index)
        ready = view.state is StepState.QUEUED or (view.state is StepState.PENDING and self._is_ready(index))
        if not ready or self.state not in (RunState.QUEUED, RunState.RUNNING):
            return Refused(reason=f"step is {view.state}, run is {self.state}")
        if self.state is RunState.QUEUED:
            self._change_run(RunState.RUNNING, "first_step_claimed")
        self._change(index, view.attempted(StepState.RUNNING), "claimed")
        if index in self.queued:
            self.queued.remove(index)
        return None

    def _finish(self, event: Finished) -> Refused | None:
        view = self._view(event.step)
        if view.state is not StepState.RUNNING:
            return Refused(reason=f"step is {view.state}")
        self._apply(event.step, view, event.outcome, event.jitter, self.workflow.steps[event.step].retry)
        self._settle(event.step)
        return None

    def _carry(self, event: Carried) -> Refused | None:
        view = self._view(event.step)
        step = self.workflow.steps[event.step]
        pending = view.state is StepState.PENDING and self._is_ready(event.step)
        if self.state is not RunState.RUNNING or not (pending or view.state is StepState.QUEUED):
            return Refused(reason=f"step is {view.state}, run is {self.state}")
        if isinstance(event.outcome, _NO_END):
            return Refused(reason="a carried step has ended; what has not is not reported")
        if not step.is_pure and not _is_unclaimed_end(event.outcome):
            return Refused(reason="an effectful step needs its own lease")
        # Queued by the event before this one, mostly in the same transaction, it still passes through RUNNING.
        carried = view.attempted(StepState.PENDING if pending else StepState.RUNNING)
        if not pending:
            self._change(event.step, carried, "carried")
        # Not retried: an evaluation of the same data fails again.
        self._apply(event.step, carried, event.outcome, 0.0, NO_RETRY)
        self._settle(event.step)
        return None

    def _expire(self, event: LeaseExpired) -> Refused | None:
        view = self._view(event.step)
        if view.state is not StepState.RUNNING:
            return Refused(reason=f"step is {view.state}")
        step = self.workflow.steps[event.step]
        crashed = view._replace(crashes=view.crashes + 1)
        unknown = step.effect in (Effect.AT_LEAST_ONCE, Effect.AT_MOST_ONCE)
        ended = AttemptOutcome.UNKNOWN if unknown else AttemptOutcome.CRASHED
        error = StepError(kind=ErrorKind.CRASH, message="the executor was lost: its lease ran out")
        self._end_attempt(step, crashed, ended, error)
        if unknown and step.on_unknown is OnUnknown.FAIL:
            error = StepError(
                kind=ErrorKind.UNKNOWN_OUTCOME,
                message="the executor was lost while the request was under way; nobody can say whether it took effect",
            )
            self._fail(step, crashed, error, "on_unknown is fail")
        elif crashed.crashes >= event.max_crashes:
            self._fail(step, crashed, error, f"{crashed.crashes} executors were lost under it")
        elif self._stopping():
            self._change(step.index, crashed.to(StepState.CANCELLED), "run_stopping")
        else:
            self._queue(step.index, crashed, "lease_expired")
        self._settle(event.step)
        return None

    def _retry_due(self, index: int) -> Refused | None:
        view = self._view(index)
        if view.state is not StepState.RETRYING:
            return Refused(reason=f"step is {view.state}")
        self._queue(index, view, "retry_due")
        return None

    def _cancel(self, event: CancelRequested) -> Refused | None:
        if self.state in RUN_FINAL or self.state is RunState.CANCELLING:
            return Refused(reason=f"run is {self.state}")
        self.stop_error = event.error or self.stop_error
        self._change_run(RunState.CANCELLING, event.reason or "cancel_requested", event.error)
        self._stop_rest("run_cancelled")
        self._end_run_if_done()
        return None

    def _redrive(self, event: Redriven) -> Refused | None:
        if self.state not in _REDRIVABLE:
            return Refused(reason=f"run is {self.state}")
        wrong = [i for i in event.steps if self._view(i).state not in (StepState.FAILED, StepState.CANCELLED)]
        if wrong or not event.steps:
            return Refused(reason=f"not failed: {self._names(wrong)}" if wrong else "no step to redrive")
        left = self._failing(without=event.steps)
        if left and any(self._view(i).state is StepState.CANCELLED for i in event.steps):
            return Refused(reason=f"steps were cancelled because others failed; redrive those too: {self._names(left)}")
        if self.state is not RunState.RUNNING:
            self._change_run(RunState.RUNNING, "redriven")
        self.stop_error = None
        for index in event.steps:
            self._reset(index)
        if not left:
            for index, view in sorted(self.steps.items()):
                if view.state is StepState.CANCELLED:
                    self._reset(index)
        self._release(step.index for step in self.workflow.steps)
        self._end_run_if_done()
        return None

    # --- outcomes of an attempt -----------------------------------------------------------------

    def _apply(self, index: int, view: StepView, outcome: Outcome, jitter: float, policy: RetryPolicy) -> None:
        step = self.workflow.steps[index]
        match outcome:
            case Succeeded(output=output, branch=branch):
                self._end_attempt(step, view, AttemptOutcome.SUCCEEDED)
                self._change(index, view.to(StepState.SUCCEEDED, branch=branch), "succeeded", output=output)
            case Skipped(reason=reason):
                self._change(index, view.to(StepState.SKIPPED), reason)
            case Failed(error=error):
                self._failed_attempt(step, view, error, jitter, policy)
            case Cancelled():
                self._end_attempt(step, view, AttemptOutcome.CANCELLED)
                self._change(index, view.to(StepState.CANCELLED), "run_cancelled")
            case Released(reason=reason):
                self._end_attempt(step, view, AttemptOutcome.CANCELLED)
                self._give_back(index, view, reason)
            case _:
                assert_never(outcome)

    def _failed_attempt(self, step: Step, view: StepView, error: StepError, jitter: float, policy: RetryPolicy) -> None:
        failed = view._replace(failures=view.failures + 1)
        timed_out = error.kind is ErrorKind.TIMEOUT
        self._end_attempt(step, failed, AttemptOutcome.TIMED_OUT if timed_out else AttemptOutcome.FAILED, error)
        verdict = retry.decide(policy, error, attempt=failed.failures, elapsed=view.elapsed, jitter=jitter)
        match verdict:
            case retry.RetryIn(delay=delay) if not self._stopping():
                self._change(step.index, failed.to(StepState.RETRYING), "attempt_failed", error=error, delay=delay)
            case retry.RetryIn():
                self._fail(step, failed, error, "the run is stopping")
            case retry.GiveUp(reason=reason):
                self._fail(step, failed, error, reason)

    def _give_back(self, index: int, view: StepView, reason: str) -> None:
        if self._stopping():
            self._change(index, view.to(StepState.CANCELLED), "run_stopping")
        else:
            self._queue(index, view, reason)

    def _fail(self, step: Step, view: StepView, error: StepError, reason: str) -> None:
        self._change(step.index, view.to(StepState.FAILED), "gave_up", error=error)
        if not step.continue_on_error and self.state is RunState.RUNNING and self.stop_error is None:
            self.stop_error = replace(error, message=f"step '{step.id}' failed: {error.message}")
        if step.makes_dead_letter:
            self.decisions.append(DeadLettered(step=step.index, epoch=view.epoch, error=error, reason=reason))

    def _end_attempt(self, step: Step, view: StepView, outcome: AttemptOutcome, error: StepError | None = None) -> None:
        self.decisions.append(AttemptEnded(step.index, view.attempt, view.epoch, outcome, error))

    # --- what follows ---------------------------------------------------------------------------

    def _settle(self, index: int) -> None:
        """Bring the rest of the run up to date after a step changed."""
        if self.steps[index].state in STEP_FINAL:
            if self._stopping():
                self._stop_rest("run_failed" if self.state is RunState.RUNNING else "run_cancelled")
            else:
                self._release(self.workflow.dependents[index])
        self._end_run_if_done()

    def _release(self, candidates: Iterable[int]) -> None:
        """Queue or skip the candidates whose needs have ended, and whatever that makes ready."""
        work = list(candidates)
        for index in work:  # grows while it is walked: a skipped step releases its dependents
            view = self.steps.get(index, ABSENT)
            if view.state is not StepState.PENDING or not self._needs_ended(index):
                continue
            reason = self._why_not_taken(self.workflow.steps[index])
            if reason is None:
                self._queue(index, view, "ready")
            else:
                self._change(index, view.to(StepState.SKIPPED), reason)
                work.extend(self.workflow.dependents[index])

    def _is_ready(self, index: int) -> bool:
        return self._needs_ended(index) and self._why_not_taken(self.workflow.steps[index]) is None

    def _needs_ended(self, index: int) -> bool:
        steps = self.steps
        return all(need in steps and steps[need].state in STEP_FINAL for need in self.workflow.steps[index].needs)

    def _why_not_taken(self, step: Step) -> str | None:
        """Why a nested step does not run: its switch did not choose its branch."""
        if step.parent is None:
            return None
        switch = self._view(step.parent)
        if switch.state is not StepState.SUCCEEDED:
            return "switch_not_taken"
        return None if switch.branch == step.branch else "branch_not_taken"

    def _failing(self, without: Collection[int] = ()) -> list[int]:
        """The steps that make the run fail."""
        return [
            index
            for index, view in sorted(self.steps.items())
            if view.state is StepState.FAILED
            and index not in without
            and not self.workflow.steps[index].continue_on_error
        ]

    def _names(self, indexes: Iterable[int]) -> str:
        return ", ".join(self.workflow.steps[index].id for index in indexes)

    def _stopping(self) -> bool:
        """Whether nothing new may start. A redrive of one failed step runs it in full, even if another stays failed."""
        return self.state is RunState.CANCELLING or self.stop_error is not None

    def _stop_rest(self, cause: str) -> None:
        """Cancel every step that no executor holds; the held ones end by themselves."""
        for step in self.workflow.steps:
            view = self._view(step.index)
            if view.state is StepState.PENDING or view.state in _STOPPABLE:
                self._change(step.index, view.to(StepState.CANCELLED), cause)

    def _end_run_if_done(self) -> None:
        if self.state in RUN_FINAL or not self._all_ended():
            return
        if self.state is RunState.CANCELLING:
            ended = RunState.FAILED if self.stop_error else RunState.CANCELLED
            self._change_run(ended, "all_steps_ended", self.stop_error)
        elif failing := self._failing():
            # Without a reason when a redrive went well and another failed step was left as it was.
            left = StepError(kind=ErrorKind.FAIL, message=f"failed and not run again: {self._names(failing)}")
            self.stop_error = self.stop_error or left
            self._change_run(RunState.FAILED, "step_failed", self.stop_error)
        else:
            self._change_run(RunState.SUCCEEDED, "all_steps_ended")

    def _all_ended(self) -> bool:
        if len(self.steps) < len(self.workflow.steps):
            return False  # what is missing is PENDING
        return all(view.state in STEP_FINAL for view in self.steps.values())

    # --- writing --------------------------------------------------------------------------------

    def _view(self, index: int) -> StepView:
        return self.steps.get(index, ABSENT)

    def _reset(self, index: int) -> None:
        view = self._view(index)
        fresh = StepView(epoch=view.epoch + 1, token=view.token)
        self._change(index, fresh, "redriven")

    def _queue(self, index: int, view: StepView, cause: str) -> None:
        self._change(index, view.to(StepState.QUEUED), cause)
        self.queued.append(index)

    def _change(
        self,
        index: int,
        after: StepView,
        cause: str,
        *,
        output: JsonValue = None,
        error: StepError | None = None,
        delay: float | None = None,
    ) -> None:
        before = self.steps.get(index, ABSENT)
        self.decisions.append(StepChanged(index, before, after, cause, output, error, delay))
        self.steps[index] = after

    def _change_run(self, after: RunState, cause: str, error: StepError | None = None) -> None:
        self.decisions.append(RunChanged(self.state, after, cause, error))
        self.state = after


def _is_unclaimed_end(outcome: Outcome) -> bool:
    """Whether an effectful step can end like this before anybody has leased it."""
    if isinstance(outcome, Failed):
        return outcome.error.kind in (ErrorKind.EXPRESSION, ErrorKind.OUTPUT)
    return isinstance(outcome, Skipped)
