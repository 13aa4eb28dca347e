"""A cluster of real Valkey servers on this machine: masters, replicas, and what happens to them.

    cluster = ValkeyCluster(folder, masters=3, replicas=1)
    cluster.start()                     # formed, every slot served
    world = ...redis_url=cluster.url    # redis+cluster://127.0.0.1:…,127.0.0.1:…
    owner = cluster.owner()             # the master that holds the hint stream
    owner.stop()                        # kill -9; also freeze, thaw, start, restart
    cluster.wait_for_new_owner(owner)   # a replica has taken over
    cluster.stop()

Replicas follow the master of the hint stream, since that is the one worth losing. With `replicas=0` a lost master
means CLUSTERDOWN for its slots until it is back, as a master again: it keeps its place in `nodes.conf`, and no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from taskforge.bus.streams import HINT_STREAM
from tests.support.places import free_port
from tests.support.valkey import Valkey
from tests.support.waiting import eventually_now

_SLOTS = 16384


class ValkeyCluster:
    """Starts the servers, makes them a cluster, and says who holds what."""

    def __init__(
        self,
        folder: Path,
        *,
        masters: int = 3,
        replicas: int = 0,
        node_timeout_ms: int = 1000,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        cluster = {"cluster-enabled": "yes", "cluster-node-timeout": str(node_timeout_ms)}
        self._masters = masters
        self.nodes: list[Valkey] = []
        for number in range(masters + replicas):
            home = folder / f"node-{number}"
            home.mkdir()
            bus = {"cluster-port": str(free_port())}
            self.nodes.append(Valkey(home, port=free_port(), settings=cluster | bus | dict(settings or {})))

    @property
    def url(self) -> str:
        """What TASKFORGE_REDIS_URL takes: every node."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start every server, form the cluster, and wait until each of them finds it whole."""
        for node in self.nodes:
            node.start()
        masters = self.nodes[: self._masters]
        first = masters[0]
        for number, node in enumerate(masters):
            low, high = number * _SLOTS // len(masters), (number + 1) * _SLOTS // len(masters) - 1
            ask(node, "CLUSTER", "ADDSLOTSRANGE", low, high)
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            ask(node, "CLUSTER", "MEET", "127.0.0.1", first.port, first.settings["cluster-port"])
        self.wait_until_whole()
        owner = ask(self.owner(), "CLUSTER", "MYID")
        for node in self.nodes[self._masters :]:
            eventually_now(lambda node=node: _replicate(node, owner))  # type: ignore[misc]
        eventually_now(self._replicas_are_linked, within=20)

    def stop(self) -> None:
        """Kill every server."""
        for node in self.nodes:
            node.stop()

    def owner(self, *, among: Sequence[Valkey] = ()) -> Valkey:
        """The master that holds the hint stream, as the first living node sees it, or the first of `among`."""
        slot = key_slot(HINT_STREAM.encode())
        for node in among or self.nodes:
            if not node.is_running:
                continue
            try:
                ranges = ask(node, "CLUSTER", "SLOTS")
            except (RedisError, OSError):
                continue
            ports = [entry[2][1] for entry in ranges if entry[0] <= slot <= entry[1]]
            if ports:
                return self.by_port(ports[0])
        raise AssertionError("nobody knows who holds the stream")

    def by_port(self, port: int) -> Valkey:
        """The node that listens there."""
        return next(node for node in self.nodes if node.port == port)

    def wait_for_new_owner(self, old: Valkey, *, within: float = 30.0) -> Valkey:
        """Wait until the others agree that another node holds the hint stream, and find every slot served."""
        others = [node for node in self.nodes if node is not old and node.is_running]

        def look() -> Valkey:
            owners = {self.owner(among=[node]).port for node in others}
            assert len(owners) == 1, "they do not agree"
            assert owners != {old.port}, "no failover yet"
            assert all("cluster_state:ok" in node.answer("CLUSTER INFO").decode() for node in others)
            return self.by_port(owners.pop())

        return eventually_now(look, within=within)

    def wait_until_down(self, *, within: float = 30.0) -> None:
        """Wait until every living node refuses commands, since some slots are not served."""

        def look() -> None:
            for node in self.nodes:
                if node.is_running:
                    assert "cluster_state:fail" in node.answer("CLUSTER INFO").decode()

        eventually_now(look, within=within)

    def wait_until_whole(self, *, within: float = 30.0) -> None:
        """Wait until every living node finds that every slot is served, and the replicas could take over."""

        def look() -> None:
            for node in self.nodes:
                if node.is_running:
                    answer = node.answer("CLUSTER INFO").decode()
                    assert "cluster_state:ok" in answer
                    assert f"cluster_known_nodes:{len(self.nodes)}" in answer
                    assert "master_link_status:down" not in node.answer("INFO replication").decode()

        eventually_now(look, within=within)

    def _replicas_are_linked(self) -> None:
        for node in self.nodes[self._masters :]:
            assert "master_link_status:up" in node.answer("INFO replication").decode()


@contextmanager
def valkey_cluster(folder: Path, *, masters: int = 3, replicas: int = 0) -> Iterator[ValkeyCluster]:
    """A cluster that is up, and gone afterwards."""
    cluster = ValkeyCluster(folder, masters=masters, replicas=replicas)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def ask(node: Valkey, *command: str | int) -> Any:
    """What one node answers to a command."""
    client: Any = Redis(unix_socket_path=str(node.socket), socket_timeout=5, decode_responses=True)
    try:
        return client.execute_command(*command)
    finally:
        client.close()


def _replicate(node: Valkey, master: str) -> None:
    try:
        ask(node, "CLUSTER", "REPLICATE", master)
    except RedisError as error:
        raise AssertionError(str(error)) from error  # it has not heard of the master yet
