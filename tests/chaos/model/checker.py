"""Searches every state that a model can reach, breadth first: the first violation found has the shortest trace."""

from __future__ import annotations

import time
from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
Label = tuple[object, ...]


class Move(NamedTuple, Generic[State]):
    """One thing that can happen next."""

    label: Label
    after: State
    is_fair: bool = True  #: happens sooner or later if it stays possible; a fault need never happen
    wrong: str | None = None  #: the property that this very move breaks


class Model(Protocol[State]):
    """What can be searched."""

    def start(self) -> State:
        """The state before anything happened."""

    def moves(self, state: State) -> Iterable[Move[State]]:
        """Everything that can happen next."""

    def canonical(self, state: State) -> State:
        """One state for all those that differ only in names."""

    def is_end(self, state: State) -> bool:
        """Whether what was wanted has come about."""

    def tell(self, label: Label, before: State, after: State) -> str:
        """A move in words, for traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What is wrong, and the shortest way there."""

    message: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{number:3}. {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join([self.message, *lines])


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a search saw."""

    states: int = 0
    moves: int = 0
    depth: int = 0
    seconds: float = 0.0
    is_complete: bool = True  #: False: the search was cut off by its limit
    violation: Violation | None = None

    def __str__(self) -> str:
        extent = "all" if self.is_complete else "the first"
        size = f"{extent} {self.states:,} states, {self.moves:,} moves, depth {self.depth}, {self.seconds:.1f} s"
        return f"{size}\n{self.violation or 'no violation'}"


def check(model: Model[State], *, limit: int = 50_000_000) -> Outcome:
    """Search all states; stop at the first violation. A state from which no end can be reached is one, too."""
    return _Search(model, limit).run()


@dataclass(slots=True)
class _Search(Generic[State]):
    model: Model[State]
    limit: int
    numbers: dict[State, int] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    parents: array[int] = field(default_factory=lambda: array("l"))
    depths: array[int] = field(default_factory=lambda: array("l"))
    sources: array[int] = field(default_factory=lambda: array("l"))  # of fair moves; `targets` has their other ends
    targets: array[int] = field(default_factory=lambda: array("l"))
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        began = time.perf_counter()
        self.outcome.violation = self._walk()
        if self.outcome.violation is None and self.outcome.is_complete:
            self.outcome.violation = self._find_stuck()
        self.outcome.states = len(self.states)
        self.outcome.depth = self.depths[-1]
        self.outcome.seconds = time.perf_counter() - began
        return self.outcome

    def _walk(self) -> Violation | None:
        moves, canonical = self.model.moves, self.model.canonical
        self._number(canonical(self.model.start()), parent=-1)
        place = 0
        while place < len(self.states):
            for move in moves(self.states[place]):
                self.outcome.moves += 1
                if move.wrong is not None:
                    return self._violation(move.wrong, place, move)
                after = canonical(move.after)
                number = self.numbers.get(after)
                if number is None:
                    number = self._number(after, parent=place)
                if move.is_fair:
                    self.sources.append(place)
                    self.targets.append(number)
            place += 1
            if len(self.states) > self.limit:
                self.outcome.is_complete = False
                return None
        return None

    def _number(self, state: State, *, parent: int) -> int:
        number = len(self.states)
        self.numbers[state] = number
        self.states.append(state)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)
        return number

    def _find_stuck(self) -> Violation | None:
        """Go backwards along fair moves from every end; what is not met can never end by itself."""
        before: list[list[int]] = [[] for _ in self.states]
        for source, target in zip(self.sources, self.targets, strict=True):
            before[target].append(source)
        ends = [number for number, state in enumerate(self.states) if self.model.is_end(state)]
        met = bytearray(len(self.states))
        while ends:
            number = ends.pop()
            if not met[number]:
                met[number] = 1
                ends.extend(before[number])
        stuck = met.find(0)
        return None if stuck < 0 else self._violation("Liveness: no end can be reached any more", stuck, None)

    def _violation(self, message: str, place: int, last: Move[State] | None) -> Violation:
        return Violation(message=message, trace=tuple(self._trace(place, last)))

    def _trace(self, place: int, last: Move[State] | None) -> Iterable[str]:
        """Play the way to a state again, without renaming anything, so that a name means the same all along."""
        way = []
        while place >= 0:
            way.append(self.states[place])
            place = self.parents[place]
        state = self.model.start()
        for wanted in reversed(way[:-1]):
            label, after = next(
                (move.label, move.after)
                for move in self.model.moves(state)
                if self.model.canonical(move.after) == wanted
            )
            yield self.model.tell(label, state, after)
            state = after
        if last is not None:
            label, after = next((m.label, m.after) for m in self.model.moves(state) if m.wrong is not None)
            yield self.model.tell(label, state, after)
