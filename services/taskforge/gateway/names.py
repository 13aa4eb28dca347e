"""Resource names: `workflows/release-watch`, `runs/0198…`, and the prefixes that people type instead of whole ids."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from taskforge.domain.errors import FieldViolation, InvalidArgument, NotFound

_MIN_PREFIX = 4
_HEX = re.compile(r"[0-9a-f]+")
_SHOWN_CANDIDATES = 5


def field_invalid(field: str, problem: str, *, hint: str = "") -> InvalidArgument:
    """The error for one wrong field of a request."""
    return InvalidArgument(
        "FIELD_INVALID",
        f"{field} {problem}",
        hint=hint,
        metadata={"field": field},
        violations=[FieldViolation(field=field, description=problem)],
    )


def parse_name(name: str, *collections: str, field: str) -> tuple[str, ...]:
    """The ids in a name: `parse_name("workflows/a/schedules/b", "workflows", "schedules", field="name")`.

    Raises:
        InvalidArgument: FIELD_INVALID, if the name is not of this form.
    """
    parts = name.split("/")
    if len(parts) == 2 * len(collections) and tuple(parts[::2]) == collections and all(parts[1::2]):
        return tuple(parts[1::2])
    form = "/".join(f"{collection}/ID" for collection in collections)
    raise field_invalid(field, f"is {name[:200]!r}; it must be of the form {form}")


def parse_workflow(name: str, *, field: str = "name") -> str:
    """The workflow in `workflows/{workflow}`."""
    return parse_name(name, "workflows", field=field)[0]


def workflow_name(workflow: str) -> str:
    """`workflows/{workflow}`."""
    return f"workflows/{workflow}"


def run_name(run_id: UUID) -> str:
    """`runs/{run}`."""
    return f"runs/{run_id}"


def dead_letter_name(dead_letter_id: UUID) -> str:
    """`deadLetters/{dead_letter}`."""
    return f"deadLetters/{dead_letter_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdSpace:
    """A collection whose ids may be shortened to a unique prefix, and the reasons of its errors."""

    collection: str
    noun: str
    not_found: str
    ambiguous: str
    #: Ids between two bounds, newest first, at most `limit`.
    find_between: Callable[..., Awaitable[Sequence[UUID]]]

    async def resolve(self, name: str, *, field: str = "name") -> UUID:
        """The id that a name means. A whole id is not looked up.

        Raises:
            InvalidArgument: the name has another form, or its prefix fits more than one id.
            NotFound: no id begins like this.
        """
        (text,) = parse_name(name, self.collection, field=field)
        digits = text.replace("-", "").lower()
        if not _HEX.fullmatch(digits) or not _MIN_PREFIX <= len(digits) <= 32:
            hint = f"give the whole id, or at least its first {_MIN_PREFIX} characters"
            raise self.missing(text[:80], hint=hint)
        if len(digits) == 32:
            return UUID(hex=digits)
        low, high = UUID(hex=digits.ljust(32, "0")), UUID(hex=digits.ljust(32, "f"))
        found = await self.find_between(low, high, limit=_SHOWN_CANDIDATES + 1)
        if not found:
            raise self.missing(text)
        if len(found) > 1:
            raise self._ambiguous(text, found)
        return found[0]

    def missing(self, identity: object, *, hint: str = "") -> NotFound:
        """The error for an id that does not exist."""
        return NotFound(
            self.not_found,
            f"there is no {self.noun} {identity}",
            hint=hint,
            metadata={"name": f"{self.collection}/{identity}"},
        )

    def _ambiguous(self, text: str, found: Sequence[UUID]) -> InvalidArgument:
        shown = [str(identity) for identity in found[:_SHOWN_CANDIDATES]]
        more = " and others" if len(found) > _SHOWN_CANDIDATES else ""
        return InvalidArgument(
            self.ambiguous,
            f"{text} fits more than one {self.noun}: {', '.join(shown)}{more}",
            hint="give more characters of the id",
            metadata={"candidates": ",".join(f"{self.collection}/{identity}" for identity in shown)},
        )
