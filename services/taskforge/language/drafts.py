"""Steps as they stand in the file, numbered, nested and with their needs: the ground for every check between steps.

Drafts are made from the raw document, so that a step that is wrong in itself still counts as a step for all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from taskforge.domain.workflow import JsonValue
from taskforge.language.document_fields import STEP_ID
from taskforge.language.document_steps import Branch, StepDocument
from taskforge.language.faults import read_part
from taskforge.language.problems import Problem, did_you_mean, format_path, problem_at
from taskforge.language.yaml_tree import Path, Tree

OUTPUT_ID = "output"
_RESERVED = frozenset({OUTPUT_ID, "in", "true", "false", "null"})


@dataclass(slots=True, eq=False)
class Draft:
    """One step: where it stands, and what is known of it so far."""

    index: int
    path: Path
    raw: Mapping[str, JsonValue]
    parent: Draft | None = None
    branch: int | None = None
    above: Draft | None = None  #: the step written above it in the same list
    document: StepDocument | None = None
    branches: list[Branch | None] = field(default_factory=list)
    needs: tuple[int, ...] = ()
    before: int = 0  #: bit set of every step that has ended when this one starts

    @property
    def id(self) -> str:
        """Its id, or a stand-in when it has none."""
        given = self.raw.get("id")
        return given if isinstance(given, str) else f"#{self.index + 1}"

    def is_inside(self, switch: Draft) -> bool:
        """Whether it is nested in the switch, at any depth."""
        return any(parent is switch for parent, _ in self.ancestors())

    def ancestors(self) -> Iterator[tuple[Draft, int]]:
        """The switches it is nested in, innermost first, with the branch of each."""
        current: Draft | None = self
        while current is not None and current.parent is not None and current.branch is not None:
            yield current.parent, current.branch
            current = current.parent


class Drafts:
    """All steps of a file, in file order, and their needs."""

    def __init__(self, tree: Tree, problems: list[Problem]) -> None:
        self._tree = tree
        self._problems = problems
        self.all: list[Draft] = []
        self._read(tree.value.get("steps"), ("steps",), None, None)
        self._check_ids()
        for draft in self.all:
            self._resolve_needs(draft)

    @cached_property
    def by_id(self) -> Mapping[str, Draft]:
        """Drafts by id; of duplicates the first."""
        found: dict[str, Draft] = {}
        for draft in self.all:
            found.setdefault(draft.id, draft)
        return found

    def inside(self, switch: Draft) -> list[Draft]:
        """Every step nested in a switch, at any depth."""
        return [draft for draft in self.all[switch.index + 1 :] if draft.is_inside(switch)]

    # --- reading ----------------------------------------------------------------------------------

    def _read(self, raw: Any, path: Path, parent: Draft | None, branch: int | None) -> None:
        above: Draft | None = None
        for position, item in enumerate(raw if isinstance(raw, list) else []):
            place = (*path, position)
            if not isinstance(item, dict):
                self._report(place, "TF1101", "a step is an object with keys, such as `- id: fetch`")
                continue
            draft = Draft(len(self.all), place, item, parent, branch, above)
            self.all.append(draft)
            draft.document = read_part(StepDocument, item, place, self._tree, self._problems)
            self._read_branches(draft)
            above = draft

    def _read_branches(self, draft: Draft) -> None:
        raw = draft.raw.get("switch")
        if not isinstance(raw, list):
            return
        for position, item in enumerate(raw):
            place = (*draft.path, "switch", position)
            branch = read_part(Branch, item, place, self._tree, self._problems)
            draft.branches.append(branch)
            if branch is not None and "else_" in branch.model_fields_set and position < len(raw) - 1:
                self._report(place, "TF1105", "`else` must be the last branch")
            if isinstance(item, dict):
                self._read(item.get("steps"), (*place, "steps"), draft, position)

    def _check_ids(self) -> None:
        for draft in self.all:
            first = self.by_id[draft.id]
            place = (*draft.path, "id")
            if first is not draft:
                line = self._tree.span((*first.path, "id")).line
                self._report(place, "TF1106", f"the id '{draft.id}' is used twice; it is on line {line} already")
            elif draft.id in _RESERVED:
                self._report(place, "TF1106", f"the id '{draft.id}' is reserved", "choose another one")

    # --- needs ------------------------------------------------------------------------------------

    def _resolve_needs(self, draft: Draft) -> None:
        names = draft.raw.get("needs")
        needed: set[int] = set()
        if isinstance(names, list):
            for position, name in enumerate(names):
                if isinstance(name, str):
                    needed |= self._needed_by_name(draft, name, (*draft.path, "needs", position))
        elif draft.above is not None:
            needed |= self._with_nested(draft.above)
        if draft.parent is not None:
            needed.add(draft.parent.index)
        draft.needs = tuple(sorted(needed))
        for need in draft.needs:
            draft.before |= self.all[need].before | 1 << need

    def _needed_by_name(self, draft: Draft, name: str, place: Path) -> set[int]:
        other = self.by_id.get(name)
        if other is None:
            known = [known.id for known in self.all[: draft.index] if re.fullmatch(STEP_ID, known.id)]
            self._report(place, "TF1202", f"no step '{name}'", did_you_mean(name, known))
            return set()
        if other is draft:
            self._report(place, "TF1203", f"step '{name}' cannot need itself")
            return set()
        if other.index > draft.index:
            inside = other.is_inside(draft)
            message = f"step '{name}' is inside this switch" if inside else f"step '{name}' is written below this one"
            self._report(place, "TF1203", message, "" if inside else "a step needs steps above it; move it up")
            return set()
        return {other.index} if draft.is_inside(other) else self._with_nested(other)

    def _with_nested(self, other: Draft) -> set[int]:
        return {other.index, *(nested.index for nested in self.inside(other))} if other.branches else {other.index}

    def _report(self, path: Path, code: str, message: str, hint: str = "") -> None:
        place = self._tree.span(path)
        self._problems.append(problem_at(place, code=code, message=message, hint=hint, path=format_path(path)))
