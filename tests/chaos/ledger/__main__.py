"""The ledger's process: `python -m tests.chaos.ledger FILE`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

from aiohttp import web

from tests.chaos.ledger.answers import ANSWERS, reset
from tests.chaos.ledger.behaviour import Behaviour, Call, Do, Rule, decide
from tests.chaos.ledger.journal import Journal
from tests.support.servers import serve


class _Server:
    """Writes requests down and answers as it is told."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._rules: list[Rule] = []
        self._counts: Counter[str] = Counter()

    def application(self) -> web.Application:
        """Its routes."""
        application = web.Application()
        application.router.add_post("/_script", self._add_rule)
        application.router.add_delete("/_script", self._forget_rules)
        application.router.add_get("/_counts", self._tell_counts)
        application.router.add_route("*", "/{rest:.*}", self._serve)
        return application

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            call = _read(request)
            behaviour = decide(self._rules, request.query, call)
        except (KeyError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{type(error).__name__}: {error}") from error
        self._counts[behaviour.do] += 1
        if behaviour.do is Do.RST_BEFORE:
            return reset(request)
        await self._journal.write(_line(request, call))
        await asyncio.sleep(behaviour.delay)
        return await ANSWERS[behaviour.do](request, behaviour, call)

    async def _add_rule(self, request: web.Request) -> web.Response:
        asked = await request.json()
        try:
            behaviour = Behaviour.read(asked.pop("behaviour"))
            self._rules.append(Rule(behaviour=behaviour, **asked))
        except (KeyError, ValueError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"{type(error).__name__}: {error}") from error
        return web.Response(status=204)

    async def _forget_rules(self, _: web.Request) -> web.Response:
        self._rules.clear()
        self._counts.clear()
        return web.Response(status=204)

    async def _tell_counts(self, _: web.Request) -> web.Response:
        return web.json_response(self._counts)


def _read(request: web.Request) -> Call:
    attempt, epoch, _ = _numbers(request)
    return Call(
        path=request.path,
        ticket=request.query.get("ticket", ""),
        step=request.headers["TaskForge-Step"],
        epoch=epoch,
        attempt=attempt,
    )


def _numbers(request: web.Request) -> tuple[int, int, int]:
    attempt, epoch, token = (int(part.rpartition("=")[2]) for part in request.headers["TaskForge-Attempt"].split(";"))
    return attempt, epoch, token


def _line(request: web.Request, call: Call) -> dict[str, object]:
    _, _, token = _numbers(request)
    return {
        "at": time.time(),
        "run": request.headers["TaskForge-Run"],
        "step": call.step,
        "attempt": call.attempt,
        "epoch": call.epoch,
        "token": token,
        "key": request.headers.get("Idempotency-Key", ""),
        "ticket": call.ticket,
    }


def main(file: Path) -> None:
    """Serve for ever."""
    with file.open("ab") as opened:
        serve(_Server(Journal(opened)).application())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
