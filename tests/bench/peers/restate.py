"""Restate: its server as it ships, with handlers in Node."""

from __future__ import annotations

import json
import platform
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.bench import http1
from tests.bench.peers.measure import Ended
from tests.bench.peers.packages import Missing, from_npm
from tests.bench.systems import Member
from tests.support.places import clean_environment, free_port, short_folder
from tests.support.processes import Process

_VERSION, _SDK_VERSION = "1.7.12", "1.17.2"
_NODE_VERSION = "24.21.0"  #: the SDK needs 22 or newer, which many machines do not have
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}
_HANDLERS = Path(__file__).with_name("restate.mjs")
_READY = "listening on "
#: What has ended is kept for a day, as the server is shipped.
_ENDED = """
SELECT count(*) AS succeeded, max(completed_at) AS last_end FROM sys_invocation
WHERE target_handler_name = '{handler}' AND status = 'completed' AND completion_result = 'success'
"""


@contextmanager
def running(target: str) -> Iterator[Restate]:
    """Restate with its handlers, for the time of a block; what it has stored is removed at the end."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if platform.system() != "Linux" or architecture is None:
        raise Missing(f"it is pinned for Linux on {' and '.join(_ARCHITECTURES)}")
    node = f"node-linux-{architecture}"
    packages = ["restate-server@" + _VERSION, f"restate-server-linux-{architecture}@{_VERSION}"]
    packages = [f"@restatedev/{name}" for name in (*packages, f"restate-sdk@{_SDK_VERSION}")]
    modules = from_npm("restate", [*packages, f"{node}@{_NODE_VERSION}"]) / "node_modules"
    with short_folder() as folder, ExitStack() as stack:
        # A module finds what it imports from where it is.
        (folder / "node_modules").symlink_to(modules)
        handlers = folder / _HANDLERS.name
        handlers.write_bytes(_HANDLERS.read_bytes())
        node_process = Process(
            [str(modules / node / "bin" / "node"), str(handlers)],
            log=folder / "node.log",
            env=clean_environment() | {"TARGET": target, "NODE_ENV": "production", "RESTATE_LOGGING": "WARN"},
        )
        stack.callback(node_process.kill)
        node_process.ready_when(lambda: _READY in node_process.output())
        ports = Ports()
        program = modules / "@restatedev" / f"restate-server-linux-{architecture}" / "bin" / "restate-server"
        server = Process([str(program)], log=folder / "server.log", env=clean_environment() | ports.settings(folder))
        stack.callback(server.kill)
        restate = Restate(server, node_process, ports)
        server.ready_when(restate.is_ready)
        restate.register(f"http://127.0.0.1:{int(node_process.output().rpartition(_READY)[2])}")
        yield restate


class Ports:
    """Where the server listens, on the loopback interface alone."""

    def __init__(self) -> None:
        self.ingress, self.admin, self._fabric = free_port(), free_port(), free_port()

    def settings(self, folder: Path) -> dict[str, str]:
        """The server's only settings: where it is, and that it tells nobody."""
        return {
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{self._fabric}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{self.ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{self.admin}",
            "RESTATE_BASE_DIR": str(folder / "data"),
            "RESTATE_DISABLE_TELEMETRY": "true",
        }


class Restate:
    """A server and the process of its handlers."""

    version = _VERSION

    def __init__(self, server: Process, node: Process, ports: Ports) -> None:
        self._server, self._node = server, node
        self._admin = f"http://127.0.0.1:{ports.admin}"
        self.url = f"http://127.0.0.1:{ports.ingress}"

    def is_ready(self) -> bool:
        """Whether its door is open, and its store: that answers when every partition has a leader."""
        try:
            urllib.request.urlopen(f"{self.url}/restate/health").close()  # noqa: S310  our own address
            self._row("none")
        except urllib.error.URLError:
            return False
        return True

    def register(self, handlers: str) -> None:
        """Tell the server where the handlers are."""
        self._ask("deployments", {"uri": handlers})

    def start(self, workload: str) -> bytes:
        """A run without input; the answer comes when its invocation is in the log."""
        return http1.request("POST", f"{self.url}/bench/{workload}/send", {})

    async def ended(self, workload: str) -> Ended:
        """What the server's own tables say."""
        row = self._row(workload)
        last_end = datetime.fromisoformat(row["last_end"]).timestamp() if row["succeeded"] else 0.0
        return Ended(succeeded=row["succeeded"], last_end=last_end)

    def members(self) -> Sequence[Member]:
        """The server and Node."""
        return [Member("restate-server", self._server.pid), Member("node", self._node.pid)]

    def _row(self, handler: str) -> Any:
        return self._ask("query", {"query": _ENDED.format(handler=handler)})["rows"][0]

    def _ask(self, path: str, question: Mapping[str, str]) -> Any:
        headers = {"content-type": "application/json", "accept": "application/json"}
        request = urllib.request.Request(f"{self._admin}/{path}", json.dumps(question).encode(), headers)  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310  our own address
            return json.load(answer)
