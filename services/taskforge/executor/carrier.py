"""Carries a run on from a leased step: runs it, evaluates what follows for as far as it may, reports, and goes on.

The scheduler re-checks every transition with the same core. What it says overrules what was believed here.
"""

from __future__ import annotations

import asyncio
import heapq
from time import monotonic

import structlog

from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, Skipped, StepError, Succeeded
from taskforge.domain.workflow import Effect, OnUnknown, Step
from taskforge.executor.definitions import Definitions
from taskforge.executor.faults import NotHere
from taskforge.executor.holdings import Holding, Holdings, Interrupted, Signal
from taskforge.executor.log_lines import Numbers
from taskforge.executor.messages import Ended
from taskforge.executor.metrics import count_stretch
from taskforge.executor.patience import LeaseLost, insist
from taskforge.executor.reporting import Completer, LogWriter
from taskforge.executor.run_view import RunView
from taskforge.executor.step_runner import StepRunner
from taskforge.executor.stretch import Stretch
from taskforge.failpoints import Point, reach
from taskforge.internal.v1 import scheduler_service_pb2 as pb

NOT_HERE_SECONDS = 5.0  #: before a step that cannot be run here is handed back, lest it returns at once, for ever

_ANSWERS = {number: name for name, number in pb.StretchResult.Kind.items()}
_TAKEN = (pb.StretchResult.KIND_ACCEPTED, pb.StretchResult.KIND_ALREADY_ACCEPTED)
_MAYBE_REPEATED = (Effect.AT_LEAST_ONCE, Effect.AT_MOST_ONCE)

log = structlog.get_logger()


