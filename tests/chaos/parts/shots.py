"""Arms the services' failpoints, and reads what fired."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from taskforge.failpoints import FIRED, Action, Point
from taskforge.failpoints.shots import ANY, Shot, parse_shot


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A shot that hit somebody."""

    point: Point
    action: Action
    service: str  #: who reached the point
    pid: int
    at: datetime
    seconds: float


class Shots:
    """The folder that TASKFORGE_TEST_FAILPOINTS names; it is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / FIRED).mkdir(mode=0o700, exist_ok=True)

    def arm(
        self,
        point: Point | str,
        action: Action | str = Action.KILL,
        service: str = ANY,
        times: int = 1,
        chance: float = 1.0,
        seconds: float = 0.0,
    ) -> None:
        """Lay out shots, each of which fires once. `chance` is for each time that somebody comes by."""
        content = json.dumps({"action": str(action), "seconds": seconds, "chance": chance})
        parse_shot(Point(point), content)  # what the services would ignore is a mistake of the test
        for _ in range(times):
            shot_id = secrets.token_hex(8)
            draft = self.folder / f".{shot_id}"
            draft.write_text(content, encoding="utf-8")
            draft.rename(self.folder / f"{Point(point)}@{service}.{shot_id}.json")

    def fired(self) -> list[Fired]:
        """What has fired so far, oldest first."""
        return sorted((_fired(path) for path in (self.folder / FIRED).iterdir()), key=lambda fired: fired.at)

    def left(self) -> int:
        """How many shots wait."""
        return len(self._waiting())

    def disarm(self) -> None:
        """Take back what has not fired."""
        for path in self._waiting():
            path.unlink(missing_ok=True)

    def _waiting(self) -> list[Path]:
        return list(self.folder.glob("*.json"))


def _fired(path: Path) -> Fired:
    who, _, pid, at, _ = path.name.split(".")
    point, _, service = who.partition("@")
    shot: Shot = parse_shot(Point(point), path.read_text(encoding="utf-8"))
    return Fired(
        point=shot.point,
        action=shot.action,
        service=service,
        pid=int(pid),
        at=datetime.fromtimestamp(int(at) / 1e9, tz=UTC),
        seconds=shot.seconds,
    )
