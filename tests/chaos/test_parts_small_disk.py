"""A database whose disk is full refuses; once there is room, it goes on with everything that it has confirmed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from taskforge.domain.errors import Unavailable
from taskforge.runtime.ids import new_id
from taskforge.store.pool import Database
from tests.chaos.parts.postgres_node import Node, running_node
from tests.chaos.parts.replication import DATABASE, migrated
from tests.chaos.parts.small_disk import SmallDisk, small_disk, why_no_small_disk
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(bool(why_no_small_disk()), reason=why_no_small_disk())

_MEGABYTES = 200
_ROOM = 2 << 20
_BYTES = 60_000


@pytest.fixture
def disk(folder: Path) -> Iterator[SmallDisk]:
    folder.chmod(0o711)
    with small_disk(folder / "disk", megabytes=_MEGABYTES) as disk:
        yield disk


@pytest.fixture
def node(disk: SmallDisk) -> Iterator[Node]:
    with running_node(disk.folder, min_wal_size="32MB", max_wal_size="64MB") as node:
        migrated(node)
        yield node


async def write(pool: Database) -> str:
    name = f"S{new_id().hex.upper()}"
    async with pool.transaction("secrets") as connection:
        await connection.run("put_secret", name=name, version=1, sealed=os.urandom(_BYTES))
    return name


async def write_until_refused(pool: Database) -> AsyncIterator[str]:
    for _ in range(_MEGABYTES):
        yield await write(pool)


async def test_a_full_disk_refuses_and_loses_nothing(disk: SmallDisk, node: Node) -> None:
    pool = Database(node.url(DATABASE, "taskforge_gateway"))
    confirmed = [await write(pool) for _ in range(5)]
    disk.fill(leave=_ROOM)
    with pytest.raises(Unavailable):
        confirmed += [name async for name in write_until_refused(pool)]
    disk.empty()
    if not node.is_running:
        node.start()

    async def goes_on() -> None:
        try:
            confirmed.append(await write(pool))
        except Unavailable as error:
            raise AssertionError(error.message) from error

    await eventually(goes_on, within=30)
    await pool.close()
    assert set(confirmed) <= set(node.sql("SELECT name FROM secrets", database=DATABASE))
