"""DBOS: a library in a process of its own, with the project's PostgreSQL in its default durability."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.bench import http1
from tests.bench.peers.measure import Ended
from tests.bench.peers.packages import from_pypi
from tests.bench.systems import Member
from tests.support.places import ROOT, clean_environment, short_folder
from tests.support.postgres import DURABLE, Database, PostgresCluster
from tests.support.processes import Process

_VERSION = "3.4.0"
_SERVICE = Path(__file__).with_name("dbos_service.py")
_READY = "listening on "
_ENDED = """
SELECT count(*) AS succeeded, coalesce(max(completed_at), 0) / 1000.0::float8 AS last_end
FROM dbos.workflow_status WHERE name = $1 AND status = 'SUCCESS'
"""


@contextmanager
def running(target: str) -> Iterator[Dbos]:
    """DBOS behind a small HTTP server, for the time of a block; what it has stored is removed at the end."""
    python = from_pypi("dbos", [f"dbos=={_VERSION}"]) / "bin" / "python"
    path = os.pathsep.join(map(str, (ROOT, ROOT / "services")))
    with short_folder() as folder, ExitStack() as stack:
        cluster = PostgresCluster(folder, DURABLE)
        cluster.start()
        stack.callback(cluster.stop)
        database = Database(name="dbos", folder=cluster.folder)
        service = Process(
            [str(python), "-P", str(_SERVICE)],  # the folder of this module, too, has a dbos
            log=folder / "service.log",
            env=clean_environment() | {"PYTHONPATH": path, "TARGET": target, "DATABASE": database.url},
        )
        stack.callback(service.kill)
        service.ready_when(lambda: _READY in service.output())
        yield Dbos(service, database, cluster.process.pid)


class Dbos:
    """The process of its handlers, and its database."""

    version = _VERSION

    def __init__(self, service: Process, database: Database, postmaster: int) -> None:
        self._service, self._database, self._postmaster = service, database, postmaster
        self.url = f"http://127.0.0.1:{int(service.output().rpartition(_READY)[2])}"

    def start(self, workload: str) -> bytes:
        """A run without input; the answer comes when its row is committed."""
        return http1.request("POST", f"{self.url}/{workload}", {})

    async def ended(self, workload: str) -> Ended:
        """What its own table says."""
        async with self._database.connect() as connection:
            row = await connection.fetchrow(_ENDED, workload)
        return Ended(succeeded=row["succeeded"], last_end=row["last_end"])

    def members(self) -> Sequence[Member]:
        """Python, and PostgreSQL with its backends."""
        backends = [process.pid for process in psutil.Process(self._postmaster).children()]
        servers = [Member("postgres", pid) for pid in (self._postmaster, *backends)]
        return [Member("python", self._service.pid), *servers]
