"""Pages: tokens that only fit the query they came from."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.domain.errors import InvalidArgument
from taskforge.gateway.paging import PageSizes, Paging

NUMBERS = Paging(method="ListNumbers", first=0, parse=int, sizes=PageSizes(default=2, maximum=3))


def walk(count: int, size: int) -> list[list[int]]:
    """Page through 1 to `count` as a servicer does."""
    pages, token = [], ""
    while True:
        page = NUMBERS.open(size, token, "filter")
        shown, token = page.cut([n for n in range(1, count + 1) if n > page.after][: page.limit], lambda number: number)
        pages.append(list(shown))
        if not token:
            return pages


@given(count=st.integers(0, 20), size=st.integers(0, 5))
def test_pages_show_everything_once_and_in_order(count: int, size: int) -> None:
    pages = walk(count, size)
    assert [number for page in pages for number in page] == list(range(1, count + 1))
    assert all(len(page) <= min(size or 2, 3) for page in pages)
    assert count == 0 or all(pages), "no page is empty"


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidArgument) as raised:
        NUMBERS.open(-1, "")
    assert raised.value.reason == "FIELD_INVALID"


def test_the_size_may_change_from_page_to_page() -> None:
    _, token = NUMBERS.open(1, "").cut([1, 2], lambda number: number)
    assert NUMBERS.open(3, token).after == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda token: NUMBERS.open(1, token, "b"),
        lambda token: NUMBERS.open(1, token),
        lambda token: Paging(method="ListOthers", first=0, parse=int).open(1, token, "a"),
        lambda token: NUMBERS.open(1, token[:-1] + "*", "a"),
        lambda token: NUMBERS.open(1, token + "AAAA", "a"),
        lambda token: NUMBERS.open(1, "x", "a"),
    ],
)
def test_a_token_fits_only_the_query_it_came_from(other: object) -> None:
    _, token = NUMBERS.open(1, "", "a").cut([1, 2], lambda number: number)
    with pytest.raises(InvalidArgument) as raised:
        other(token)  # type: ignore[operator]
    assert raised.value.reason == "PAGE_TOKEN_INVALID"


@given(st.binary(max_size=40))
def test_any_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArgument):
        NUMBERS.open(1, base64.urlsafe_b64encode(raw or b"x").decode(), "a")
