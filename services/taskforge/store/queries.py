"""Named queries from `.sql` files.

A file holds blocks that begin with `-- name: some_query`, followed by comment lines on its purpose and one statement.
Parameters are written `:name`; asyncpg gets them as `$n` in the order of their first use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_BLOCK = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
# A string, a comment, a cast, or a parameter: only the last is replaced.
_TOKEN = re.compile(r"'(?:[^']|'')*'|--[^\n]*|::\w+|:([a-z_][a-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement. `parameters` are in the order of `$1, $2, …`."""

    name: str
    sql: str
    parameters: tuple[str, ...]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Put named values into order; a missing or unknown name is a bug and raises."""
        if values.keys() != set(self.parameters):
            raise TypeError(f"query {self.name} takes {sorted(self.parameters)}, not {sorted(values)}")
        return [values[name] for name in self.parameters]


@cache
def load(file: str) -> Mapping[str, Query]:
    """Read `sql/<file>.sql`."""
    text = (resources.files("taskforge.store") / "sql" / f"{file}.sql").read_text(encoding="utf-8")
    parts = _BLOCK.split(text)[1:]
    return {name: parse(name, body) for name, body in zip(parts[::2], parts[1::2], strict=True)}


def parse(name: str, body: str) -> Query:
    """Replace `:name` by `$n`."""
    parameters: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        parameter = match.group(1)
        if parameter is None:
            return match.group(0)
        if parameter not in parameters:
            parameters.append(parameter)
        return f"${parameters.index(parameter) + 1}"

    sql = _TOKEN.sub(numbered, body).strip().removesuffix(";")
    return Query(name=name, sql=sql, parameters=tuple(parameters))
