"""Following a run from the command line, over connections that are lost without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from taskforge.v1.run_pb2 import Run
from taskforge.v1.run_service_pb2 import WatchRunRequest, WatchRunResponse
from taskforge.v1.run_service_pb2_grpc import RunServiceServicer, add_RunServiceServicer_to_server
from taskforge_cli import client, follow
from taskforge_cli.context import Server
from taskforge_cli.errors import CliError
from tests.chaos.parts.proxy import fault_proxy

RUN = "runs/01a20648-ad20-7000-8000-000000000000"
#: Much less than until news are asked for again.
_NOTICED_SECONDS = 10.0
_PATIENT = [("grpc.http2.min_recv_ping_interval_without_data_ms", 10), ("grpc.http2.max_ping_strikes", 0)]


class Watched(RunServiceServicer):
    """One run. The streams that are opened before it ends hear of its beginning, and nothing of its end."""

    def __init__(self) -> None:
        self.has_ended = threading.Event()
        self.is_silent = False  #: from the beginning
        self.streams = 0

    def WatchRun(  # noqa: N802
        self, request: WatchRunRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchRunResponse]:
        """Answer once."""
        self.streams += 1
        if self.has_ended.is_set():
            yield WatchRunResponse(run=Run(name=request.name, state=Run.STATE_SUCCEEDED))
            return
        if not self.is_silent:
            yield WatchRunResponse(run=Run(name=request.name, state=Run.STATE_RUNNING))
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait()


class Seen:
    """What a user would see. `then` is done once the run was seen."""

    def __init__(self) -> None:
        self.lost_because: list[str] = []
        self.then: Callable[[], None] = lambda: None

    def show(self, run: Run) -> None:
        """The run has changed."""
        self.then()

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self.lost_because.append(reason)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def address(watched: Watched) -> Iterator[str]:
    """Where the run can be watched."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=_PATIENT)
    add_RunServiceServicer_to_server(watched, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def connect(address: str) -> client.Client:
    """As a command does."""
    return client.Client(Server(url=f"http://{address}", token="t", context="test", origin="flag"))


def test_a_stream_that_was_lost_on_the_way_is_asked_for_again(
    watched: Watched, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_NO_NEWS_SECONDS", 0.3)
    seen = Seen()
    seen.then = watched.has_ended.set
    assert follow.follow(connect(address), RUN, seen).state == Run.STATE_SUCCEEDED
    assert seen.lost_because == []
    assert watched.streams == 2


def test_a_server_that_takes_calls_and_says_nothing_is_given_up(
    watched: Watched, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_NO_NEWS_SECONDS", 0.1)
    monkeypatch.setattr(follow, "_GIVE_UP_SECONDS", 0.5)
    watched.is_silent = True
    seen = Seen()
    with pytest.raises(CliError) as raised:
        follow.follow(connect(address), RUN, seen)
    assert raised.value.code == "CALL_TIMED_OUT"
    assert all("did not answer in time" in reason for reason in seen.lost_because)


def test_waiting_ends_in_time_however_often_it_is_asked_again(
    watched: Watched, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_NO_NEWS_SECONDS", 0.1)
    with pytest.raises(CliError) as raised:
        follow.follow(connect(address), RUN, Seen(), timeout=0.5)
    assert raised.value.code == "WAIT_TIMED_OUT"
    assert watched.streams > 2


def test_a_connection_that_has_died_without_a_word_is_left(
    watched: Watched, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_SILENCE_MS", 300)
    seen = Seen()
    with fault_proxy() as proxy:
        link = proxy.open("edge", listen="127.0.0.1:0", upstream=address)

        def vanish() -> None:
            if not watched.has_ended.is_set():
                link.strand()
                watched.has_ended.set()

        seen.then = vanish
        started = time.monotonic()
        assert follow.follow(connect(link.address), RUN, seen).state == Run.STATE_SUCCEEDED
    assert len(seen.lost_because) == 1
    assert time.monotonic() - started < _NOTICED_SECONDS
