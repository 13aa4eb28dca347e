"""Experiments by their number in the fault catalogue. To add one, decorate a coroutine in `experiments/`:

@experiment("F04", "An executor is killed at each of its kill points", threshold="no violation", seconds=25)
async def executor_dies(lab: Lab) -> None: ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.lab import Lab

Body = Callable[["Lab"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One fault, done to a running product."""

    id: str
    title: str
    threshold: str  #: what must hold, in words
    seconds: float  #: how long it takes at scale 0.1, about: the runner plans with it
    body: Body
    needs_root: bool = False
    in_subset: bool = True  #: whether the random subset may choose it: not what takes long, or is judged by time

    @property
    def number(self) -> int:
        """For sorting."""
        return int(self.id[1:])


_FOUND: dict[str, Experiment] = {}


def experiment(
    identity: str, title: str, *, threshold: str, seconds: float, needs_root: bool = False, in_subset: bool = True
) -> Callable[[Body], Body]:
    """Register a coroutine as an experiment."""

    def register(body: Body) -> Body:
        if identity in _FOUND:
            raise ValueError(f"there are two experiments {identity}")
        _FOUND[identity] = Experiment(
            id=identity,
            title=title,
            threshold=threshold,
            seconds=seconds,
            body=body,
            needs_root=needs_root,
            in_subset=in_subset,
        )
        return body

    return register


def experiments() -> dict[str, Experiment]:
    """Every experiment by its id, in the catalogue's order."""
    package = importlib.import_module("tests.chaos.experiments")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_FOUND.items(), key=lambda item: item[1].number))
