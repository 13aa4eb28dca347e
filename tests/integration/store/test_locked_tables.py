"""Whoever locks a whole table, as a change of the schema does, is waited for and then given up as unavailable."""

from __future__ import annotations

import pytest

from taskforge.domain.errors import Unavailable
from taskforge.runtime.ids import new_id
from taskforge.store.pool import Database as Pool
from taskforge.store.runs import FILE, Patience, lock_runs
from tests.support.postgres import Database


@pytest.mark.parametrize("patience", [Patience.NONE, Patience.LONG])
async def test_a_locked_table_is_not_a_run_that_somebody_holds(database: Database, patience: Patience) -> None:
    pool = Pool(database.url_for("scheduler"), size=1, settings={"lock_timeout": "100"})
    async with database.connect() as owner, owner.transaction():
        await owner.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable):
            async with pool.transaction(FILE) as connection:
                await lock_runs(connection, [new_id()], patience=patience)
    await pool.close()
