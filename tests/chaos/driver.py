"""Somebody who starts runs and does not give up: every start is repeated, under its key, until it is confirmed.

Everything that is asked, and how it ended, goes into a history: `ops`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

import aiohttp
import grpc

from taskforge.invariants.rows import Acknowledged, Action, Op, confirmed_starts
from taskforge.security.signatures import sign
from taskforge.security.webhook_schemes import StandardScheme
from taskforge.v1.run_service_pb2 import CancelRunRequest
from tests.support.api import Api, ApiError, error_of, start_request
from tests.support.waiting import eventually

#: Answers that say for certain that nothing was done, as HTTP statuses. After any other failure nobody knows.
_REFUSALS = {
    "INVALID_ARGUMENT": "400",
    "UNAUTHENTICATED": "401",
    "PERMISSION_DENIED": "403",
    "NOT_FOUND": "404",
    "ALREADY_EXISTS": "409",
    "FAILED_PRECONDITION": "412",
    "RESOURCE_EXHAUSTED": "429",
}
_SHED = "429"
_CALL_SECONDS = 5.0
_PAUSE_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook with the Standard Webhooks scheme."""

    url: str
    secret: str


class Refused(Exception):
    """A definite refusal."""


class _Asking:
    """One operation: its invocation is written down at once, its end by the first of the methods that is called."""

    def __init__(self, ops: list[Op], op: Op, errors: Counter[ApiError]) -> None:
        self._ops = ops
        self._op = op
        self._errors = errors
        ops.append(op)

    def ok(self, run_id: UUID, status: str = "200") -> UUID:
        """It was done."""
        self._ops.append(replace(self._op, kind="ok", at=time.time(), run_id=run_id, status=status))
        return run_id

    def failed(self, status: str, message: str) -> Exception:
        """It was refused. Being turned away for load is worth another try, anything else is not."""
        self._ops.append(replace(self._op, kind="fail", at=time.time(), status=status))
        return AssertionError(f"turned away: {message}") if status == _SHED else Refused(f"{status}: {message}")

    def unknown(self, message: str, status: str = "") -> AssertionError:
        """Nobody can say."""
        self._ops.append(replace(self._op, kind="unknown", at=time.time(), status=status))
        return AssertionError(f"not confirmed: {message}")

    def broken(self, error: grpc.aio.AioRpcError) -> Exception:
        """A call ended with an error."""
        told = error_of(error)
        self._errors[replace(told, violations={})] += 1
        status = _REFUSALS.get(told.code)
        # Without a reason of the product's own it is the word of somebody in between.
        if status is None or not told.reason:
            return self.unknown(f"{told.code} {told.message}")
        return self.failed(status, told.message)


class Driver:
    """Starts runs of one workflow: every second one by the API, the others by its webhook."""

    def __init__(self, api: Api, http: aiohttp.ClientSession, workflow: str, hook: Hook) -> None:
        self.ops: list[Op] = []
        self.repeated = 0  #: starts that had to be sent again
        self.errors: Counter[ApiError] = Counter()  #: what calls that failed were told
        self._api = api
        self._http = http
        self._workflow = workflow
        self._hook = hook

    @property
    def acknowledged(self) -> list[Acknowledged]:
        """The starts that were confirmed so far."""
        return confirmed_starts(self.ops)

    async def start(self, tickets: Iterable[str], *, at_once: int, pause: float = 0.0) -> None:
        """Start a run for each ticket, `at_once` of them at the same time, each after a pause in seconds."""
        ways: tuple[Callable[[int, str], Awaitable[UUID]], ...] = (self._by_api, self._by_webhook)
        waiting = enumerate(tickets)

        async def worker(process: int) -> None:
            for number, ticket in waiting:
                run_id = await self._until_confirmed(process, ticket, ways[number % 2])
                await self.read(run_id, key=ticket, process=process)
                await asyncio.sleep(pause)

        await asyncio.gather(*(worker(process) for process in range(at_once)))

    async def read(self, run_id: UUID, *, key: str, process: int) -> None:
        """Ask for a run, once. Whether it must be there is the checker's business."""
        asking = self._ask("read", process, key, run_id)
        try:
            await self._api.run(f"runs/{run_id}")
        except grpc.aio.AioRpcError as error:
            asking.broken(error)
        else:
            asking.ok(run_id)

    async def cancel(self, run_id: UUID, *, key: str, process: int) -> bool:
        """Ask for a run to be stopped, once; says whether that was confirmed."""
        asking = self._ask("cancel", process, key, run_id)
        try:
            await self._api.call(self._api.runs.CancelRun, CancelRunRequest(name=f"runs/{run_id}"))
        except grpc.aio.AioRpcError as error:
            asking.broken(error)
            return False
        asking.ok(run_id)
        return True

    async def hang_up(self, ticket: str, *, process: int, after: float, politely: bool) -> None:
        """Ask for a start by the API and leave after so many seconds; then ask again until it is confirmed.

        `politely`: by a deadline that the product is told, else by a cancellation.
        """
        asking = self._ask("start", process, ticket)
        request = start_request(self._workflow, {"ticket": ticket}, request_id=ticket)
        timeout = after if politely else _CALL_SECONDS
        call = self._api.runs.StartRun(request, metadata=self._api.metadata, timeout=timeout)
        if not politely:
            asyncio.get_running_loop().call_later(after, call.cancel)
        try:
            run = await call
        except grpc.aio.AioRpcError as error:
            asking.broken(error)
        except asyncio.CancelledError:
            asking.unknown("cancelled")
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        else:
            asking.ok(UUID(run.name.removeprefix("runs/")))
        await self._until_confirmed(process, ticket, self._by_api)

    async def _until_confirmed(self, process: int, ticket: str, way: Callable[[int, str], Awaitable[UUID]]) -> UUID:
        tries = 0

        async def confirmed() -> UUID:
            nonlocal tries
            tries += 1
            return await way(process, ticket)

        run_id: UUID = await eventually(confirmed, within=_PATIENCE_SECONDS, pause=_PAUSE_SECONDS)
        self.repeated += tries - 1
        return run_id

    async def _by_api(self, process: int, ticket: str) -> UUID:
        asking = self._ask("start", process, ticket)
        try:
            run = await self._api.start(self._workflow, request_id=ticket, ticket=ticket)
        except grpc.aio.AioRpcError as error:
            raise asking.broken(error) from error
        return asking.ok(UUID(run.name.removeprefix("runs/")))

    async def _by_webhook(self, process: int, ticket: str) -> UUID:
        body = json.dumps({"ticket": ticket}).encode()
        headers = sign(StandardScheme(), body, self._hook.secret, time.time(), message_id=ticket)
        headers["content-type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        asking = self._ask("deliver", process, ticket)
        try:
            async with self._http.post(self._hook.url, data=body, headers=headers, timeout=timeout) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise asking.unknown(repr(error)) from error
        status = str(answer.status)
        if answer.status >= 500:
            raise asking.unknown(f"{status} {text}", status)
        if answer.status != 200:
            raise asking.failed(status, text)
        return asking.ok(UUID(json.loads(text)["run"].removeprefix("runs/")))

    def _ask(self, action: Action, process: int, key: str, run_id: UUID | None = None) -> _Asking:
        op = Op(process=process, kind="invoke", action=action, key=key, at=time.time(), run_id=run_id)
        return _Asking(self.ops, op, self.errors)
