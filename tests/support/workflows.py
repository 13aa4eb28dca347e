"""Compiled workflows made by hand, for tests of the engine that need no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from taskforge.domain.workflow import ActionKind, Effect, RetryPolicy, Step, Workflow

RETRY_TWICE = RetryPolicy(max_attempts=3, on=frozenset({"connect", "5xx"}))


def make_step(id: str, kind: ActionKind = ActionKind.TRANSFORM, **changes: Any) -> Step:
    """A step; `make_workflow` gives it its index. http steps have an effect, as POST does."""
    effect = Effect.AT_LEAST_ONCE if kind is ActionKind.HTTP else Effect.PURE
    return Step(**{"index": 0, "id": id, "kind": kind, "params": {}, "effect": effect, **changes})


def make_workflow(steps: Sequence[Step], **changes: Any) -> Workflow:
    """A workflow of these steps, numbered in their order."""
    numbered = tuple(replace(step, index=index) for index, step in enumerate(steps))
    return Workflow(**{"name": "example", "source_hash": "0" * 64, "steps": numbered, **changes})


def make_chain(*steps: Step) -> Workflow:
    """Each step needs the one before it."""
    return make_workflow([replace(step, needs=(index - 1,) if index else ()) for index, step in enumerate(steps)])
