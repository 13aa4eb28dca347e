"""How many wrong tokens an address may show a minute before it is told to wait.

A token has 256 random bits: no number of tries finds one. What the limit is for is that a flood of wrong tokens is told
so, in the answer, in the log and in the metrics. That is why it never holds up a right token, not even one that comes
from the same address: nobody is locked out by a broken script of his own, or of a neighbour behind the same router.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from taskforge.runtime.guard import Metadata

PER_MINUTE = 20
_SECONDS = 60.0
_MAX_ADDRESSES = 4096
#: Envoy writes it on every request, over whatever the caller sent; x-forwarded-for counts as far as it trusts hops.
_EDGE_HEADER = "x-envoy-external-address"
_CUSTOMER_BITS = 64  #: of IPv6: whoever has one address has its whole network
_INSIDE = "inside"  #: calls that did not pass the edge share one allowance

log = structlog.get_logger()


@dataclass(slots=True)
class _Minute:
    began: float
    wrong: int = 0


class WrongTokens:
    """Counts wrong tokens by address. Its memory is bounded: the addresses that were quiet longest are forgotten."""

    def __init__(self, *, addresses: int = _MAX_ADDRESSES, clock: Callable[[], float] = time.monotonic) -> None:
        self._addresses = addresses
        self._clock = clock
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()

    def seconds_to_wait(self, address: str) -> float:
        """Take note of a wrong token. 0: say that it is wrong; else say to come back after so many seconds."""
        now = self._clock()
        minute = self._minutes.pop(address, None)
        if minute is None or now - minute.began >= _SECONDS:
            minute = _Minute(now)
        self._minutes[address] = minute  # at the end: it was heard of last
        if len(self._minutes) > self._addresses:
            self._minutes.popitem(last=False)
        minute.wrong += 1
        if minute.wrong <= PER_MINUTE:
            return 0.0
        if minute.wrong == PER_MINUTE + 1:
            log.warning("authentication_throttled", client=address, wrong_tokens_a_minute=PER_MINUTE)
        return minute.began + _SECONDS - now


def client_address(metadata: Metadata) -> str:
    """Who calls, as the edge saw it: an IPv4 address, or the network of an IPv6 address."""
    for name, value in metadata:
        if name == _EDGE_HEADER and isinstance(value, str):
            return _network(value)
    return _INSIDE


def _network(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _INSIDE
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((int(address), _CUSTOMER_BITS), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
