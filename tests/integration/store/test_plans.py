"""What a query costs must not grow with the history: it looks into no partition but those of the runs it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from taskforge.domain.ids import first_uuid7_at
from taskforge.store.pool import BY_KEY
from taskforge.store.queries import Query, load
from tests.support.postgres import Database

_FILES = ("runs", "schedules")
_NAMED = [(file, query) for file in _FILES for query in load(file).values() if "first" in query.parameters]


def _scanned(plan: Any) -> Iterator[str]:
    """The tables that a plan would look into."""
    if isinstance(plan, dict):
        if "Scan" in plan.get("Node Type", "") and "Relation Name" in plan:
            yield plan["Relation Name"]
        for value in plan.values():
            yield from _scanned(value)
    elif isinstance(plan, list):
        for item in plan:
            yield from _scanned(item)


async def _plan(connection: Any, query: Query) -> Any:
    """The plan that the scheduler's connections use, for one run of now."""
    run_id = first_uuid7_at(int(datetime.now(UTC).timestamp() * 1000))
    given = {"run_ids": f"'{{{run_id}}}'", "first": f"'{run_id}'", "last": f"'{run_id}'"}
    for name, value in BY_KEY.items():
        await connection.execute(f"SET {name} = {value}")
    await connection.execute(f"PREPARE asked AS {query.sql}")
    values = ", ".join(given.get(name, "NULL") for name in query.parameters)
    return json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({values})"))


@pytest.mark.parametrize(("file", "query"), _NAMED, ids=[f"{file}-{query.name}" for file, query in _NAMED])
async def test_a_query_by_run_ids_looks_into_one_week(database: Database, file: str, query: Query) -> None:
    async with database.connect() as connection:
        scanned = set(_scanned(await _plan(connection, query)))
        this_week = await connection.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'IYYY\"w\"IW')")
    assert scanned
    assert {table for table in scanned if not table.endswith(this_week)} == set()


def test_every_query_that_finds_rows_of_runs_says_where_they_end() -> None:
    """Those that only write rows route each to its partition."""
    without = {
        query.name
        for file in _FILES
        for query in load(file).values()
        if "run_ids" in query.parameters and "first" not in query.parameters
    }
    assert without == {"insert_keys", "insert_ticks", "find_open_dead_letters"}
