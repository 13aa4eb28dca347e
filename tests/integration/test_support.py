"""The test ground itself: each test gets servers that are real, empty and its own."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from tests.support.postgres import Database
from tests.support.processes import Process
from tests.support.target import Answer, Target
from tests.support.valkey import Valkey
from tests.support.waiting import eventually


async def test_database_is_migrated_and_empty(database: Database) -> None:
    async with database.connect("ingest") as connection:
        assert await connection.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
        assert await connection.fetchval("SELECT current_user") == "taskforge_ingest"


@pytest.mark.parametrize("round_number", [1, 2])
async def test_no_test_sees_rows_of_another(database: Database, round_number: int) -> None:
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM tokens") == 0
        await connection.execute("INSERT INTO tokens (name, digest) VALUES ('t', sha256('t'))")


def test_valkey_survives_a_restart_empty(valkey: Valkey) -> None:
    valkey.stop()
    valkey.start()
    valkey.flush()


async def test_target_follows_its_script_and_remembers(target: Target) -> None:
    target.answer("/flaky", Answer(status=503), Answer(json={"ok": True}))
    async with aiohttp.ClientSession() as session:
        statuses = [(await session.post(target.url("/flaky?n=1"), json=[n])).status for n in range(3)]
        target.answer("/broken", Answer(cut=True))
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.put(target.url("/broken"))
    assert statuses == [503, 200, 200]
    assert [request.json() for request in target.on("/flaky")] == [[0], [1], [2]]
    assert target.requests[0].query == {"n": "1"}


async def test_eventually_raises_the_last_assertion() -> None:
    calls = 0

    def fails_twice() -> str:
        nonlocal calls
        calls += 1
        assert calls > 2
        return "done"

    assert await eventually(fails_twice) == "done"

    def never() -> None:
        raise AssertionError("not yet")

    with pytest.raises(AssertionError, match="not yet"):
        await eventually(never, within=0.05)


def test_a_child_outlives_the_thread_that_asked_for_it(folder: Path) -> None:
    def start() -> Process:
        child = Process(["sh", "-c", "echo up; exec sleep 60"], log=folder / "child.log")
        child.ready_when(lambda: child.output() == "up\n")
        return child

    with ThreadPoolExecutor(max_workers=1) as thread:
        child = thread.submit(start).result()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(within=0.5)
    child.kill()
