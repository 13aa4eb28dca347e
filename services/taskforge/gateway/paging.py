"""Keyset pages: opaque tokens that are bound to the query they came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from taskforge.domain.errors import InvalidArgument
from taskforge.gateway.names import field_invalid

Cursor = TypeVar("Cursor")
Row = TypeVar("Row")

_BINDING_BYTES = 8
_MAX_TOKEN_CHARS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSizes:
    """What a page size of 0 means, and where larger ones are cut."""

    default: int = 50
    maximum: int = 500


RESOURCES = PageSizes()
LINES = PageSizes(default=100, maximum=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Cursor]):
    """The page that was asked for: so many rows after the cursor."""

    size: int
    after: Cursor
    binding: bytes

    @property
    def limit(self) -> int:
        """How many rows to read: one more than are shown tells whether there is a next page."""
        return self.size + 1

    def cut(self, rows: Sequence[Row], cursor: Callable[[Row], object]) -> tuple[Sequence[Row], str]:
        """The rows to show, and the token of the next page, empty at the end."""
        if len(rows) <= self.size:
            return rows, ""
        shown = rows[: self.size]
        return shown, self.token(cursor(shown[-1]))

    def token(self, cursor: object) -> str:
        """The token of the page after a cursor."""
        return base64.urlsafe_b64encode(self.binding + str(cursor).encode()).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging(Generic[Cursor]):
    """How a method pages: where it begins and how a cursor is read back from its text."""

    method: str
    first: Cursor
    parse: Callable[[str], Cursor]
    sizes: PageSizes = RESOURCES

    def open(self, size: int, token: str, *filters: object) -> Page[Cursor]:
        """The page that a request asks for. The token must come from a request with the same filters.

        Raises:
            InvalidArgument: FIELD_INVALID for a negative size, PAGE_TOKEN_INVALID for a wrong token.
        """
        if size < 0:
            raise field_invalid("page_size", "is negative")
        size = min(size or self.sizes.default, self.sizes.maximum)
        binding = hashlib.sha256(repr((self.method, filters)).encode()).digest()[:_BINDING_BYTES]
        after = self._cursor(token, binding) if token else self.first
        return Page(size=size, after=after, binding=binding)

    def _cursor(self, token: str, binding: bytes) -> Cursor:
        try:
            if len(token) > _MAX_TOKEN_CHARS:
                raise ValueError
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if raw[:_BINDING_BYTES] != binding:
                raise ValueError
            return self.parse(raw[_BINDING_BYTES:].decode())
        except (ValueError, binascii.Error):
            raise InvalidArgument(
                "PAGE_TOKEN_INVALID",
                "the page token is damaged or belongs to another query",
                hint="take next_page_token as it is, with the same filters, or start without one",
            ) from None