class Carrier:
    """Works under one lease after the other, as long as the run goes on here."""

    def __init__(
        self,
        *,
        definitions: Definitions,
        runner: StepRunner,
        completer: Completer,
        logs: LogWriter,
        holdings: Holdings,
    ) -> None:
        self._definitions = definitions
        self._runner = runner
        self._completer = completer
        self._logs = logs
        self._holdings = holdings
        self.accepts_more = True  #: off while the executor drains

    async def carry(self, grant: pb.Grant, holding: Holding) -> None:
        """Carry a run on until others go on with it or the lease is lost. Raises nothing but cancellation."""
        try:
            run = await self._open(grant, holding)
            following: pb.Grant | None = grant
            while run is not None and following is not None:
                following = await self._lead(run, following, holding)
        except LeaseLost:
            count_stretch("KIND_LOST")
        except Exception:
            # The lease runs out by itself, and the scheduler decides what that means for the step.
            log.exception("carrying_failed", run=grant.lease.run_id.hex(), step=holding.lease.step)
        finally:
            self._holdings.drop(holding)

    async def _open(self, grant: pb.Grant, holding: Holding) -> RunView | None:
        """What is known about the run; None if it was handed back."""
        outcome: Outcome = Released(reason="not_understood")
        try:
            with holding.interruptible():
                definition = self._definitions.cached(grant.revision_id)
                if definition is None:
                    definition = await insist(lambda: self._definitions.get(grant.revision_id), holding)
                if definition is not None:
                    return RunView(definition, grant)
                await asyncio.sleep(NOT_HERE_SECONDS)
        except Interrupted as interrupted:
            _raise_if_lost(interrupted)
            outcome = Cancelled() if interrupted.signal is Signal.STOP else Released()
        await self._report(None, Stretch(grant.lease, Ended(grant.lease.step, outcome)), holding)
        return None

    async def _lead(self, run: RunView, grant: pb.Grant, holding: Holding) -> pb.Grant | None:
        """One stretch; the lease to go on with, if there is one."""
        index = grant.lease.step
        ended = await self._run_leased(run, grant, holding)
        if holding.acting:
            await reach(Point.EFFECT_DONE)
        stretch = Stretch(grant.lease, ended)
        match ended.outcome:
            case Succeeded() | Skipped():
                await self._run_ahead(run, stretch, run.finish(index, ended.outcome), holding)
            case Failed(error=error):
                run.fail(index, error)  # whether it is tried again is not known here: nothing is evaluated ahead
        following = await self._report(run, stretch, holding)
        if following is not None:
            run.absorb(following)
        return following

    async def _run_leased(self, run: RunView, grant: pb.Grant, holding: Holding) -> Ended:
        index = grant.lease.step
        numbers = Numbers(attempt=grant.attempt, epoch=grant.epoch, token=grant.lease.token)
        try:
            with holding.interruptible():
                try:
                    return await self._runner.run(run, index, numbers, holding)
                except NotHere as reason:
                    log.warning("step_handed_back", run=run.run_name, step=index, reason=str(reason))
                    await asyncio.sleep(NOT_HERE_SECONDS)
                    return Ended(index, Released(reason="not_here"))
        except Interrupted as interrupted:
            _raise_if_lost(interrupted)
            step = run.plan(index).step
            return Ended(index, _interrupted(interrupted.signal, step, has_acted=holding.acting))

    async def _run_ahead(self, run: RunView, stretch: Stretch, ready: list[int], holding: Holding) -> None:
        """Evaluate ready steps in the order of the file: pure ones, and the `if` of effectful ones."""
        waiting = list(ready)
        try:
            with holding.interruptible():
                while waiting and not stretch.is_full:
                    index = heapq.heappop(waiting)
                    ended = await self._evaluate(run, index, holding)
                    if ended is None:
                        continue  # an effect: its own lease must be committed first
                    following = run.carry(index, ended.outcome)
                    if following is None:
                        return
                    stretch.add(ended)
                    for other in following:
                        heapq.heappush(waiting, other)
        except Interrupted as interrupted:
            _raise_if_lost(interrupted)
        except NotHere as reason:
            log.info("step_not_evaluated_ahead", run=run.run_name, reason=str(reason))

    async def _evaluate(self, run: RunView, index: int, holding: Holding) -> Ended | None:
        """A ready step's end, if it can be had without an effect."""
        if not run.plan(index).step.is_pure:
            return await self._runner.check(run, index)
        return await self._runner.run(run, index, Numbers(attempt=1, epoch=run.epoch, token=0), holding)

    async def _report(self, run: RunView | None, stretch: Stretch, holding: Holding) -> pb.Grant | None:
        """Report a stretch; the next step's lease, if it was granted along with the answer."""
        if stretch.lines:
            await self._logs.append(stretch.lines, holding)
        accepts = self.accepts_more and run is not None and not isinstance(stretch.first.outcome, Released)
        message = stretch.to_message(accept_next=accepts, known=run.known if run is not None else ())
        asked_at = monotonic()
        result = await self._complete(message, holding)
        count_stretch(_ANSWERS[result.kind])
        if result.kind == pb.StretchResult.KIND_REJECTED:
            await self._report_instead(stretch, result.error, holding)
        if result.kind not in _TAKEN or not result.HasField("next"):
            return None
        return result.next if self._holdings.move(holding, result.next, asked_at=asked_at) else None

    async def _report_instead(self, stretch: Stretch, reason: pb.ItemError, holding: Holding) -> None:
        """The scheduler will not store a stretch: report as much of it as it takes."""
        log.error("stretch_rejected", reason=reason.reason, message=reason.message)
        if stretch.has_carried:
            result = await self._complete(stretch.first_alone(), holding)
            if result.kind != pb.StretchResult.KIND_REJECTED:
                return
        message = f"the result could not be stored: {reason.message}"
        failed = Failed(error=StepError(kind=ErrorKind.OUTPUT, message=message))
        await self._complete(stretch.instead(failed), holding)

    async def _complete(self, message: pb.Stretch, holding: Holding) -> pb.StretchResult:
        result = await self._completer.complete(message, holding)
        holding.settled = result.kind != pb.StretchResult.KIND_REJECTED
        return result


def _raise_if_lost(interrupted: Interrupted) -> None:
    if interrupted.signal is Signal.LOST:
        raise LeaseLost from interrupted


def _interrupted(signal: Signal, step: Step, *, has_acted: bool) -> Outcome:
    """The outcome of a step that was interrupted halfway."""
    if signal is Signal.STOP:
        return Cancelled()
    if has_acted and step.effect in _MAYBE_REPEATED and step.on_unknown is OnUnknown.FAIL:
        # Handing it back would repeat it, which is what its author forbids.
        message = "the executor was stopped while the request was under way; nobody can say whether it took effect"
        return Failed(error=StepError(kind=ErrorKind.UNKNOWN_OUTCOME, message=message))
    return Released()
