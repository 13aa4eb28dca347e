"""The worker's own parts: frames whole or broken, engines that misbehave, messages that can be stored."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys

import pytest

from taskforge.sandbox.frames import Frame, FrameError, decode_frame, encode_frame
from taskforge.sandbox.process import WorkerLostError, _Channel
from taskforge.sandbox.worker import answer


def ask(engine: object, **header: object) -> Frame:
    fields = {"source": "x", "max_output_bytes": 100} | header
    assert callable(engine)
    return answer(Frame(fields, b"null"), engine)


def failing(error: BaseException) -> object:
    def engine(source: str, text: str) -> str:
        raise error

    return engine


def test_a_frame_survives_its_trip() -> None:
    frame = Frame({"kind": "jq", "source": "é\n\ud800"}, b'{"a": 1}')
    assert decode_frame(encode_frame(frame)) == frame


@pytest.mark.parametrize(
    "data", [b"\0\0\0\2\0\0\0\0[]", b"\0\0\0\1\0\0\0\0{", b"\0\0\0\0\0\0\0\0", b"\0\0\0\2\0\0\0\0\xff\xff"]
)
def test_a_broken_header_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data)


def test_frames_arrive_whole_however_they_are_cut() -> None:
    async def main() -> None:
        cuts = random.Random(3)
        for size in (0, 1, 1000, 100_000):
            channel = _Channel()
            channel.open = True
            data = encode_frame(Frame({"status": "ok"}, b"x" * size))
            expected = channel.expect()
            position = 0
            while position < len(data):
                step = cuts.randint(1, max(1, len(data) // 7))
                channel.data_received(data[position : position + step])
                position += step
            assert expected.result() == Frame({"status": "ok"}, b"x" * size)

    asyncio.run(main())


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 8,
        b"\0\0\0\1\0\0\0\0{",
        encode_frame(Frame({"status": "ok"})) * 2,
        encode_frame(Frame({"status": "ok"})) + b"\0",
    ],
)
def test_a_worker_that_breaks_the_protocol_is_lost(data: bytes) -> None:
    async def main() -> None:
        channel = _Channel()
        channel.open = True
        expected = channel.expect()
        channel.data_received(data)
        assert isinstance(expected.exception(), WorkerLostError)
        assert not channel.open

    asyncio.run(main())


def test_an_answer_that_nobody_waits_for_ends_the_worker() -> None:
    channel = _Channel()
    channel.open = True
    channel.data_received(encode_frame(Frame({"status": "ok"})))
    assert not channel.open


def test_a_hello_that_comes_before_anybody_looks_is_kept() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            channel = _Channel()
            await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
            theirs.sendall(encode_frame(Frame({"status": "ready"})))
            assert (await channel.hello).header == {"status": "ready"}
            channel.close()

    asyncio.run(main())


def test_a_fault_of_an_engine_is_an_answer() -> None:
    assert ask(failing(ZeroDivisionError("x"))).header == {"status": "failed", "message": "ZeroDivisionError: x"}
    assert ask(failing(MemoryError())).header == {"status": "out_of_memory"}
    assert ask(failing(RecursionError("deep"))).header["status"] == "failed"


def test_messages_can_be_stored_whatever_they_hold() -> None:
    message = ask(failing(ValueError("\0\ud800" + "x" * 10_000))).header["message"]
    assert message.encode().startswith(b"ValueError: ?x")
    assert len(message) < 2001


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("1", "ok"),
        ("[" * 5000 + "]" * 5000, "too_large"),
        ('"' + "a" * 98 + '"', "ok"),
        ('"' + "a" * 99 + '"', "too_large"),
        ("NaN", "invalid"),
        ('"\\ud800"', "invalid"),
        ("nonsense", "failed"),
    ],
)
def test_results_are_checked_in_the_worker(text: str, status: str) -> None:
    assert ask(lambda source, body: text).header["status"] == status


def test_a_result_too_deep_to_parse_is_invalid() -> None:
    assert ask(lambda source, body: "[" * 50_000 + "]" * 50_000, max_output_bytes=10**6).header["status"] == "invalid"


def test_a_worker_without_its_parent_ends_at_once() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "taskforge.sandbox.worker", "jq", "1" if os.getpid() != 1 else "2"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, b"")


def test_stray_output_does_not_get_between_the_frames() -> None:
    program = (
        "import os, sys\n"
        "from taskforge.sandbox import worker\n"
        "def engine(source, text):\n"
        "    print('stray'); os.write(1, b'stray'); return '1'\n"
        "channel = worker._claim_channel()\n"
        "worker.serve(channel, engine, worker._Peak())\n"
    )
    request = encode_frame(Frame({"source": "", "max_output_bytes": 10}, b"null"))
    result = subprocess.run([sys.executable, "-c", program], input=request, capture_output=True, timeout=60, check=True)
    hello = encode_frame(Frame({"status": "ready"}))
    assert result.stdout.startswith(hello)
    reply = decode_frame(result.stdout[len(hello) :])
    assert (reply.header["status"], json.loads(reply.body)) == ("ok", 1)
    assert b"stray" in result.stderr
