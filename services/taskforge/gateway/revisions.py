"""Compiled revisions. They are immutable, so only which one is current is ever asked again.

Which one is current is remembered for a moment, here and in other gateways. So whoever changes it keeps the answer back
until none of them can remember what was before: a start that comes after that answer gets what was applied.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from taskforge.domain.errors import InvalidArgument, TaskforgeError
from taskforge.domain.workflow import Workflow
from taskforge.gateway.compiler import Compiler
from taskforge.runtime.batcher import Batcher
from taskforge.store.definitions import CurrentRevision, Definitions, workflow_not_found

_CAPACITY = 2_000
#: Counted from before the database is asked. Long for a thousand starts a second, short for who applies a definition.
_FRESH_SECONDS = 0.05
_SETTLE_SECONDS = 0.06  #: longer, because timers are inexact and no two clocks run alike

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRevision:
    """A revision. `workflow` is None when this version cannot compile what an earlier one accepted."""

    revision_id: UUID
    name: str
    number: int
    workflow: Workflow | None


class Revisions:
    """An LRU cache of compiled revisions over the tables of definitions."""

    def __init__(self, definitions: Definitions, compiler: Compiler) -> None:
        self._definitions = definitions
        self._compiler = compiler
        self._compiled: OrderedDict[UUID, CompiledRevision] = OrderedDict()
        self._current: dict[str, tuple[float, CurrentRevision]] = {}  #: each with until when it may be used
        self._lookups: Batcher[str, CurrentRevision] = Batcher("current_revisions", self._look_up)

    async def current(self, name: str) -> tuple[CompiledRevision, Workflow]:
        """A workflow's current revision and its definition, as of now.

        Raises:
            NotFound: WORKFLOW_NOT_FOUND.
            InvalidArgument: WORKFLOW_INVALID, if this version cannot compile it.
        """
        found = self._remembered(name) or await self._lookups.submit(name)
        revision = await self.get(found.revision_id)
        if revision is None:
            raise workflow_not_found(name)
        if revision.workflow is None:
            raise InvalidArgument(
                "WORKFLOW_INVALID",
                f"revision {revision.number} of workflow {name} was accepted by another version, not by this one",
                hint=f"check it with `taskforge workflow validate`, and apply it again: workflows/{name}",
            )
        return revision, revision.workflow

    async def settle(self) -> None:
        """Wait, after a change of definitions was committed, until no gateway starts runs of what was before."""
        await asyncio.sleep(_SETTLE_SECONDS)

    async def get(self, revision_id: UUID) -> CompiledRevision | None:
        """A revision by its id; None if there is no such revision."""
        known = self._compiled.get(revision_id)
        if known is not None:
            self._compiled.move_to_end(revision_id)
            return known
        rows = await self._definitions.sources([revision_id])
        if not rows:
            return None
        parsed = await self._compiler.parse(rows[0].source)
        if parsed.workflow is None:
            log.error("revision_not_compiled", revision=str(revision_id), workflow=rows[0].workflow)
        revision = CompiledRevision(
            revision_id=revision_id, name=rows[0].workflow, number=rows[0].number, workflow=parsed.workflow
        )
        self._compiled[revision_id] = revision
        if len(self._compiled) > _CAPACITY:
            self._compiled.popitem(last=False)
        return revision

    def _remembered(self, name: str) -> CurrentRevision | None:
        good_until, revision = self._current.get(name, (0.0, None))
        return revision if time.monotonic() < good_until else None

    async def _look_up(self, names: Sequence[str]) -> Sequence[CurrentRevision | TaskforgeError]:
        good_until = time.monotonic() + _FRESH_SECONDS
        found = await self._definitions.current(sorted(set(names)))
        if len(self._current) > _CAPACITY:
            self._current.clear()
        self._current.update((name, (good_until, revision)) for name, revision in found.items())
        return [found.get(name) or workflow_not_found(name) for name in names]
