"""What executors write about their leases is read as what they were told, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos.world.calls import read_calls
from tests.chaos.world.world import World

_LEASE = {"run": "0198" + "0" * 28, "step": 1, "token": 2, "timestamp": "2026-01-01T00:00:00Z"}


def answers(folder: Path, *lines: dict[str, Any]) -> list[tuple[str, str]]:
    log = folder / "executor-1.log"
    log.write_text("".join(json.dumps(_LEASE | line) + "\n" for line in lines), encoding="utf-8")
    world = SimpleNamespace(wiring=SimpleNamespace(names=lambda: ["executor-1"]), log=lambda _: log)
    return [(call.kind, call.answer) for call in read_calls(cast("World", world))]


@pytest.mark.parametrize(("by", "found"), [("scheduler", [("renew", "stale")]), ("clock", [])])
def test_only_the_scheduler_can_say_that_a_lease_is_lost(tmp_path: Path, by: str, found: list[Any]) -> None:
    assert answers(tmp_path, {"event": "lease_lost", "by": by}) == found


def test_an_answer_to_a_repeated_question_leaves_the_first_one_open(tmp_path: Path) -> None:
    told = {"event": "stretch_answered", "answer": "KIND_ACCEPTED", "seconds": 0.1, "asks": 3}
    assert answers(tmp_path, told) == [("complete", "accepted"), ("complete", "unknown")]
