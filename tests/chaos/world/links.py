"""The connections of a world that run through a fault proxy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.chaos.parts.proxy import Direction, Link, Proxy, Report, fault_proxy


class Cables:
    """One link of the world: as many proxied addresses as it has servers, all treated alike."""

    def __init__(self) -> None:
        self.cables: list[Link] = []

    def latency(self, seconds: float, *, jitter: float = 0.0, direction: Direction = "both") -> None:
        """Delay whatever passes."""
        self._all(lambda cable: cable.latency(seconds, jitter=jitter, direction=direction))

    def bandwidth(self, bytes_per_second: float) -> None:
        """Let no more than this pass each way."""
        self._all(lambda cable: cable.bandwidth(bytes_per_second))

    def cut(self) -> None:
        """Break every connection; new ones are welcome."""
        self._all(Link.cut)

    def refuse(self) -> None:
        """Break every connection, now and later."""
        self._all(Link.refuse)

    def blackhole(self, direction: Direction = "both") -> None:
        """Keep connections and forward nothing."""
        self._all(lambda cable: cable.blackhole(direction))

    def cut_after(self, size: int) -> None:
        """Break every connection to a server when so many more bytes have passed: in the middle of a message."""
        self._all(lambda cable: cable.cut_after(size))

    def strand(self) -> None:
        """Let the connections of now be silent for ever, as when the other machine has vanished; new ones are fine."""
        self._all(Link.strand)

    def lose_commit_replies(self, chance: float, *, times: int | None = None) -> None:
        """Forward COMMIT to PostgreSQL, withhold the answer and break the connection."""
        self._all(lambda cable: cable.lose_commit_replies(chance, times=times))

    def lose_commits(self, chance: float, *, times: int | None = None) -> None:
        """Break the connection instead of forwarding COMMIT: a client cannot tell it from a lost reply."""
        self._all(lambda cable: cable.lose_commits(chance, times=times))

    def fail_commits(self, chance: float, *, times: int | None = None) -> None:
        """Answer COMMIT with an error after which it may be sent again."""
        self._all(lambda cable: cable.fail_commits(chance, times=times))

    def forget_peak(self) -> None:
        """Begin anew to look for the busiest second."""
        self._all(Link.forget_peak)

    def heal(self) -> None:
        """End every fault."""
        self._all(Link.heal)

    def reports(self) -> list[Report]:
        """What happened, one report a server."""
        return [cable.report() for cable in self.cables]

    def _all(self, act: Callable[[Link], Any]) -> None:
        for cable in self.cables:
            act(cable)


class Links:
    """Hands out the addresses of proxies for the links that were asked for."""

    def __init__(self, folder: Path, names: tuple[str, ...], *, seed: int = 0) -> None:
        self._folder = folder
        self._seed = seed
        self._addresses: dict[tuple[str, str], str] = {}  # (link, server's address) → the proxy's address
        self._links = {name: Cables() for name in names}
        self._running = ExitStack()
        self._proxy: Proxy | None = None

    def __getitem__(self, link: str) -> Cables:
        return self._links[link]

    def via(self, link: str, upstream: str) -> str:
        """Where the client of a link connects: the server itself, or its proxy. Addresses are `unix:/path`."""
        if link not in self._links:
            return upstream
        key = (link, upstream)
        if key not in self._addresses:
            self._addresses[key] = self._open(link, upstream)
        return self._addresses[key]

    def close(self) -> None:
        """Cut everything."""
        self._running.close()

    def heal(self) -> None:
        """End every fault of every link."""
        for link in self._links.values():
            link.heal()

    def _open(self, link: str, upstream: str) -> str:
        if self._proxy is None:
            self._proxy = self._running.enter_context(fault_proxy())
        # The last part of the path stays: PostgreSQL's clients know a server by the name of its socket.
        folder = self._folder / f"link-{len(self._addresses)}"
        folder.mkdir(mode=0o700)
        listen = f"unix:{folder / Path(upstream).name}"
        postgres = link.endswith("-postgres")
        name = f"{link} {len(self._addresses)}"
        cable = self._proxy.open(name, listen=listen, upstream=upstream, postgres=postgres, seed=self._seed)
        self._links[link].cables.append(cable)
        return cable.address
