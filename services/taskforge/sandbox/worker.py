"""The child process, `python -m taskforge.sandbox.worker KIND PARENT_PID`: one request at a time.

It trusts nothing it evaluates and is not trusted either: the pool kills it when it is late, and replaces it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sys
from collections.abc import Callable
from typing import Any

from taskforge.domain.json_values import JsonLimits, check_json
from taskforge.sandbox.confinement import MEMORY_BYTES, confine
from taskforge.sandbox.frames import PREFIX_BYTES, Frame, decode_frame, encode_frame, frame_length
from taskforge.sandbox.requests import Kind, ProgramError

_RETIRE_ABOVE_KIB = MEMORY_BYTES // 2 // 1024  # a heap this large may be fragmented: start afresh
_MAX_MESSAGE_CHARS = 2000
_READ_BYTES = 1024 * 1024
_Evaluate = Callable[[str, str], str]


class _Channel:
    """Blocking frames over two descriptors."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader = reader
        self._writer = writer

    def receive(self) -> Frame | None:
        """The next request, or None at the end."""
        data = bytearray()
        missing = PREFIX_BYTES
        while missing > 0:
            chunk = os.read(self._reader, min(missing, _READ_BYTES))
            if not chunk:
                return None
            data += chunk
            missing -= len(chunk)
            if missing == 0 and len(data) == PREFIX_BYTES:
                missing = frame_length(data)
        return decode_frame(data)

    def send(self, frame: Frame) -> None:
        """Write a whole frame."""
        left = memoryview(encode_frame(frame))
        while left:
            left = left[os.write(self._writer, left) :]


def answer(request: Frame, evaluate: _Evaluate) -> Frame:
    """Evaluate one request. Whatever goes wrong becomes a reply, as long as the process lives."""
    header = request.header
    try:
        text = evaluate(header["source"], request.body.decode())
        return _checked(text, header["max_output_bytes"])
    except MemoryError:
        return Frame({"status": "out_of_memory"})
    except ProgramError as error:
        return _failure("failed", str(error))
    except Exception as error:  # an engine's own fault must not look like a crash of the process
        return _failure("failed", f"{type(error).__name__}: {error}")


def _checked(text: str, max_bytes: int) -> Frame:
    """The reply for a result, checked here because here it does not hold up the service's event loop."""
    body = text.encode("utf-8", "surrogatepass")
    if len(body) > max_bytes:
        return Frame({"status": "too_large"})
    try:
        value = json.loads(text)
    except RecursionError:
        return _failure("invalid", "the result is nested too deeply")
    problems = check_json(value, JsonLimits(max_bytes=max_bytes))
    if problems is not None:
        return _failure("invalid", "; ".join(map(str, problems)))
    return Frame({"status": "ok"}, body)


def _failure(status: str, message: str) -> Frame:
    """A reply whose message can be stored, whatever the program put into it."""
    printable = message[:_MAX_MESSAGE_CHARS].replace("\0", "").encode("utf-8", "replace").decode()
    return Frame({"status": status, "message": printable})


def serve(channel: _Channel, evaluate: _Evaluate, peak: _Peak) -> None:
    """Answer requests until the parent closes the channel."""
    channel.send(Frame({"status": "ready"}))
    while (request := channel.receive()) is not None:
        reply = answer(request, evaluate)
        extra: dict[str, Any] = {"retire": peak.kib() > _RETIRE_ABOVE_KIB}
        channel.send(Frame(reply.header | extra, reply.body))


class _Peak:
    """The most memory that this program has used. Made while files can still be opened.

    `ru_maxrss` will not do where there is better: Linux hands the peak of the process that started us on through exec.
    """

    def __init__(self) -> None:
        self._status: int | None = None
        with contextlib.suppress(OSError):
            self._status = os.open("/proc/self/status", os.O_RDONLY)

    def kib(self) -> int:
        """The peak in KiB."""
        text = os.pread(self._status, 8192, 0) if self._status is not None else b""
        found = re.search(rb"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
        return int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _claim_channel() -> _Channel:
    """Move the channel away from stdin and stdout, so that no stray print can end up between frames."""
    reader, writer = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return _Channel(reader, writer)


def _load(kind: Kind) -> _Evaluate:
    """Import one language and use it once, so that nothing is left to be loaded later."""
    if kind is Kind.JQ:
        from taskforge.sandbox.jq_engine import run_jq

        run_jq(".", "null")
        return run_jq
    from taskforge.sandbox.cel_engine import run_cel

    run_cel("size(inputs) + 1", '{"inputs": {}}')
    return run_cel


def main(arguments: list[str]) -> None:
    """Start, warm up, give up every right, serve."""
    kind, parent_pid = Kind(arguments[1]), int(arguments[2])
    channel, peak = _claim_channel(), _Peak()
    evaluate = _load(kind)
    confine(parent_pid, reads_time_zones=kind is Kind.CEL)
    serve(channel, evaluate, peak)


if __name__ == "__main__":
    main(sys.argv)
