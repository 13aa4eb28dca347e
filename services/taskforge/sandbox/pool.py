"""Where everything in this process that has to be evaluated safely goes: a few killable workers for each language."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import NoReturn, Self, assert_never

from taskforge.domain.json_values import JsonLimits, encode_checked
from taskforge.sandbox.confinement import MEMORY_BYTES
from taskforge.sandbox.frames import Frame, encode_frame
from taskforge.sandbox.group import WorkerGroup
from taskforge.sandbox.requests import (
    MAX_INPUT_BYTES,
    MAX_SOURCE_CHARS,
    CelRequest,
    EvaluationFailed,
    EvaluationOutOfMemory,
    InputRefused,
    JqRequest,
    Kind,
    Ok,
    OutputInvalid,
    OutputTooLarge,
    Request,
    Result,
)

_MAX_WAITING = 1024
_INPUT_LIMITS = JsonLimits(max_bytes=MAX_INPUT_BYTES)


class SandboxPool:
    """Evaluates requests in worker processes, up to `size` of them for jq and as many for CEL.

    The two are apart because a jq worker starts in half the time with a third of the memory, and may open no file at
    all. One event loop owns the pool; nothing is started before the first request.
    """

    def __init__(self, *, size: int = 2, max_waiting: int = _MAX_WAITING) -> None:
        self._groups = {kind: WorkerGroup(kind, size=size, max_waiting=max_waiting) for kind in Kind}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def worker_pids(self) -> frozenset[int]:
        """The processes that are up: for metrics and tests."""
        return frozenset().union(*(group.pids for group in self._groups.values()))

    async def evaluate(self, request: Request, timeout: float) -> Result:
        """Evaluate one request within `timeout` seconds, counted from when a worker takes it up.

        Safe to cancel. Raises SandboxClosedError and nothing else.
        """
        message = _encode_request(request)
        if isinstance(message, InputRefused):
            return message
        answer = await self._groups[request.kind].ask(message, timeout)
        return _interpret(answer, request.max_output_bytes) if isinstance(answer, Frame) else answer

    async def close(self) -> None:
        """Kill every worker and wait until none is left. Evaluations under way end with SandboxClosedError."""
        await asyncio.gather(*(group.close() for group in self._groups.values()))


def _encode_request(request: Request) -> bytes | InputRefused:
    match request:
        case JqRequest():
            source, value = request.program, request.input
        case CelRequest():
            source, value = request.expression, dict(request.context)
        case _:
            assert_never(request)
    if len(source) > MAX_SOURCE_CHARS:
        return InputRefused(message=f"the program is longer than {MAX_SOURCE_CHARS} characters")
    body = encode_checked(value, _INPUT_LIMITS)
    if not isinstance(body, bytes):
        return InputRefused(message="the input cannot be passed on: " + "; ".join(map(str, body)))
    return encode_frame(Frame({"source": source, "max_output_bytes": request.max_output_bytes}, body))


def _interpret(reply: Frame, max_output_bytes: int) -> Result:
    """The worker has checked its result already; it is parsed strictly all the same."""
    message = str(reply.header.get("message", ""))
    match reply.header.get("status"):
        case "ok" if len(reply.body) <= max_output_bytes:
            try:
                return Ok(value=json.loads(reply.body, parse_constant=_refuse_constant))
            except (ValueError, RecursionError):
                return OutputInvalid(message="the worker's answer is not JSON")
        case "ok" | "too_large":
            return OutputTooLarge(limit_bytes=max_output_bytes)
        case "invalid":
            return OutputInvalid(message=f"the result cannot be stored: {message}")
        case "out_of_memory":
            return EvaluationOutOfMemory(limit_bytes=MEMORY_BYTES)
        case _:
            return EvaluationFailed(message=message)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
