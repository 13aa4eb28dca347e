"""The states are written down four times: domain, protos, schema, diagram. They agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import pytest

from taskforge.domain.schedule import TickOutcome
from taskforge.domain.states import (
    RUN_TRANSITIONS,
    STEP_TRANSITIONS,
    AttemptOutcome,
    DeadLetterState,
    RunState,
    StepState,
)
from taskforge.store.migrate import migrations
from taskforge.v1 import dead_letter_service_pb2, run_pb2, webhook_service_pb2
from tests.support.places import ROOT

_PAGE = ROOT / "docs" / "explanation" / "state-machine.md"
_ARROW = re.compile(r"^\s*(\w+) --> (\w+)", re.MULTILINE)
_SCHEMA = "\n".join(migration.sql for migration in migrations())


def members(kind: type[StrEnum]) -> set[str]:
    return {member.value for member in kind}


def sent_names(names: list[str], prefix: str) -> set[str]:
    """The names of a proto enum that are ever sent."""
    return {name.removeprefix(prefix) for name in names} - {"UNSPECIFIED"}


def allowed_by_schema(table: str, column: str) -> set[str]:
    """The words of `column … CHECK (column IN (…))`. Later migrations must not loosen it elsewhere."""
    body = re.search(rf"CREATE TABLE {table} \((.*?)\n\)", _SCHEMA, re.DOTALL)
    assert body, f"there is no table {table}"
    check = re.search(rf"CHECK \({column} IN \((.*?)\)\)", body[1], re.DOTALL)
    assert check, f"{table}.{column} has no check"
    return set(re.findall(r"'(\w+)'", check[1]))


def arrows(heading: str) -> set[tuple[str, str]]:
    """The arrows of the diagram under a heading, without those from and to nothing."""
    section = _PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(_ARROW.findall(section.partition("```mermaid")[2].partition("```")[0]))


@pytest.mark.parametrize(
    ("heading", "transitions"), [("Runs", RUN_TRANSITIONS), ("Steps", STEP_TRANSITIONS)], ids=["runs", "steps"]
)
def test_the_diagram_shows_exactly_the_legal_arrows(
    heading: str, transitions: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    legal = {(source.value, target.value) for source, targets in transitions.items() for target in targets}
    assert arrows(heading) == legal


def test_every_state_has_its_arrows_listed() -> None:
    assert set(RUN_TRANSITIONS) == set(RunState)
    assert set(STEP_TRANSITIONS) == set(StepState)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (RunState, sent_names(run_pb2.Run.State.keys(), "STATE_")),
        (StepState, sent_names(run_pb2.Step.State.keys(), "STATE_")),
        (DeadLetterState, sent_names(dead_letter_service_pb2.DeadLetter.State.keys(), "STATE_")),
    ],
    ids=["run", "step", "dead letter"],
)
def test_the_api_knows_every_state(kind: type[StrEnum], sent: set[str]) -> None:
    assert sent == members(kind)


@pytest.mark.parametrize(
    ("table", "column", "expected"),
    [
        ("runs", "state", members(RunState)),
        ("steps", "state", members(StepState)),
        ("attempts", "outcome", members(AttemptOutcome)),
        ("dead_letters", "state", members(DeadLetterState)),
        ("ticks", "outcome", members(TickOutcome)),
        ("webhook_deliveries", "verdict", sent_names(webhook_service_pb2.Delivery.Verdict.keys(), "VERDICT_")),
        ("runs", "cause_kind", {name.lower() for name in sent_names(run_pb2.Cause.Kind.keys(), "KIND_")}),
    ],
)
def test_the_schema_allows_exactly_the_states(table: str, column: str, expected: set[str]) -> None:
    assert allowed_by_schema(table, column) == expected


@pytest.mark.parametrize("kind", [RunState, StepState])
def test_the_page_explains_every_state(kind: type[StrEnum]) -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert members(kind) <= rows
