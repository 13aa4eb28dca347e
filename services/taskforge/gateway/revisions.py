"""Compiled revisions. They are immutable, so only which one is current is ever asked again."""

from __future__ import annotations

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
        self._lookups: Batcher[str, CurrentRevision] = Batcher("current_revisions", self._look_up)

    async def current(self, name: str) -> tuple[CompiledRevision, Workflow]:
        """A workflow's current revision and its definition, as of now.

        Raises:
            NotFound: WORKFLOW_NOT_FOUND.
            InvalidArgument: WORKFLOW_INVALID, if this version cannot compile it.
        """
        found = await self._lookups.submit(name)
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

    async def _look_up(self, names: Sequence[str]) -> Sequence[CurrentRevision | TaskforgeError]:
        found = await self._definitions.current(sorted(set(names)))
        return [found.get(name) or workflow_not_found(name) for name in names]
