"""Errors travel in HTTP/2 trailers, and a gRPC client drops a call whose trailers are larger than 8 KiB.

So what an error lists has a budget; what does not fit is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskforge.domain.errors import FieldViolation

#: Bytes for everything that an error lists. The rest of the 8 KiB is for its message and the status's own headers.
BUDGET_BYTES = 5_500
MAX_ITEMS = 50

_OVERHEAD_BYTES = 8
_MAX_DESCRIPTION_CHARS = 400


def cost(violation: FieldViolation) -> int:
    """About how many bytes a violation takes."""
    return len(violation.field.encode()) + len(violation.description.encode()) + _OVERHEAD_BYTES


def shortened(violation: FieldViolation) -> FieldViolation:
    """The violation with a description of bounded length."""
    if len(violation.description) <= _MAX_DESCRIPTION_CHARS and len(violation.field) <= _MAX_DESCRIPTION_CHARS:
        return violation
    return FieldViolation(
        field=violation.field[:_MAX_DESCRIPTION_CHARS],
        description=violation.description[: _MAX_DESCRIPTION_CHARS - 1] + "…",
    )


def rest(count: int) -> FieldViolation:
    """What stands for those that did not fit."""
    return FieldViolation(field="", description=f"and {count} more")


def fitting(violations: Sequence[FieldViolation]) -> list[FieldViolation]:
    """The violations that fit, and how many more there are."""
    shown: list[FieldViolation] = []
    left = BUDGET_BYTES
    for violation in violations:
        short = shortened(violation)
        left -= cost(short)
        if left < 0 or len(shown) == MAX_ITEMS:
            return [*shown, rest(len(violations) - len(shown))]
        shown.append(short)
    return shown
