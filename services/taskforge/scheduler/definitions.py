"""Compiled definitions by revision. Revisions are immutable, so what is cached is never stale."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

import structlog

from taskforge.domain.workflow import Workflow
from taskforge.language.parse import parse_workflow
from taskforge.store.pool import Connection

_CAPACITY = 2_000

log = structlog.get_logger()


class Definitions:
    """An LRU cache over the table of revisions."""

    def __init__(self) -> None:
        self._workflows: OrderedDict[UUID, Workflow] = OrderedDict()

    def cached(self, revision_id: UUID) -> Workflow | None:
        """The definition, if it is in memory."""
        workflow = self._workflows.get(revision_id)
        if workflow is not None:
            self._workflows.move_to_end(revision_id)
        return workflow

    async def load(self, connection: Connection, revision_id: UUID) -> Workflow | None:
        """The definition, read and compiled if need be. None: no such revision, or one that cannot be compiled."""
        await self.load_all(connection, [revision_id])
        return self.cached(revision_id)

    async def load_all(self, connection: Connection, revision_ids: Iterable[UUID]) -> None:
        """Read and compile whatever is not in memory yet."""
        missing = [revision_id for revision_id in set(revision_ids) if revision_id not in self._workflows]
        if not missing:
            return
        for row in await connection.rows("read_revisions", revision_ids=missing):
            parsed = parse_workflow(row["source"], filename=row["workflow"])
            if parsed.workflow is None:
                # A version that allowed more accepted it. Its runs stay as they are until this is mended.
                log.error("revision_not_compiled", revision=str(row["revision_id"]), workflow=row["workflow"])
                continue
            self._workflows[row["revision_id"]] = parsed.workflow
        while len(self._workflows) > _CAPACITY:
            self._workflows.popitem(last=False)
