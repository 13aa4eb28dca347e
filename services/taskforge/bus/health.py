"""Whether hints flow, told in the log without flooding it; and whether Redis may throw them away."""

from __future__ import annotations

import time

import structlog
from prometheus_client import Gauge
from redis.exceptions import ResponseError

from taskforge.bus.link import Link

AVAILABLE = Gauge("taskforge_hints_available", "Whether hints get through: 1 or 0.")
MAY_EVICT = Gauge("taskforge_redis_may_evict", "Whether Redis may throw hints away to make room: 1 or 0.")

_QUIET_SECONDS = 1.0  # between two lines of the log
_LOOK_SECONDS = 5.0  # a server that was replaced is noticed by nothing else: a client reconnects without a word
_TELL_SECONDS = 60.0

log = structlog.get_logger()


class Health:
    """The outcome of the last command. Changes are logged, at most one a second, however fast they come and go."""

    def __init__(self) -> None:
        self.ok: bool | None = None  #: None: nothing has been tried yet
        self._told: bool | None = None
        self._told_at = float("-inf")

    def good(self) -> None:
        """A command got through."""
        self.ok = True
        self._tell(None)

    def bad(self, error: BaseException) -> None:
        """A command did not."""
        self.ok = False
        self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        AVAILABLE.set(error is None)
        now = time.monotonic()
        if self.ok is self._told or now - self._told_at < _QUIET_SECONDS:
            return
        self._told, self._told_at = self.ok, now
        if error is None:
            log.info("hints_available")
        else:
            log.warning("hints_unavailable", error=f"{type(error).__name__}: {error}")


class EvictionWatch:
    """Looks now and then whether the server may evict the stream, which it must not.

    Only `allkeys-*` with a limit of memory can: the stream never expires, so `volatile-*` leaves it alone. A process
    neither refuses to start because of it nor stops: Redis buys latency and must not decide over anything else, it may
    be away when we start, and its owner may change the policy at any time after. Instead the stream counts as
    unhealthy, so that executors poll every second and an evicted hint costs no more than that, while those that
    arrive are still used; and the log says so every minute. INFO is asked, since servers of others forbid CONFIG.
    Where INFO is forbidden too, nothing is known, and nothing is said.
    """

    def __init__(self, link: Link) -> None:
        self.may_evict = False
        self._link = link
        self._looked_at = self._told_at = float("-inf")
        self._told = ""  # the policy

    def look_again(self) -> None:
        """The server may be another one now."""
        self._looked_at = float("-inf")

    async def look(self) -> None:
        """Look, if it is time to. Raises BUS_FAILURES, but no refusal."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        try:
            memory = await self._link.run(("INFO", "memory"))
        except ResponseError:
            memory = {}  # forbidden
        self._looked_at = now
        policy = str(memory.get("maxmemory_policy", ""))
        self.may_evict = policy.startswith("allkeys-") and memory.get("maxmemory") != 0
        MAY_EVICT.set(self.may_evict)
        if self.may_evict and (policy != self._told or now - self._told_at >= _TELL_SECONDS):
            self._told_at = now
            log.warning("redis_may_evict_hints", policy=policy, wanted="maxmemory-policy noeviction")
        self._told = policy if self.may_evict else ""
