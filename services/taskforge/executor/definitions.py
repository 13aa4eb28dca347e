"""Pinned definitions, compiled. Revisions are immutable, so what is cached is never stale."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from taskforge.domain.workflow import Workflow
from taskforge.executor.scheduler_client import SchedulerClient
from taskforge.language.cel import Expression
from taskforge.language.parse import parse_workflow
from taskforge.language.plan import StepPlan, plan_workflow

_CAPACITY = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A workflow and its plans, by step index."""

    workflow: Workflow
    plans: tuple[StepPlan, ...]
    watched: tuple[bool, ...]  #: which steps need their time watched; the others never wait for anything
    names: frozenset[str]  #: what expressions refer to: `inputs`, `steps` …


def define(workflow: Workflow) -> Definition:
    """Compile a workflow for running."""
    plans = plan_workflow(workflow)
    names = {path[0] for plan in plans for expression in _expressions(plan) for path in expression.paths}
    return Definition(
        workflow=workflow,
        plans=plans,
        watched=tuple(_needs_watch(plan) for plan in plans),
        names=frozenset(map(str, names)),
    )


def _expressions(plan: StepPlan) -> list[Expression]:
    conditions = [condition for condition in (plan.condition, *plan.branches) if condition is not None]
    return [*conditions, *plan.params.expressions]


def _needs_watch(plan: StepPlan) -> bool:
    """Whether a step may take time: an effect, a program, an expression of a costly form.

    A cheap expression over large data goes to the sandbox as well, which has a limit of its own.
    """
    cheap = all(expression.is_cheap for expression in _expressions(plan))
    return not plan.step.is_pure or "jq" in plan.step.params or not cheap


class Definitions:
    """Reads each revision once, however many steps ask for it at the same time."""

    def __init__(self, scheduler: SchedulerClient) -> None:
        self._scheduler = scheduler
        self._cached: OrderedDict[bytes, Definition] = OrderedDict()
        self._reading: dict[bytes, asyncio.Task[Definition | None]] = {}

    def cached(self, revision_id: bytes) -> Definition | None:
        """The definition, if it has been read before."""
        found = self._cached.get(revision_id)
        if found is not None:
            self._cached.move_to_end(revision_id)
        return found

    async def get(self, revision_id: bytes) -> Definition | None:
        """The definition; None if there is none that this executor understands. May raise Unavailable."""
        found = self.cached(revision_id)
        if found is not None:
            return found
        reading = self._reading.get(revision_id)
        if reading is None:
            reading = asyncio.create_task(self._read(revision_id), name="read-revision")
            self._reading[revision_id] = reading
            reading.add_done_callback(lambda _: self._reading.pop(revision_id, None))
        return await asyncio.shield(reading)

    async def _read(self, revision_id: bytes) -> Definition | None:
        revision = await self._scheduler.read_revision(revision_id)
        workflow = parse_workflow(revision.source, filename=revision.workflow).workflow if revision else None
        if workflow is None:
            log.error("revision_not_understood", revision=revision_id.hex(), found=revision is not None)
            return None
        definition = define(workflow)
        self._cached[revision_id] = definition
        while len(self._cached) > _CAPACITY:
            self._cached.popitem(last=False)
        return definition
