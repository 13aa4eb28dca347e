"""Makes a long history out of a few finished runs, row by row as the product wrote them."""

from __future__ import annotations

from typing import Any

_CHUNK = 50_000
#: Tables whose rows belong to a run. What is kept beside them, such as keys, hangs on callers, and these runs had none.
_TABLES = """
SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relkind = 'p' AND a.attname = 'run_id' AND c.relnamespace = current_schema()::regnamespace
"""
_COLUMNS = """
SELECT attname::text AS name, atttypid = 'timestamptz'::regtype AS is_time
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
  AND attidentity = '' AND attgenerated = '' ORDER BY attnum
"""
#: Every copy has a moment of its own within the last six days, one after the other: so have real runs.
_CLONES = """
CREATE TEMP TABLE clones AS
SELECT t.run_id AS old_id, m.moment - t.created_at AS shift,
       (left(first_uuid7_at(m.moment)::text, 14) || '7' || substr(md5(random()::text), 1, 3) || '-8'
        || substr(md5(random()::text), 1, 3) || '-' || substr(md5(random()::text), 1, 12))::uuid AS new_id
FROM (SELECT run_id, created_at, row_number() OVER () - 1 AS number, count(*) OVER () AS templates
      FROM runs WHERE workflow = $1 AND run_id > first_uuid7_at(now() - interval '30 minutes')) AS t
JOIN (SELECT i, now() - interval '1 hour' - interval '6 days' * (1 - i::float8 / $4::integer) AS moment
      FROM generate_series($2::integer, $3::integer) AS i) AS m ON m.i % t.templates = t.number
"""


async def copy_runs(connection: Any, workflow: str, count: int) -> None:
    """Copy the finished runs of a workflow until there are so many, and leave the database at rest."""
    tables = [row[0] for row in await connection.fetch(_TABLES)]
    copies = [await _copy(connection, table) for table in tables]
    await connection.execute("SET synchronous_commit = off; SET work_mem = '64MB'")
    for done in range(0, count, _CHUNK):
        await connection.execute(_CLONES, workflow, done, min(done + _CHUNK, count) - 1, count, timeout=300)
        for copy in copies:
            await connection.execute(copy, timeout=300)
        await connection.execute("DROP TABLE clones")
    # What autovacuum would do within the next minutes, in the middle of what is measured.
    for table in tables:
        await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=600)
    await connection.execute("CHECKPOINT", timeout=300)


async def _copy(connection: Any, table: str) -> str:
    columns = await connection.fetch(_COLUMNS, table)
    names = ", ".join(column["name"] for column in columns)
    values = ", ".join(_value(column["name"], column["is_time"]) for column in columns)
    rows = f"SELECT {values} FROM clones JOIN {table} AS t ON t.run_id = clones.old_id"  # noqa: S608  the catalogue's
    return f"INSERT INTO {table} ({names}) {rows}"


def _value(name: str, is_time: bool) -> str:
    if name == "run_id":
        return "clones.new_id"
    return f"t.{name} + clones.shift" if is_time else f"t.{name}"
