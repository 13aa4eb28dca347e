"""How webhook senders prove who they are: the schemes, and the presets of well-known senders."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

DEFAULT_TOLERANCE = 300.0  #: seconds a timestamp may be off, either way; what the reference libraries use
_MAX_TOLERANCE = 86_400.0
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)  # an RFC 9110 token, in lower case


class Algorithm(StrEnum):
    """Hash functions of an HMAC. SHA-1 is left out: every sender that still offers it offers a better one."""

    SHA256 = "sha256"
    SHA512 = "sha512"


class Encoding(StrEnum):
    """How a digest is written into a header."""

    HEX = "hex"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardScheme:
    """Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature` over `id.timestamp.body`."""

    tolerance: float = DEFAULT_TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeScheme:
    """`Stripe-Signature: t=…,v1=…` over `t.body`; several v1 are there while a secret is rolled."""

    tolerance: float = DEFAULT_TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class HmacScheme:
    """One header holds `prefix + encoding(HMAC(secret, body))`.

    With a `timestamp_header` the signed content is `signed_prefix + timestamp + separator + body`.
    """

    header: str
    algorithm: Algorithm = Algorithm.SHA256
    encoding: Encoding = Encoding.HEX
    prefix: str = ""
    timestamp_header: str | None = None
    tolerance: float = DEFAULT_TOLERANCE
    signed_prefix: str = ""
    separator: str = "."
    delivery_header: str | None = None  #: the sender's delivery id, the default dedupe key; it is not signed


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScheme:
    """The secret itself is in a header. It proves the sender but not the body."""

    header: str = "authorization"
    prefix: str = "Bearer "  #: compared without regard to case
    delivery_header: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedScheme:
    """Nothing is verified; the definition has to say so."""


Scheme = StandardScheme | StripeScheme | HmacScheme | TokenScheme | UnsignedScheme

PRESETS: Mapping[str, Scheme] = {
    "standard": StandardScheme(),
    "github": HmacScheme(header="x-hub-signature-256", prefix="sha256=", delivery_header="x-github-delivery"),
    "gitea": HmacScheme(header="x-gitea-signature", delivery_header="x-gitea-delivery"),
    "gitlab": TokenScheme(header="x-gitlab-token", prefix="", delivery_header="x-gitlab-event-uuid"),
    "stripe": StripeScheme(),
    "slack": HmacScheme(
        header="x-slack-signature",
        prefix="v0=",
        timestamp_header="x-slack-request-timestamp",
        signed_prefix="v0:",
        separator=":",
    ),
    "shopify": HmacScheme(
        header="x-shopify-hmac-sha256", encoding=Encoding.BASE64, delivery_header="x-shopify-webhook-id"
    ),
    "token": TokenScheme(),
    "none": UnsignedScheme(),
}
_CONFIGURABLE: Mapping[str, frozenset[str]] = {
    "hmac": frozenset(field.name for field in fields(HmacScheme)),
    "token": frozenset({"header", "prefix", "delivery_header"}),
    "standard": frozenset({"tolerance"}),
    "stripe": frozenset({"tolerance"}),
    "slack": frozenset({"tolerance"}),
}


class SchemeError(Exception):
    """A scheme is unknown or its options are wrong; `faults` lists all of them."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def scheme_named(name: str, options: Mapping[str, Any] | None = None) -> Scheme:
    """Build the scheme that a trigger's `verify` names. `tolerance` is in seconds; header names in any case."""
    if name != "hmac" and name not in PRESETS:
        raise SchemeError([f"unknown scheme {name!r}; known: {', '.join(sorted([*PRESETS, 'hmac']))}"])
    options = dict(options or {})
    allowed = _CONFIGURABLE.get(name, frozenset())
    faults = [f"scheme {name} has no option {option!r}" for option in options if option not in allowed]
    if name == "hmac" and "header" not in options:
        faults.append("scheme hmac needs the header that holds the signature")
    given = {option: _checked(option, value, faults) for option, value in options.items() if option in allowed}
    if faults:
        raise SchemeError(faults)
    if name == "hmac":
        return HmacScheme(**given)
    if name == "token" and given.get("header", "authorization") != "authorization":
        given.setdefault("prefix", "")
    return replace(PRESETS[name], **given)


def _checked(option: str, value: Any, faults: list[str]) -> Any:
    try:
        match option:
            case "algorithm":
                return Algorithm(value)
            case "encoding":
                return Encoding(value)
            case "tolerance":
                return _seconds(value)
            case "header" | "timestamp_header" | "delivery_header":
                return _header(value)
            case _:
                return _text(value)
    except (ValueError, TypeError) as error:
        faults.append(f"{option}: {error}")
        return None


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number of seconds")
    if not math.isfinite(value) or not 1 <= value <= _MAX_TOLERANCE:
        raise ValueError(f"must be between 1 and {_MAX_TOLERANCE:.0f} seconds")
    return float(value)


def _header(value: Any) -> str:
    lowered = _text(value).lower()
    if not _HEADER_NAME.fullmatch(lowered):
        raise ValueError("not a header name")
    return lowered


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 128 or not value.isascii():
        raise ValueError("must be ASCII text of at most 128 characters")
    return value
