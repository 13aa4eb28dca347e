"""Names of resources, and the prefixes that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from taskforge.domain.errors import InvalidArgument, NotFound, TaskforgeError
from taskforge.gateway.names import IdSpace, parse_name

IDS = [
    UUID("019a0000-0000-7000-8000-000000000001"),
    UUID("019a0000-0000-7000-8000-000000000002"),
    UUID("019b0000-0000-7000-8000-000000000003"),
]


async def find_between(low: UUID, high: UUID, *, limit: int) -> Sequence[UUID]:
    return sorted((one for one in IDS if low <= one <= high), reverse=True)[:limit]


SPACE = IdSpace(
    collection="runs",
    noun="run",
    not_found="RUN_NOT_FOUND",
    ambiguous="RUN_ID_AMBIGUOUS",
    find_between=find_between,
)


def test_a_name_is_split_into_its_ids() -> None:
    assert parse_name("workflows/a/schedules/b", "workflows", "schedules", field="name") == ("a", "b")


@pytest.mark.parametrize("name", ["", "a", "runs", "runs/", "/runs/a", "runs/a/", "runs/a/steps/b", "run/a"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_name(name, "runs", field="parent")
    assert raised.value.reason == "FIELD_INVALID"
    assert [violation.field for violation in raised.value.violations] == ["parent"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("019b", 2), ("019B0000", 2), ("019b-0000", 2), ("019a0000-0000-7000-8000-000000000002", 1), (IDS[0].hex, 0)],
)
async def test_a_unique_start_is_enough(text: str, expected: int) -> None:
    assert await SPACE.resolve(f"runs/{text}") == IDS[expected]


async def test_a_whole_id_is_not_looked_up() -> None:
    unknown = UUID(int=7)
    assert await SPACE.resolve(f"runs/{unknown}") == unknown


@pytest.mark.parametrize("text", ["019", "019c", "hello", "01 9b", "-", "0" * 33, "²³²³"])
async def test_what_no_id_begins_with_is_not_found(text: str) -> None:
    with pytest.raises(NotFound) as raised:
        await SPACE.resolve(f"runs/{text}")
    assert raised.value.reason == "RUN_NOT_FOUND"


async def test_an_ambiguous_start_lists_what_it_fits() -> None:
    with pytest.raises(TaskforgeError) as raised:
        await SPACE.resolve("runs/019a0000")
    assert raised.value.reason == "RUN_ID_AMBIGUOUS"
    assert raised.value.metadata["candidates"] == f"runs/{IDS[1]},runs/{IDS[0]}"
