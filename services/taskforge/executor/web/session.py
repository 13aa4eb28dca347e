"""The one HTTP session of the process."""

from __future__ import annotations

import aiohttp

from taskforge.executor.web.connection import Connector
from taskforge.executor.web.egress import EgressPolicy

CONNECT_SECONDS = 10.0  #: until a connection is given up as never made, which is always safe to repeat

# Servers close idle connections after two seconds and more. A request on a connection that is being closed is lost
# without anybody knowing whether it was seen, so idle ones are not kept for longer than the quickest server does.
_KEEP_SECONDS = 1.5


def open_session(policy: EgressPolicy) -> aiohttp.ClientSession:
    """A session that keeps connections, forgets cookies, ignores proxy variables and decodes nothing by itself."""
    connector = Connector(
        limit=0,  # the executor's slots are the limit
        keepalive_timeout=_KEEP_SECONDS,
        ttl_dns_cache=10,
        socket_factory=policy.make_socket,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),  # the step's own deadline is total
        auto_decompress=False,
        trust_env=False,
    )
    # By itself it would send GET, PUT and DELETE again when a connection breaks: a second effect in one attempt, of
    # which the retry policy and `at_most_once` know nothing. There is no public way to say so.
    session._retry_connection = False
    return session
