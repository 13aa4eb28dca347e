"""Shots: files named `<point>@<service or any>.<id>.json`, each good for one process, once."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from taskforge.failpoints.folder import FIRED
from taskforge.failpoints.points import Point

ANY = "any"  #: in a shot's name: whichever service comes first

log = structlog.get_logger()


class Action(StrEnum):
    """What a shot does to whoever reaches its point."""

    KILL = "kill"  #: SIGKILL to the process
    HANG = "hang"  #: the task waits, the process goes on
    FREEZE = "freeze"  #: the event loop stands still
    RAISE = "raise"  #: an error, the driver's own where a driver is involved


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One shot. `chance` is for each time that the point is reached; `seconds` is for hang and freeze."""

    point: Point
    action: Action
    seconds: float
    chance: float


class Range:
    """The shots that one process may meet."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self._service = service
        self._known: dict[str, Shot | None] = {}  #: by name; None: not to be understood

    def claim(self, point: Point) -> Shot | None:
        """Take a shot at this point, if one is left and the dice fall so: they are thrown once, for all shots here."""
        dice = random.random()  # noqa: S311 -- a fault's dice
        for name in self._names(point):
            shot = self._read(point, name)
            if shot is not None and dice < shot.chance and self._take(name, point):
                log.warning("failpoint_fired", point=point.value, action=shot.action.value, shot=name)
                return shot
        return None

    def _names(self, point: Point) -> list[str]:
        wanted = (f"{point}@{self._service}.", f"{point}@{ANY}.")
        try:
            with os.scandir(self._folder) as entries:
                return sorted(entry.name for entry in entries if entry.name.startswith(wanted))
        except OSError:
            return []  # no file may be opened just now: whoever plays faults makes none of its own

    def _read(self, point: Point, name: str) -> Shot | None:
        if name in self._known:
            return self._known[name]
        shot = None
        try:
            shot = parse_shot(point, (self._folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None  # somebody else was faster
        except (OSError, ValueError) as error:
            log.error("failpoint_shot_ignored", shot=name, error=str(error))
        self._known[name] = shot
        return shot

    def _take(self, name: str, point: Point) -> bool:
        """Claim by rename: of all who try, one succeeds. The new name says who, and when."""
        shot_id = name.split(".")[1]
        fired = f"{point}@{self._service}.{shot_id}.{os.getpid()}.{time.time_ns()}.json"
        try:
            (self._folder / name).rename(self._folder / FIRED / fired)
        except FileNotFoundError:
            return False
        return True


def parse_shot(point: Point, text: str) -> Shot:
    """Read a shot's content. Raises ValueError with what is wrong."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("a shot is a JSON object")
    shot = Shot(
        point=point,
        action=Action(document.get("action", "")),
        seconds=_number(document, "seconds", 0.0),
        chance=_number(document, "chance", 1.0),
    )
    if shot.action in (Action.HANG, Action.FREEZE) and shot.seconds <= 0:
        raise ValueError(f"{shot.action} needs seconds")
    return shot


def _number(document: dict[str, object], name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    return float(value)
