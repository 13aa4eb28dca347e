"""A list reads what it shows, however much of the history is something else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from taskforge.domain.states import DeadLetterState, RunState
from taskforge.store import dead_letter_reads, invariant_reads, run_reads
from taskforge.store.pool import IN_ORDER
from taskforge.store.pool import Database as Pool
from taskforge.store.queries import load
from tests.support.postgres import Database

_COUNT = 4_000  #: runs, one in forty of each rare kind, and all of those old
_MOST_ROWS = 400  #: that a page of twenty may look at

_HISTORY = """
INSERT INTO runs (run_id, workflow, revision_id, state, seq, cause_kind, inputs, trigger, ended_at)
SELECT overlay(first_uuid7_at(now() - i * interval '1 second')::text PLACING '7' FROM 15)::uuid,
       CASE WHEN i > $1 - 100 THEN 'rare' ELSE 'busy' END, gen_random_uuid(),
       CASE WHEN i <= $1 - 100 THEN CASE i % 2 WHEN 0 THEN 'FAILED' ELSE 'SUCCEEDED' END
            WHEN i % 2 = 0 THEN 'CANCELLED' ELSE 'SUCCEEDED' END,
       1, 'manual', '{}', '{}', now()
FROM generate_series(1, $1::integer) AS i
"""
_LETTERS = """
INSERT INTO dead_letters (dead_letter_id, run_id, step, epoch, workflow, step_id, state, error, reason, attempts,
                          crashes, closed_at, closed_by)
SELECT run_id, run_id, 0, 0, workflow, 'only', CASE workflow WHEN 'rare' THEN 'REDRIVEN' ELSE 'DISCARDED' END, '{}',
       'exhausted', 1, 0, now(), 'somebody'
FROM runs
"""
_PAGE = {"before": run_reads.LAST_ID, "limit": 20}
_SINCE = {"lowest": UUID(int=0), "since": datetime(1970, 1, 1, tzinfo=UTC)}


def _lists() -> Sequence[tuple[str, str, Mapping[str, Any]]]:
    runs, letters = run_reads.FILE, dead_letter_reads.FILE
    every = sorted(RunState)
    return [
        *((runs, "list_runs_of_states", {**_SINCE, "states": [state]}) for state in ("CANCELLED", "RUNNING", "FAILED")),
        (runs, "list_runs_of_states", {**_SINCE, "states": ["CANCELLED", "FAILED"]}),
        (runs, "list_runs", {**_SINCE, "states": every}),
        *((runs, "list_runs_of_workflow", {**_SINCE, "states": every, "workflow": w}) for w in ("rare", "busy", "no")),
        (runs, "list_runs_of_workflow", {**_SINCE, "states": ["CANCELLED"], "workflow": "busy"}),
        (invariant_reads.FILE, "find_runs_of_workflow", {**_SINCE, "states": every, "workflow": "rare"}),
        *(
            (letters, "list_dead_letters", {"state": state, "workflow": "", "run_id": None})
            for state in DeadLetterState
        ),
    ]


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "unknown"])
async def test_no_list_walks_past_what_it_does_not_show(database: Database, *, analyzed: bool) -> None:
    async with database.connect() as connection:
        await connection.execute(_HISTORY, _COUNT)
        await connection.execute(_LETTERS)
        for name, value in IN_ORDER.items():
            await connection.execute(f"SET {name} = {value}")
        if analyzed:
            await connection.execute("ANALYZE runs, dead_letters")
        for file, name, values in _lists():
            query = load(file)[name]
            sql = f"EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, FORMAT JSON) {query.sql}"
            plan = json.loads(await connection.fetchval(sql, *query.arguments({**_PAGE, **values})))
            assert _rows(plan) <= _MOST_ROWS, f"{name} of {values} looks at {_rows(plan)} rows"


async def test_a_list_of_several_states_is_in_the_order_of_ids(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(_HISTORY, 300)
    pool = Pool(database.url_for("gateway"), size=1, settings=IN_ORDER)
    reads = run_reads.RunReads(pool)
    for wanted in (
        run_reads.RunFilter(),
        run_reads.RunFilter(workflow="rare"),
        run_reads.RunFilter(states=frozenset({RunState.FAILED, RunState.CANCELLED})),
    ):
        found = await _all_pages(reads, wanted)
        assert found == sorted(found, reverse=True)
        async with database.connect() as connection:
            assert len(found) == await connection.fetchval(
                "SELECT count(*) FROM runs WHERE $1 IN ('', workflow) AND state = ANY($2::text[])",
                wanted.workflow,
                sorted(wanted.states or frozenset(RunState)),
            )
    await pool.close()


async def _all_pages(reads: run_reads.RunReads, wanted: run_reads.RunFilter) -> list[UUID]:
    found: list[UUID] = []
    before = run_reads.LAST_ID
    while page := await reads.page(wanted, before=before, limit=20):
        before = page[-1].run_id
        found += [run.run_id for run in page]
    return found


def _rows(plan: Any) -> float:
    """How many rows the scans of a plan looked at, those that a filter removed among them."""
    if isinstance(plan, list):
        return sum(_rows(item) for item in plan)
    if not isinstance(plan, dict):
        return 0
    below = sum(_rows(value) for value in plan.values())
    if "Relation Name" not in plan:
        return below
    looked = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return float(below + looked * plan["Actual Loops"])
