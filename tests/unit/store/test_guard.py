"""Which settings of a server, and which schemas, a service accepts."""

from __future__ import annotations

from typing import Any

import pytest

from taskforge.store.guard import risks, schema_faults

_SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "standbys": ""}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"synchronous_commit": "remote_apply", "standbys": "ANY 1 (a, b)"},
        {"synchronous_commit": "remote_write", "standbys": "a"},
        {"synchronous_commit": "local"},
    ],
)
def test_safe(settings: dict[str, Any]) -> None:
    assert risks({**_SAFE, **settings}) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"fsync": "off"},
        {"full_page_writes": "off"},
        {"synchronous_commit": "off"},
        {"synchronous_commit": "local", "standbys": "a"},
    ],
)
def test_each_risk_is_named(settings: dict[str, Any]) -> None:
    [risk] = risks({**_SAFE, **settings})
    assert next(iter(settings)) in risk


@pytest.mark.parametrize(("newest", "required"), [(5, 0), (6, 5), (7, 4)])
def test_schemas_that_a_program_can_use(newest: int, required: int) -> None:
    assert schema_faults(newest=newest, required=required, known=5) == []


@pytest.mark.parametrize(
    ("newest", "required", "fault"), [(4, 0, "this program needs 5"), (0, 0, "migrate"), (7, 6, "install a newer")]
)
def test_schemas_that_it_cannot_use(newest: int, required: int, fault: str) -> None:
    [told] = schema_faults(newest=newest, required=required, known=5)
    assert fault in told
