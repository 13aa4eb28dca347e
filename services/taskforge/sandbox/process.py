"""One worker process as the pool sees it: start it, ask it, kill it, learn what it died of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import cast

from taskforge.sandbox.frames import PREFIX_BYTES, Frame, FrameError, decode_frame, frame_length
from taskforge.sandbox.requests import Kind

START_SECONDS = 20.0  #: a cold file cache and a busy machine; warm it is a tenth of a second
_STDERR_BYTES = 64 * 1024  # what a pipe holds
_OUT_OF_MEMORY = (b"cannot allocate memory", b"MemoryError", b"bad_alloc", b"out of memory")


class WorkerLostError(Exception):
    """The worker closed its channel, or broke its protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """What a worker died of."""

    out_of_memory: bool
    cause: str


class WorkerProcess:
    """A started worker. It has at most one question open; whoever loses interest in the answer has to kill it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: _Channel, stderr: int) -> None:
        self._process = process
        self._channel = channel
        self._stderr = stderr
        self._said = b""

    @classmethod
    async def start(cls, kind: Kind) -> WorkerProcess:
        """Start a worker and wait until it is confined and ready; WorkerLostError says why it is not."""
        worker = await cls._spawn(kind)
        try:
            hello = worker._channel.hello
            await asyncio.wait([hello], timeout=START_SECONDS)
            if hello.done() and not hello.exception() and hello.result().header.get("status") == "ready":
                return worker
        except BaseException:
            worker.kill()
            await worker.death()
            raise
        worker.kill()
        raise WorkerLostError(f"the worker did not start: {(await worker.death()).cause}")

    @classmethod
    async def _spawn(cls, kind: Kind) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        # Read only after death. The pipe must never block the worker: what does not fit is lost.
        read_stderr, write_stderr = os.pipe()
        os.set_blocking(read_stderr, False)
        os.set_blocking(write_stderr, False)
        channel = _Channel()
        try:
            # The process comes last: a cancellation at any await before leaves none behind.
            await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-X", "utf8", "-m", "taskforge.sandbox.worker", kind, str(os.getpid())),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=write_stderr,
                env=_environment(),
                cwd="/",
            )
        except BaseException as error:
            channel.close()
            ours.close()
            os.close(read_stderr)
            if isinstance(error, OSError):
                raise WorkerLostError(f"the worker did not start: {error}") from error
            raise
        finally:
            theirs.close()
            os.close(write_stderr)
        return cls(process, channel, read_stderr)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._channel.open and self._process.returncode is None

    def ask(self, request: bytes) -> asyncio.Future[Frame]:
        """Send an encoded request. The future fails with WorkerLostError."""
        return self._channel.ask(request)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def death(self) -> Death:
        """Wait for its end and say what it died of. Killing it is up to the caller."""
        status = await self._process.wait()
        self._read_stderr()
        return Death(
            out_of_memory=any(text in self._said for text in _OUT_OF_MEMORY),
            cause=_describe(status, self._said),
        )

    def _read_stderr(self) -> None:
        if self._stderr < 0:
            return
        with contextlib.suppress(BlockingIOError):
            self._said = os.read(self._stderr, _STDERR_BYTES)
        os.close(self._stderr)
        self._stderr = -1


class _Channel(asyncio.Protocol):
    """Frames in both directions, and one future for the answer that is due."""

    hello: asyncio.Future[Frame]  #: of the first frame, which may come before anybody looks

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._due: asyncio.Future[Frame] | None = None
        self.open = False

    def expect(self) -> asyncio.Future[Frame]:
        """The future of the next frame."""
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        if not self.open:
            future.set_exception(WorkerLostError("the worker is gone"))
        self._due = future
        return future

    def ask(self, request: bytes) -> asyncio.Future[Frame]:
        """Send a request; the future of its answer."""
        future = self.expect()
        if self._transport is not None and self.open:
            self._transport.write(request)
        return future

    def close(self) -> None:
        """Drop the connection and whoever waits for an answer."""
        self._fail(WorkerLostError("the worker was killed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True
        self.hello = self.expect()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: collect until a frame is whole."""
        self._received += data
        if len(self._received) < PREFIX_BYTES:
            return
        try:
            end = PREFIX_BYTES + frame_length(self._received)
            if len(self._received) < end:
                return
            frame = decode_frame(self._received)
        except FrameError as error:
            self._fail(WorkerLostError(str(error)))
            return
        if len(self._received) > end or self._due is None or self._due.done():
            self._fail(WorkerLostError("the worker spoke out of turn"))
            return
        self._received.clear()
        self._due.set_result(frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        self._fail(WorkerLostError("the worker closed its channel"))

    def _fail(self, error: WorkerLostError) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()
        if self._due is not None and not self._due.done():
            self._due.set_exception(error)
            self._due.exception()  # whoever waits sees it; if nobody does any more, that is no fault


def _environment() -> dict[str, str]:
    """All that a worker is told: where this process found its modules, and its time zones."""
    time_zones = {"TZDIR": os.environ["TZDIR"]} if "TZDIR" in os.environ else {}
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | time_zones


def _describe(status: int, said: bytes) -> str:
    """A death in one line: how it ended, and the last thing it said."""
    try:
        ending = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    except ValueError:
        ending = f"killed by signal {-status}"
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return f"{ending}: {lines[-1][:300]}" if lines else ending
