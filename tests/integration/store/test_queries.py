"""Every named query fits the migrated schema, and the service that runs it may."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import asyncpg
import pytest

from taskforge.store.queries import Query, load
from tests.support.postgres import Database

_FOLDER = resources.files("taskforge.store") / "sql"
_FILES = sorted(file.name.removesuffix(".sql") for file in _FOLDER.iterdir() if file.name.endswith(".sql"))
#: Each file says in its first lines whose it is.
_OWNER = re.compile(
    r"\A(?:--.*\n)*?--.*(?:Only (?:the )?(gateway|scheduler|ingest) runs these|Every service runs these)"
)
_SERVICES = ("gateway", "scheduler", "ingest")
_GENERIC_PLANS_SINCE = 16


def text_of(file: str) -> str:
    return (_FOLDER / f"{file}.sql").read_text(encoding="utf-8")


async def prepare(connection: Any, file: str, query: Query) -> None:
    try:
        await connection.prepare(query.sql)
    except asyncpg.PostgresError as error:
        pytest.fail(f"{file}.sql, {query.name}: {error}")


@pytest.mark.parametrize("file", _FILES)
async def test_every_query_can_be_prepared(database: Database, file: str) -> None:
    async with database.connect() as connection:
        for query in load(file).values():
            await prepare(connection, file, query)


@pytest.mark.parametrize("file", _FILES)
async def test_a_service_may_run_its_queries(database: Database, file: str) -> None:
    """Rights are checked when a plan is opened, so a plan without values is enough to ask."""
    owner = _OWNER.match(text_of(file))
    assert owner, f"{file}.sql does not say who runs it"
    for role in [owner[1]] if owner[1] else _SERVICES:
        async with database.connect(role) as connection:
            if connection.get_server_version().major < _GENERIC_PLANS_SINCE:
                pytest.skip("this server cannot plan without values")
            for query in load(file).values():
                try:
                    await connection.execute(f"EXPLAIN (GENERIC_PLAN) {query.sql}")
                except asyncpg.PostgresError as error:
                    pytest.fail(f"{file}.sql, {query.name}, as {role}: {error}")


@pytest.mark.parametrize("file", _FILES)
def test_every_query_has_a_name_of_its_own(file: str) -> None:
    assert text_of(file).count("-- name: ") == len(load(file))
