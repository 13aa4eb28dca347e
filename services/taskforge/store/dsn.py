"""Database URLs: which hosts one names, and whether a service can use it."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

_DEFAULT_PORT = 5432

#: A host, or the folder of a Unix socket, and a port.
Host = tuple[str, int]


class UrlInvalid(ValueError):
    """The URL cannot be used; the message says why."""


def hosts(url: str) -> tuple[Host, ...]:
    """The hosts in the order of the URL; empty when it leaves the choice to the driver.

    Raises:
        UrlInvalid: it is no URL of a PostgreSQL database that takes writes.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise UrlInvalid("must begin with postgresql://")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if options.get("target_session_attrs", "read-write") not in ("read-write", "primary"):
        raise UrlInvalid("has a target_session_attrs other than read-write, but every service writes")
    named = parts.netloc.rpartition("@")[2] or options.get("host", "")
    ports = options.get("port", "").split(",") if options.get("port") else []
    found = [_host(text) for text in named.split(",")] if named else []
    if len(ports) not in (0, 1, len(found)):
        raise UrlInvalid(f"names {len(found)} hosts but {len(ports)} ports")
    default = ports * len(found) if len(ports) == 1 else ports or [""] * len(found)
    return tuple((host, _port(port or other)) for (host, port), other in zip(found, default, strict=True))


def fault_of(url: str) -> str:
    """What is wrong with a URL, as the end of a sentence that begins with its name; empty if nothing is."""
    try:
        hosts(url)
    except ValueError as error:
        return str(error) if isinstance(error, UrlInvalid) else f"cannot be read: {error}"
    return ""


def _host(text: str) -> tuple[str, str]:
    """A host and its port, which may be empty. An IPv6 address with a port is in brackets."""
    text = unquote(text)
    if text.startswith("/"):
        return text, ""
    if text.startswith("["):
        address, _, port = text.removeprefix("[").partition("]")
        return address, port.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    if not host:
        raise UrlInvalid("names a host without a name")
    return host, port


def _port(text: str) -> int:
    if not text:
        return _DEFAULT_PORT
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise UrlInvalid(f"has the port {text!r}")
    return int(text)
