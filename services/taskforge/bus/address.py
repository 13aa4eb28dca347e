"""What TASKFORGE_REDIS_URL may say, and the servers that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

NO_REDIS = "none"  #: the URL that says: work without Redis

#: What a fault of the configuration tells to write. The URL itself may hold a password and is never repeated.
BUS_URLS = "redis://host:port, redis+cluster://host:port,host:port, unix:///path.sock or none"

_SINGLE = ("redis", "rediss", "unix")
_CLUSTER = ("redis+cluster", "rediss+cluster")
_CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The servers of a URL, and how to write the URL of another one of theirs."""

    urls: tuple[str, ...]
    scheme: str
    login: str  #: `user:password@`, or empty
    rest: str  #: path and query

    @classmethod
    def parse(cls, url: str) -> Servers:
        """Read a URL. Raises ValueError if it is none of Redis."""
        full_scheme, _, address = url.partition("://")
        scheme = full_scheme.removesuffix("+cluster")
        # Not by urlsplit alone: newer ones refuse several hosts of which one is in brackets.
        places = re.split("[/?#]", address, maxsplit=1)[0]
        rest = address.removeprefix(places)
        path = urlsplit(rest).path
        login, at, hosts = places.rpartition("@")
        if full_scheme in _SINGLE and (path if scheme == "unix" else hosts):
            urls: tuple[str, ...] = (url,)
        elif full_scheme in _CLUSTER and all(hosts.split(",")) and path.strip("/") in ("", "0"):
            urls = tuple(f"{scheme}://{login}{at}{host}{rest}" for host in hosts.split(","))
        else:
            raise ValueError("no URL of Redis")
        if scheme == "unix":
            return cls(urls=urls, scheme="redis", login=login + at, rest="")
        return cls(urls=urls, scheme=scheme, login=login + at, rest=rest)

    def url_of(self, host: str, port: int) -> str:
        """The URL of another server of the same cluster."""
        name = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{self.login}{name}:{port}{self.rest}"


def open_client(url: str) -> Redis:
    """A client of one server that never retries, nor ends to wait for an answer: whoever uses it knows better when to.

    Were it told how long to wait, it would make a task of its own for each thing that it sends.
    """
    return Redis.from_url(
        url,
        protocol=2,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )


def is_bus_url(value: str) -> bool:
    """Whether it is `redis[s]://…`, `redis[s]+cluster://…`, `unix:///path` or `none`, with options that exist."""
    if value == NO_REDIS:
        return True
    try:
        for url in Servers.parse(value).urls:
            pool = open_client(url).connection_pool
            pool.connection_class(**pool.connection_kwargs)  # an object that knows its options and connects to nothing
    except (ValueError, TypeError):
        return False
    return True
