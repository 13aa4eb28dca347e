"""A fault proxy between two addresses: TCP (`host:port`) or Unix sockets (`unix:/path` or `/path`).

    with fault_proxy() as proxy:
        link = proxy.open("scheduler-postgres", listen="unix:/tmp/x/.s.PGSQL.5432", upstream="unix:…", postgres=True)
        link.blackhole()
        …
        link.heal()

It runs in a process of its own: its timing does not depend on how busy the test's event loop is. The controls block for
a round trip over a Unix socket (0.1 ms, some milliseconds on a busy machine) and have taken effect when they return.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.chaos.parts.pg_wire import Mishap
from tests.support.places import ROOT, clean_environment, short_folder
from tests.support.processes import Process

Direction = Literal["both", "to_server", "to_client"]
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened on a link since it was opened."""

    connections: int  #: that are open now
    connects: int  #: that were ever accepted, refused ones included
    busiest_second: int  #: the most connects within one second
    refused: int
    connections_cut: int
    unreachable: int  #: the server was not there
    bytes_to_server: int
    bytes_to_client: int
    commits: int  #: COMMITs that were seen; this and the rest with `postgres=True` only
    lost_replies: int  #: committed, and nobody was told
    lost_commits: int  #: sent by the client, never seen by the server
    failed_commits: int  #: answered with an error and rolled back
    controls: Mapping[str, int]  #: how often each control was used


class Link:
    """The controls of one link. They may be combined, and changed at any moment."""

    def __init__(self, proxy: Proxy, name: str) -> None:
        self.name = name
        self.address = ""  #: where it listens, in the form in which it was asked for
        self._proxy = proxy

    def latency(self, seconds: float, *, jitter: float = 0.0, direction: Direction = "both") -> None:
        """Delay whatever passes, one way or each way, by `seconds` ± `jitter`. Order and throughput stay."""
        self._do("latency", seconds=seconds, jitter=jitter, direction=direction)

    def bandwidth(self, bytes_per_second: float) -> None:
        """Let no more than this pass each way, all connections together."""
        self._do("bandwidth", bytes_per_second=bytes_per_second)

    def cut(self) -> None:
        """Break all connections now, with RST on TCP. New ones are welcome."""
        self._do("cut")

    def cut_after(self, size: int) -> None:
        """Break all connections once so many more bytes have passed, both ways together: in the middle of a message."""
        self._do("cut_after", size=size)

    def refuse(self) -> None:
        """Break all connections now and every new one at once, as a host that rejects."""
        self._do("refuse")

    def blackhole(self, direction: Direction = "both") -> None:
        """Keep connections and forward nothing, not even their end; new ones are accepted and silent, as with DROP.

        What is held is delivered after `heal`, as TCP would, unless its sender has left.
        """
        self._do("blackhole", direction=direction)

    def strand(self) -> None:
        """Half-open: connections of now are silent for ever, as when the other machine has vanished; new ones are fine.

        `heal` breaks them.
        """
        self._do("strand")

    def heal(self) -> None:
        """End every fault of this link. Counts stay."""
        self._do("heal")

    def lose_commit_replies(self, chance: float = 1.0, *, times: int | None = None) -> None:
        """PostgreSQL: forward COMMIT, withhold the answer and break the connection. `times` is the most it is done."""
        self._do("mishap", kind=Mishap.LOST_REPLY, chance=chance, times=times, sqlstates=[])

    def lose_commits(self, chance: float = 1.0, *, times: int | None = None) -> None:
        """PostgreSQL: break the connection instead of forwarding COMMIT. The client cannot tell it from the other."""
        self._do("mishap", kind=Mishap.LOST_COMMIT, chance=chance, times=times, sqlstates=[])

    def fail_commits(self, chance: float = 1.0, *, times: int | None = None, sqlstates: Sequence[str] = ()) -> None:
        """PostgreSQL: roll back instead and answer one of these errors: 40001, 40P01, 57014, 55P03 unless told."""
        self._do("mishap", kind=Mishap.FAILURE, chance=chance, times=times, sqlstates=list(sqlstates))

    def forget_peak(self) -> None:
        """Let `busiest_second` begin anew."""
        self._do("forget_peak")

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return self.report().connections

    @property
    def connects(self) -> int:
        """How many connections were ever accepted."""
        return self.report().connects

    def report(self) -> Report:
        """What happened so far."""
        found = self._do("report")
        counts, commits = dict(found["counts"]), found["commits"]
        return Report(
            connections=found["connections"],
            connects=counts.pop("connects", 0),
            busiest_second=counts.pop("busiest second", 0),
            refused=counts.pop("refused", 0),
            connections_cut=counts.pop("connections cut", 0),
            unreachable=counts.pop("unreachable", 0),
            bytes_to_server=counts.pop("bytes to_server", 0),
            bytes_to_client=counts.pop("bytes to_client", 0),
            commits=commits.get("commit", 0),
            lost_replies=commits.get(Mishap.LOST_REPLY, 0),
            lost_commits=commits.get(Mishap.LOST_COMMIT, 0),
            failed_commits=commits.get(Mishap.FAILURE, 0),
            controls=counts,
        )

    def _do(self, what: str, **values: Any) -> Any:
        return self._proxy.ask(what, self.name, values)


class Proxy:
    """The proxy's process. Its links are opened one by one."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        path = folder / f"proxy-{secrets.token_hex(4)}.sock"
        self._process = Process(
            [sys.executable, "-m", "tests.chaos.parts.proxy_server", str(path)],
            log=folder / "proxy.log",
            env=clean_environment() | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "services")))},
        )
        self._control = socket.socket(socket.AF_UNIX)
        self._control.settimeout(_ANSWER_SECONDS)
        self._answers = self._control.makefile("rb")
        try:
            self._process.ready_when(lambda: self._connects(path))
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def open(self, name: str, *, listen: str, upstream: str, postgres: bool = False, seed: int = 0) -> Link:
        """Begin to forward from one address to another. The upstream need not be there yet.

        `postgres` follows the protocol, which mishaps of COMMIT need; encryption is refused then. `seed` is that of
        jitter and of those mishaps. With `host:0` the link's `address` says which port was free.
        """
        link = Link(self, name)
        link.address = self.ask(
            "open", name, {"listen": listen, "upstream": upstream, "postgres": postgres, "seed": seed}
        )
        return link

    def ask(self, what: str, link: str, values: Mapping[str, Any]) -> Any:
        """Turn a control and wait until that has taken effect."""
        with self._lock:
            self._control.sendall(json.dumps({"do": what, "link": link, "with": values}).encode() + b"\n")
            line = self._answers.readline()
        if not line:
            raise RuntimeError(f"the fault proxy has ended:\n{self._process.output()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def stop(self) -> None:
        """End the process; every connection breaks."""
        self._answers.close()
        self._control.close()
        self._process.kill()

    def _connects(self, path: Path) -> bool:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            self._control.connect(str(path))
            return True
        return False


@contextmanager
def fault_proxy() -> Iterator[Proxy]:
    """A proxy for the time of a block."""
    with short_folder() as folder:
        proxy = Proxy(folder)
        try:
            yield proxy
        finally:
            proxy.stop()
