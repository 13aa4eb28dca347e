"""What the services of a world wrote since some moment: how much, about what, and whether something blew up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.world.world import World
from tests.support.waiting import eventually

_TRACEBACK = "Traceback (most recent call last)"
_LINES_A_SECOND = 1.0
_BURST = 3.0  # lines, for what ends and begins within a short time


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a service's log."""

    process: str
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """What it says; empty if it is none of the product's own."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def event(self) -> str:
        """What has happened, in a word."""
        return str(self.fields.get("event", ""))


class Logs:
    """Every service's log from the moment when this was made."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._began = time.monotonic()
        self._starts = {name: self._size(name) for name in world.wiring.names()}

    def lines(self) -> Iterator[Line]:
        """What was written since, at the level that is the default: worlds log more."""
        for name, start in self._starts.items():
            with self._world.log(name).open("rb") as log:
                log.seek(start)
                for text in log.read().decode(errors="replace").splitlines():
                    line = Line(name, text)
                    if line.fields.get("level") != "debug":
                        yield line

    def told(self, event: str) -> Sequence[Line]:
        """Lines with this event."""
        return [line for line in self.lines() if line.event == event]

    def who_told(self, event: str) -> set[str]:
        """The processes that wrote of it."""
        return {line.process for line in self.told(event)}

    async def until_told(self, event: str, *, by: int, within: float) -> None:
        """Wait until so many processes have written of it."""

        def told() -> None:
            who = sorted(self.who_told(event))
            assert len(who) >= by, f"only {who} told of {event}"

        await eventually(told, within=within, pause=0.25)

    def lines_a_second(self) -> float:
        """The most that any process wrote, on average since then."""
        return max(self._counts().values()) / self._seconds

    def talkative(self) -> Sequence[str]:
        """The processes that wrote more than a line a second, with how much they did."""
        limit = _LINES_A_SECOND * self._seconds + _BURST
        return [
            f"{name}: {count} lines in {self._seconds:.0f} s" for name, count in self._counts().items() if count > limit
        ]

    def blew_up(self) -> Sequence[str]:
        """Lines with a traceback, or of the level error, each with who wrote it."""
        return [
            f"{line.process}: {line.text[:300]}"
            for line in self.lines()
            if _TRACEBACK in line.text or line.fields.get("level") in ("error", "critical")
        ]

    @property
    def _seconds(self) -> float:
        return max(1.0, time.monotonic() - self._began)

    def _counts(self) -> dict[str, int]:
        counts = dict.fromkeys(self._starts, 0)
        for line in self.lines():
            counts[line.process] += 1
        return counts

    def _size(self, name: str) -> int:
        log = self._world.log(name)
        return log.stat().st_size if log.exists() else 0
