"""What executors say that they were answered, from their logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from taskforge.invariants.rows import Call
from tests.chaos.world.world import World

Answer = Literal["accepted", "already_accepted", "stale", "unknown"]

_ANSWERS: dict[str, Answer] = {
    "KIND_ACCEPTED": "accepted",
    "KIND_ALREADY_ACCEPTED": "already_accepted",
    "KIND_STALE_LEASE": "stale",
}
_COMPLETED, _LOST = "stretch_answered", "lease_lost"


def read_calls(world: World) -> list[Call]:
    """Every completion that was answered, and every lease that an executor was told is lost."""
    executors = [name for name in world.wiring.names() if name.startswith("executor")]
    return [call for name in executors for call in _calls_of(world, name)]


def _calls_of(world: World, name: str) -> Iterator[Call]:
    log = world.log(name)
    if not log.exists():
        return
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if _COMPLETED in line or _LOST in line:
                yield from _parsed(line)


def _parsed(line: str) -> Iterator[Call]:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        return  # the last line of a process that was killed
    at = datetime.fromisoformat(fields["timestamp"]).timestamp()
    is_completion = fields["event"] == _COMPLETED
    if not is_completion and fields.get("by") != "scheduler":
        return  # it only fears so: a completion that is under way may still be in time
    answered = Call(
        kind="complete" if is_completion else "renew",
        run_id=UUID(hex=fields["run"]),
        step=fields["step"],
        token=fields["token"],
        answer=_ANSWERS.get(fields["answer"], "unknown") if is_completion else "stale",
        sent_at=at - fields.get("seconds", 0.0),
        answered_at=at,
    )
    yield answered
    if fields.get("asks", 1) > 1:
        # An earlier question may have been answered, and the answer lost: the step may have gone on since.
        yield replace(answered, answer="unknown")
