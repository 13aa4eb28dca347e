"""A primary and a standby over TCP, with fsync on, and what may become of them.

with replicated(folder, acknowledge="remote_apply") as pair:
    pair.database.url_for(…)         finds whichever of the two takes writes
    pair.cable.blackhole()           the standby no longer hears from the primary, until `heal`
    pair.fail_over()                 the primary dies for good, the standby takes over
    pair.rejoin()                    the old one comes back as a standby of the new one
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.chaos.parts.postgres_node import LOOPBACK, Node
from tests.chaos.parts.proxy import Link, Proxy, fault_proxy
from tests.support.places import clean_environment
from tests.support.postgres import Database
from tests.support.waiting import eventually_now

DATABASE = "taskforge"
_SERVICES = {"gateway", "scheduler", "ingest"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDatabase(Database):
    """The database of a pair: its connections go to whichever server takes writes."""

    hosts: str  #: `host1:port1,host2:port2`

    def url_for(self, role: str) -> str:
        """For a role, as of any database."""
        user = f"taskforge_{role}" if role in _SERVICES else role
        return f"postgresql://{user}@{self.hosts}/{self.name}?target_session_attrs=read-write"


#: What the primary waits for before it confirms a commit. `async`: for itself only.
Acknowledge = Literal["on", "remote_apply", "async"]


class Pair:
    """Two servers with the migrated database `taskforge`. `primary` and `standby` change places in a failover."""

    def __init__(self, folder: Path, acknowledge: Acknowledge, proxy: Proxy) -> None:
        self.acknowledge = acknowledge
        self._level: Acknowledge = "on" if acknowledge == "async" else acknowledge
        settings = {"synchronous_commit": self._level}
        self.primary = Node(folder, "left", settings)
        self.standby = Node(folder, "right", settings)
        self._nodes = (self.primary, self.standby)
        self._cables = {
            node: proxy.open(node.name, listen=f"{LOOPBACK}:0", upstream=node.address) for node in self._nodes
        }

    @property
    def cable(self) -> Link:
        """From the standby to the primary. After a failover nothing goes through it until `rejoin`."""
        return self._cables[self.primary]

    @property
    def hosts(self) -> str:
        """`host1:port1,host2:port2`, in an order that stays."""
        return ",".join(node.address for node in self._nodes)

    @property
    def database(self) -> PairDatabase:
        """`taskforge` on both; its `url_for` is for a service (`gateway`, `scheduler`, `ingest`) or a role."""
        return PairDatabase(name=DATABASE, folder=self.primary.folder, hosts=self.hosts)

    def start(self) -> None:
        """Make both, and wait until the standby follows."""
        self.primary.initialise()
        self.primary.start()
        migrated(self.primary)
        self.standby.copy(self.primary, through=self.cable.address)
        self.standby.start()
        if self.acknowledge == "async":
            self.wait_until_followed()
        else:
            self.be_synchronous()

    def be_synchronous(self) -> None:
        """Let the primary confirm no commit that the standby lacks."""
        self._name_synchronous(self.standby.name)
        self.acknowledge = self._level
        self.wait_until_followed()

    def be_asynchronous(self) -> None:
        """Let the primary confirm commits without asking the standby."""
        self._name_synchronous("")
        self.acknowledge = "async"

    def _name_synchronous(self, names: str) -> None:
        self.primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.sql("SELECT pg_reload_conf()")

    def wait_until_followed(self) -> None:
        """Wait until the standby streams, and counts for commits where it shall."""
        wanted = "async" if self.acknowledge == "async" else "sync"

        def followed() -> None:
            states = self.primary.sql("SELECT state || ' ' || sync_state FROM pg_stat_replication")
            assert states == [f"streaming {wanted}"], states

        eventually_now(followed, within=30)

    def fail_over(self) -> None:
        """The primary dies, and never comes back as one; the standby takes over and waits for nobody."""
        self.primary.kill()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def rejoin(self) -> None:
        """After a failover: what was the primary comes back as an asynchronous standby, over a cable that works."""
        if self.standby.is_running:
            self.standby.stop()
        self.cable.heal()
        self.standby.rewind(self.primary)
        self.standby.follow(self.primary, through=self.cable.address)
        self.standby.start()
        self.acknowledge = "async"
        self.wait_until_followed()

    def part(self) -> None:
        """The standby takes over while the primary lives on, but refuses writes from now on, as a demoted node does."""
        self.primary.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        self.primary.sql("SELECT pg_reload_conf()")
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def stop(self) -> None:
        """End both."""
        for node in self._nodes:
            node.kill()


@contextmanager
def replicated(folder: Path, acknowledge: Acknowledge = "on") -> Iterator[Pair]:
    """A pair for the time of a block. Takes some seconds to make."""
    with fault_proxy() as proxy:
        pair = Pair(folder, acknowledge, proxy)
        try:
            pair.start()
            yield pair
        finally:
            pair.stop()


def migrated(node: Node) -> None:
    """Make the database `taskforge` with the newest schema and the services' roles."""
    node.sql(f"CREATE DATABASE {DATABASE}")
    subprocess.run(
        [sys.executable, "-m", "taskforge.store.migrate"],
        env=clean_environment() | {"TASKFORGE_DATABASE_URL": node.url(DATABASE)},
        check=True,
        capture_output=True,
    )
