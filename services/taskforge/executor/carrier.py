"""Carries a run on from a leased step: runs it, evaluates what follows for as far as it may, reports, and goes on.

The scheduler re-checks every transition with the same core. What it says overrules what was believed here.
"""

from __future__ import annotations

import asyncio
import heapq
import time

import structlog

from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, StepError, Succeeded
from taskforge.domain.workflow import Effect, OnUnknown, Step
from taskforge.executor.definitions import Definition, Definitions
from taskforge.executor.faults import NotHere
from taskforge.executor.holdings import Holding, Holdings, Interrupted, Signal
from taskforge.executor.log_lines import Numbers
from taskforge.executor.messages import to_message
from taskforge.executor.metrics import STRETCHES
from taskforge.executor.patience import LeaseLost, insist
from taskforge.executor.reporting import Completer, LogWriter
from taskforge.executor.run_view import RunView
from taskforge.executor.step_runner import Ended, StepRunner
from taskforge.internal.v1 import scheduler_service_pb2 as pb

_RESULT = pb.StretchResult.Kind
_GOOD = (_RESULT.KIND_ACCEPTED, _RESULT.KIND_ALREADY_ACCEPTED)

# A stretch that is not reported yet is lost with its executor, and nobody sees it: long ones are cut.
_MAX_STRETCH_SECONDS = 2.0
_MAX_STRETCH_STEPS = 256
_MAX_STRETCH_BYTES = 8 * 1024 * 1024

_NOT_HERE_SECONDS = 5.0  # before a step that cannot be run here is handed back, lest it returns at once for ever

log = structlog.get_logger()


class Carrier:
    """Runs one task a lease. `accepting` is turned off when the executor drains."""

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
        self.accepting = True

    async def carry(self, grant: pb.Grant, holding: Holding) -> None:
        """Carry a run on until its next steps are others' or the lease is lost. Never raises but when cancelled."""
        try:
            await self._carry(grant, holding)
        except (LeaseLost, Interrupted):
            STRETCHES.labels("dropped").inc()
        except Exception:
            # The lease runs out by itself, and the scheduler decides what that means for the step.
            log.exception("carrying_failed", run=grant.lease.run_id.hex(), step=holding.lease.step)
        finally:
            self._holdings.drop(holding)

    async def _carry(self, first: pb.Grant, holding: Holding) -> None:
        try:
            definition = await self._read_definition(first, holding)
        except (NotHere, Interrupted) as reason:
            _raise_if_lost(reason)
            await self._complete(_Stretch(first, Ended_released(first.lease.step)), holding, accept_next=False)
            return
        run = RunView(definition, first)
        grant: pb.Grant | None = first
        while grant is not None:
            stretch = await self._run_leased(run, grant, holding)
            following = await self._report(run, stretch, holding)
            grant = following if following is not None and self._holdings.move(holding, following) else None
            if grant is not None:
                run.absorb(grant)
