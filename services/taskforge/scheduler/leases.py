"""Heartbeats: executors extend the leases they hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.store import runs as store
from taskforge.store.pool import Connection, Database

Result = pb.RenewLeasesResponse.Result


class HeldLease(NamedTuple):
    """A lease as its executor knows it."""

    run_id: UUID
    step: int
    token: int


async def extend(
    connection: Connection, executor_id: UUID, leases: Sequence[HeldLease], length: timedelta
) -> set[tuple[UUID, int]]:
    """Extend an executor's leases that are good and not being changed now; returns the steps whose were."""
    rows = await connection.rows("renew_leases", executor_id=executor_id, lease=length, **_columns(leases))
    return {(row["run_id"], row["step"]) for row in rows}


def _columns(leases: Sequence[HeldLease]) -> dict[str, Any]:
    return {
        **store.of_runs([lease.run_id for lease in leases]),
        "steps": [lease.step for lease in leases],
        "tokens": [lease.token for lease in leases],
    }


class Renewer:
    """Extends leases by their full length, on the database's clock."""

    def __init__(self, database: Database, *, lease: timedelta) -> None:
        self._database = database
        self._lease = lease

    async def renew(self, executor_id: UUID, leases: Sequence[HeldLease]) -> list[Result]:
        """Say of each lease what became of it."""
        if not leases:
            return []
        async with self._database.transaction(store.FILE) as connection:
            renewed = await extend(connection, executor_id, leases, self._lease)
        async with self._database.connection(store.FILE) as connection:
            rows = await connection.rows("read_leases", **_columns(leases))
        now = {(row["run_id"], row["step"], row["token"]): row for row in rows}
        return [self._judge(lease, renewed, now) for lease in leases]

    @staticmethod
    def _judge(
        lease: HeldLease, renewed: set[tuple[UUID, int]], now: dict[tuple[UUID, int, int], dict[str, bool]]
    ) -> Result:
        row = now[lease.run_id, lease.step, lease.token]
        if not row["alive"]:
            return Result.RESULT_LOST
        if row["stopping"]:
            return Result.RESULT_STOP
        return Result.RESULT_RENEWED if (lease.run_id, lease.step) in renewed else Result.RESULT_BUSY
