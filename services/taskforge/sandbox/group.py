"""Killable workers of one kind, and the queue before them.

Workers start when they are first needed. One that is late, dies or grows too large is replaced at once, so that the
next evaluation finds a warm one. A worker answers one question at a time, and nobody gets a worker whose last answer
was not taken: replies cannot be mixed up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from typing import Any, cast

import structlog

from taskforge.sandbox.confinement import MEMORY_BYTES
from taskforge.sandbox.frames import Frame
from taskforge.sandbox.process import WorkerLostError, WorkerProcess
from taskforge.sandbox.requests import (
    EvaluationOutOfMemory,
    EvaluationTimedOut,
    Kind,
    SandboxBusy,
    SandboxClosedError,
    SandboxFailed,
)

_ATTEMPTS = 2  # an evaluation has no effect, so it may be repeated after a death that it did not cause

log = structlog.get_logger()

Failure = EvaluationTimedOut | EvaluationOutOfMemory | SandboxBusy | SandboxFailed


class WorkerGroup:
    """Asks workers of one kind. One event loop owns it."""

    def __init__(self, kind: Kind, *, size: int, max_waiting: int) -> None:
        self._kind = kind
        self._size = size
        self._max_waiting = max_waiting
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._waiters: deque[asyncio.Future[WorkerProcess | SandboxFailed]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._reaping: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are up."""
        return frozenset(worker.pid for worker in self._workers if worker.alive)

    async def ask(self, message: bytes, timeout: float) -> Frame | Failure:
        """Have one encoded request answered. Raises SandboxClosedError."""
        for _ in range(_ATTEMPTS):
            answer = await self._attempt(message, timeout)
            if answer is not None:
                return answer
        return SandboxFailed()

    async def close(self) -> None:
        """Kill every worker and wait until none is left."""
        self._closed = True
        for task in self._starting:
            task.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(SandboxClosedError)
        for worker in list(self._workers):
            self._replace(worker)
        while pending := self._starting | self._reaping:
            await asyncio.wait(pending)

    async def _attempt(self, message: bytes, timeout: float) -> Frame | Failure | None:
        """One try; None if the worker died without a known cause."""
        worker = await self._acquire()
        if not isinstance(worker, WorkerProcess):
            return worker
        reusable = False
        reply = worker.ask(message)
        timer = asyncio.get_running_loop().call_later(timeout, _expire, reply)
        try:
            frame = await reply
            reusable = not frame.header.get("retire", True)
            return frame
        except TimeoutError:
            return EvaluationTimedOut(seconds=timeout)
        except WorkerLostError:
            return await self._autopsy(worker)
        finally:
            timer.cancel()
            if reusable:
                self._hand_on(worker)
            else:
                self._replace(worker)

    async def _autopsy(self, worker: WorkerProcess) -> EvaluationOutOfMemory | None:
        """Why a worker closed its channel. It may linger after that, so it is killed first."""
        if self._closed:
            raise SandboxClosedError
        worker.kill()
        death = await worker.death()
        log.warning("sandbox_worker_died", kind=self._kind, pid=worker.pid, cause=death.cause)
        return EvaluationOutOfMemory(limit_bytes=MEMORY_BYTES) if death.out_of_memory else None

    async def _acquire(self) -> WorkerProcess | SandboxBusy | SandboxFailed:
        if self._closed:
            raise SandboxClosedError
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            self._replace(worker)  # it died in its sleep
        if len(self._waiters) >= self._max_waiting:
            return SandboxBusy(waiting=len(self._waiters))
        waiter: asyncio.Future[WorkerProcess | SandboxFailed] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._grow()
        try:
            return await waiter
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            # The worker may have been handed over in the very moment of the cancellation.
            if not waiter.cancelled() and waiter.exception() is None and isinstance(waiter.result(), WorkerProcess):
                self._hand_on(cast("WorkerProcess", waiter.result()))
            raise

    def _hand_on(self, worker: WorkerProcess) -> None:
        """Give a free worker to whoever waits longest, or let it rest."""
        if self._closed or not worker.alive:
            self._replace(worker)
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._idle.append(worker)

    def _grow(self) -> None:
        """Start as many workers as there are callers waiting, within the size."""
        wanted = min(len(self._waiters), self._size - len(self._workers))
        for _ in range(wanted - len(self._starting)):
            self._spawn(self._start(), self._starting)

    def _replace(self, worker: WorkerProcess) -> None:
        """Kill a worker and start its successor, before anybody asks for it."""
        if worker not in self._workers:
            return
        self._workers.discard(worker)
        worker.kill()
        self._spawn(self._reap(worker), self._reaping)
        if not self._closed and len(self._workers) + len(self._starting) < self._size:
            self._spawn(self._start(), self._starting)

    async def _start(self) -> None:
        try:
            worker = await WorkerProcess.start(self._kind)
        except WorkerLostError as error:
            log.error("sandbox_worker_start_failed", kind=self._kind, error=str(error))
            self._no_longer_starting()
            self._give_up(SandboxFailed(message=str(error)))
        else:
            self._no_longer_starting()
            self._workers.add(worker)
            self._hand_on(worker)

    def _no_longer_starting(self) -> None:
        """Counted at once, not by the task's callback: two starts that fail together must not wait for each other."""
        self._starting.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _give_up(self, failure: SandboxFailed) -> None:
        """No worker will come for those who wait, unless others are at work or on their way."""
        if self._workers or self._starting:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(failure)

    @staticmethod
    async def _reap(worker: WorkerProcess) -> None:
        await worker.death()

    @staticmethod
    def _spawn(work: Coroutine[Any, Any, None], into: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        into.add(task)
        task.add_done_callback(into.discard)


def _expire(reply: asyncio.Future[Frame]) -> None:
    if not reply.done():
        reply.set_exception(TimeoutError)
