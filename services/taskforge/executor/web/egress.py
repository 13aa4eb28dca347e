"""Which addresses http steps may reach. Every address is checked when it is connected to, so no name can lie about it.

Private and loopback addresses are allowed, because what a self-hosted workflow calls usually lives there. Link-local
addresses, which hide the cloud's metadata services, and addresses that are nobody's are not. Operators add allow and
deny lists; the most specific rule wins, and between equals the one that denies.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DENIED = {
    "0.0.0.0/8": "it means this host",
    "169.254.0.0/16": "link-local: cloud metadata lives there",
    "100.100.100.200/32": "a cloud's metadata service",
    "168.63.129.16/32": "a cloud's metadata service",
    "192.0.0.192/32": "a cloud's metadata service",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "it means this host",
    "fe80::/10": "link-local",
    "fd00:ec2::/32": "a cloud's metadata service",
    "fd20:ce::254/128": "a cloud's metadata service",
    "ff00::/8": "multicast",
    "64:ff9b:1::/48": "a translated address whose target cannot be known",
    "2001::/32": "a tunnel whose target cannot be known",
}
_EVERYTHING = ("0.0.0.0/0", "::/0")

# IPv6 networks whose addresses stand for an IPv4 address, and how far it is from the right end.
_EMBEDDING = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
    (ipaddress.IPv6Network("::/96"), 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    network: Network
    allowed: bool
    reason: str


class EgressPolicy:
    """The built-in rules and the operator's."""

    def __init__(self, *, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        rules = [_Rule(network=ipaddress.ip_network(text), allowed=True, reason="") for text in _EVERYTHING]
        rules += [
            _Rule(network=ipaddress.ip_network(text), allowed=False, reason=reason) for text, reason in _DENIED.items()
        ]
        rules += [_Rule(network=network, allowed=True, reason="") for network in allow]
        rules += [_Rule(network=network, allowed=False, reason=f"the operator denies {network}") for network in deny]
        self._rules = sorted(rules, key=lambda rule: (-rule.network.prefixlen, rule.allowed))

    def refusal(self, text: str) -> str | None:
        """Why an IP address must not be connected to, or None."""
        address = ipaddress.ip_address(text.partition("%")[0])
        target = _embedded(address)
        for rule in self._rules:
            if rule.network.version == target.version and target in rule.network:
                if rule.allowed:
                    return None
                shown = f"{address}" if target == address else f"{address}, which leads to {target},"
                return f"the egress policy refuses {shown} ({rule.reason})"
        return f"the egress policy refuses {address}"  # unreachable while the first two rules cover everything

    def make_socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """A socket for a resolved address that is about to be connected to: aiohttp's `socket_factory`.

        EPERM is what a local firewall would answer as well. It survives when several refused addresses of one name are
        reported as one error.
        """
        family, kind, protocol, _, address = addr_info
        reason = self.refusal(address[0])
        if reason is not None:
            raise OSError(errno.EPERM, reason)
        return socket.socket(family=family, type=kind, proto=protocol)


def _embedded(address: Address) -> Address:
    """The IPv4 address that packets to this address end up at, if it is one of those; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address) or int(address) < 2:  # :: and ::1 are themselves
        return address
    for network, shift in _EMBEDDING:
        if address in network:
            return ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    return address
