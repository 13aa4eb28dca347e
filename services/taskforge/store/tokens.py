"""API tokens, as digests."""

from __future__ import annotations

from collections.abc import Mapping

from taskforge.store.pool import Database

FILE = "tokens"


async def put(database: Database, name: str, digest: bytes) -> None:
    """Make a token valid under this name, in place of an earlier one."""
    async with database.connection(FILE) as connection:
        await connection.run("put_token", name=name, digest=digest)


async def read(database: Database) -> Mapping[bytes, str]:
    """Names of all valid tokens by their digests."""
    async with database.connection(FILE) as connection:
        return {row["digest"]: row["name"] for row in await connection.rows("read_tokens")}
