"""The outside world: a server that writes each request down for good before it answers, and answers as it is told.

What it does with a request stands in the request's query, or in a script:

    {ledger.url}/notify?ticket=7&delay=0.3                  the effect has happened, and the caller waits
    {ledger.url}/notify?ticket=7&do=rst_after_effect&attempts=1
    ledger.script(Behaviour(do=Do.STATUS, status=429, retry_after="3"), path="/notify", nth=5)
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from taskforge.invariants.rows import LedgerLine
from tests.chaos.ledger.behaviour import EVERY_PATH, Behaviour, Do
from tests.support.places import short_folder
from tests.support.servers import ServerProcess

__all__ = ["Behaviour", "Do", "Ledger", "ledger"]

_ANSWER_SECONDS = 10.0


class Ledger:
    """The server's process and its file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.jsonl"
        self._server = ServerProcess("tests.chaos.ledger", str(self._file), log=folder / "ledger.log")
        self.url = self._server.url

    def lines(self) -> list[LedgerLine]:
        """Every request that arrived so far, oldest first. A line that is being written is left out."""
        return [_parse(line) for line in self._file.read_text(encoding="utf-8").split("\n")[:-1]]

    def script(self, behaviour: Behaviour, *, path: str = EVERY_PATH, nth: int = 0, times: int = 0) -> None:
        """Behave like this from now on towards requests to a path, whatever their query says.

        Args:
            behaviour: what to do.
            path: only for requests to this path.
            nth: only for the n-th of them from now on, counted from 1.
            times: for so many of them at most.
        """
        rule = {"behaviour": behaviour.written(), "path": path, "nth": nth, "times": times}
        self._ask("POST", "/_script", rule)

    def forget(self) -> None:
        """Forget every script, and count from zero. What was written stays."""
        self._ask("DELETE", "/_script")

    def counts(self) -> Mapping[str, int]:
        """How often each behaviour was shown since the last `forget`."""
        found: dict[str, int] = json.loads(self._ask("GET", "/_counts"))
        return found

    def stop(self) -> None:
        """End the server."""
        self._server.stop()

    def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)  # noqa: S310  our own address
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            found: bytes = answer.read()
            return found


@contextmanager
def ledger() -> Iterator[Ledger]:
    """A ledger for the time of a block."""
    with short_folder() as folder:
        server = Ledger(folder)
        try:
            yield server
        finally:
            server.stop()


def _parse(line: str) -> LedgerLine:
    found = json.loads(line)
    return LedgerLine(
        at=found["at"],
        run_id=UUID(found["run"]),
        step=found["step"],
        attempt=found["attempt"],
        epoch=found["epoch"],
        token=found["token"],
        idempotency_key=found["key"],
        ticket=found["ticket"],
    )
