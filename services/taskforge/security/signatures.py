"""Webhook verification: pure functions over the raw body and headers as they came. Odd input is rejected, never raised.

Signatures are compared in their encoded form, so that exactly one spelling of a digest is right. The reasons are for
our own log: a sender gets the same answer for every one of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from taskforge.security.webhook_schemes import (
    Algorithm,
    Encoding,
    HmacScheme,
    Scheme,
    StandardScheme,
    StripeScheme,
    TokenScheme,
    UnsignedScheme,
)

#: As they came over the wire, duplicates included. Names are compared without regard to case.
Headers = Iterable[tuple[str, str | bytes]] | Mapping[str, str | bytes]

_MAX_HEADER_BYTES = 8192
_MAX_KEY_CHARS = 200
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")  # int() alone would take "1_000" and Arabic digits
_PRINTABLE = re.compile(rb"[\x21-\x7e]+")
_STANDARD_PREFIX = "whsec_"


class Reason(StrEnum):
    """Why a delivery was rejected."""

    NO_USABLE_SECRET = "no_usable_secret"  # noqa: S105 -- a reason: none is set, or it is not what the scheme needs
    MISSING_HEADER = "missing_header"
    DUPLICATE_HEADER = "duplicate_header"  # two proxies could disagree on which one counts
    HEADER_TOO_LONG = "header_too_long"
    MALFORMED = "malformed"  # a header does not look like the scheme's
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The delivery is the sender's. `secret_index` says which secret it used (None: unsigned)."""

    secret_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The delivery proves nothing."""

    reason: Reason
    header: str = ""  #: the header at fault, if one is


class _RejectedDelivery(Exception):
    def __init__(self, reason: Reason, header: str = "") -> None:
        super().__init__(reason)
        self.rejected = Rejected(reason=reason, header=header)


def verify(scheme: Scheme, headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> Verified | Rejected:
    """Check one delivery against every secret that is valid now. `now` is in Unix seconds."""
    received = _Received(headers)
    try:
        match scheme:
            case StandardScheme():
                return _verify_standard(scheme, received, body, secrets, now)
            case StripeScheme():
                return _verify_stripe(scheme, received, body, secrets, now)
            case HmacScheme():
                return _verify_hmac(scheme, received, body, secrets, now)
            case TokenScheme():
                return _verify_token(scheme, received, secrets)
            case UnsignedScheme():
                return Verified()
            case _:
                assert_never(scheme)
    except _RejectedDelivery as rejection:
        return rejection.rejected


def sign(scheme: Scheme, body: bytes, secret: str, now: float, *, message_id: str = "") -> dict[str, str]:
    """The headers that a genuine sender would send. Raises ValueError for a secret that the scheme cannot use."""
    timestamp = str(int(now))
    match scheme:
        case StandardScheme():
            key = _standard_key(secret)
            if key is None:
                raise ValueError("a standard webhook secret is whsec_ and base64")
            signed = f"{message_id}.{timestamp}.".encode() + body
            signature = "v1," + _encoded(key, signed, Algorithm.SHA256, Encoding.BASE64).decode()
            return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
        case StripeScheme():
            signed = f"{timestamp}.".encode() + body
            digest = _encoded(_key(secret), signed, Algorithm.SHA256, Encoding.HEX).decode()
            return {"stripe-signature": f"t={timestamp},v1={digest}"}
        case HmacScheme():
            signed = _hmac_content(scheme, timestamp.encode(), body)
            digest = _encoded(_key(secret), signed, scheme.algorithm, scheme.encoding).decode()
            stamped = {scheme.timestamp_header: timestamp} if scheme.timestamp_header else {}
            return {scheme.header: scheme.prefix + digest} | stamped | _delivery(scheme.delivery_header, message_id)
        case TokenScheme():
            return {scheme.header: scheme.prefix + secret} | _delivery(scheme.delivery_header, message_id)
        case UnsignedScheme():
            return {}
        case _:
            assert_never(scheme)


def dedupe_key(scheme: Scheme, headers: Headers) -> str | None:
    """The sender's own id of this delivery, or None. Only Standard Webhooks signs it.

    An id that is too long or not printable is replaced by its hash, never dropped.
    """
    match scheme:
        case StandardScheme():
            name: str | None = "webhook-id"
        case HmacScheme() | TokenScheme():
            name = scheme.delivery_header
        case _:
            name = None
    values = _Received(headers).all(name) if name else []
    if len(values) != 1 or not values[0]:
        return None
    if len(values[0]) <= _MAX_KEY_CHARS and _PRINTABLE.fullmatch(values[0]):
        return values[0].decode("ascii")
    return "sha256:" + hashlib.sha256(values[0]).hexdigest()


class _Received:
    """Headers as bytes, with the rule that one which decides may be there only once."""

    def __init__(self, headers: Headers) -> None:
        self._pairs = list(headers.items() if isinstance(headers, Mapping) else headers)

    def all(self, name: str) -> list[bytes]:
        return [_bytes(value).strip(b" \t") for key, value in self._pairs if key.lower() == name]

    def one(self, name: str) -> bytes:
        values = self.all(name)
        if not values or not values[0]:
            raise _RejectedDelivery(Reason.MISSING_HEADER, name)
        if len(values) > 1:
            raise _RejectedDelivery(Reason.DUPLICATE_HEADER, name)
        if len(values[0]) > _MAX_HEADER_BYTES:
            raise _RejectedDelivery(Reason.HEADER_TOO_LONG, name)
        return values[0]


def _verify_standard(
    scheme: StandardScheme, received: _Received, body: bytes, secrets: Sequence[str], now: float
) -> Verified:
    message_id, timestamp = received.one("webhook-id"), received.one("webhook-timestamp")
    entries = received.one("webhook-signature").split(b" ")
    _check_time(timestamp, scheme.tolerance, now, "webhook-timestamp")
    if b"." in message_id:  # `a.1` + `2` and `a` + `1` + `2…` would sign the same text; the standard forbids it too
        raise _RejectedDelivery(Reason.MALFORMED, "webhook-id")
    # Other versions (v1a) may stand beside v1; they are for receivers that know them.
    given = [value for version, _, value in (entry.partition(b",") for entry in entries) if version == b"v1"]
    if not given:
        raise _RejectedDelivery(Reason.MALFORMED, "webhook-signature")
    signed = b"%b.%b.%b" % (message_id, timestamp, body)
    keys = [_standard_key(secret) for secret in secrets]
    return _first_match(keys, given, signed, Algorithm.SHA256, Encoding.BASE64)


def _verify_stripe(
    scheme: StripeScheme, received: _Received, body: bytes, secrets: Sequence[str], now: float
) -> Verified:
    parts = [item.strip().partition(b"=") for item in received.one("stripe-signature").split(b",")]
    timestamps = [value for name, _, value in parts if name == b"t"]
    given = [value for name, _, value in parts if name == b"v1"]
    if len(timestamps) != 1 or not given:
        raise _RejectedDelivery(Reason.MALFORMED, "stripe-signature")
    _check_time(timestamps[0], scheme.tolerance, now, "stripe-signature")
    signed = b"%b.%b" % (timestamps[0], body)
    return _first_match(_keys(secrets), given, signed, Algorithm.SHA256, Encoding.HEX)


def _verify_hmac(scheme: HmacScheme, received: _Received, body: bytes, secrets: Sequence[str], now: float) -> Verified:
    prefix = scheme.prefix.encode()
    signature = received.one(scheme.header)
    if not signature.startswith(prefix):
        raise _RejectedDelivery(Reason.MALFORMED, scheme.header)
    timestamp = b""
    if scheme.timestamp_header is not None:
        timestamp = received.one(scheme.timestamp_header)
        _check_time(timestamp, scheme.tolerance, now, scheme.timestamp_header)
    signed = _hmac_content(scheme, timestamp, body)
    return _first_match(_keys(secrets), [signature[len(prefix) :]], signed, scheme.algorithm, scheme.encoding)


def _verify_token(scheme: TokenScheme, received: _Received, secrets: Sequence[str]) -> Verified:
    value, prefix = received.one(scheme.header), scheme.prefix.encode()
    if not value.lower().startswith(prefix.lower()):
        raise _RejectedDelivery(Reason.MALFORMED, scheme.header)
    # Digests have one length, so that not even the token's length shows in the time taken.
    presented = hashlib.sha256(value[len(prefix) :]).digest()
    usable = [(index, key) for index, key in enumerate(_keys(secrets)) if key is not None]
    if not usable:
        raise _RejectedDelivery(Reason.NO_USABLE_SECRET)
    equal = [index for index, key in usable if hmac.compare_digest(hashlib.sha256(key).digest(), presented)]
    if not equal:
        raise _RejectedDelivery(Reason.MISMATCH, scheme.header)
    return Verified(secret_index=equal[0])


def _first_match(
    keys: Sequence[bytes | None], given: Sequence[bytes], signed: bytes, algorithm: Algorithm, encoding: Encoding
) -> Verified:
    usable = [(index, key) for index, key in enumerate(keys) if key is not None]
    if not usable:
        raise _RejectedDelivery(Reason.NO_USABLE_SECRET)
    for index, key in usable:
        expected = _encoded(key, signed, algorithm, encoding)
        spellings = (expected, expected.upper()) if encoding is Encoding.HEX else (expected,)
        if any(hmac.compare_digest(spelling, value) for spelling in spellings for value in given):
            return Verified(secret_index=index)
    raise _RejectedDelivery(Reason.MISMATCH)


def _check_time(timestamp: bytes, tolerance: float, now: float, header: str) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise _RejectedDelivery(Reason.MALFORMED, header)
    age = now - int(timestamp)
    if age > tolerance:
        raise _RejectedDelivery(Reason.TIMESTAMP_TOO_OLD, header)
    if age < -tolerance:
        raise _RejectedDelivery(Reason.TIMESTAMP_IN_FUTURE, header)


def _hmac_content(scheme: HmacScheme, timestamp: bytes, body: bytes) -> bytes:
    if scheme.timestamp_header is None:
        return body
    return b"%b%b%b%b" % (scheme.signed_prefix.encode(), timestamp, scheme.separator.encode(), body)


def _encoded(key: bytes, signed: bytes, algorithm: Algorithm, encoding: Encoding) -> bytes:
    digest = hmac.digest(key, signed, algorithm.value)
    return binascii.hexlify(digest) if encoding is Encoding.HEX else base64.b64encode(digest)


def _standard_key(secret: str) -> bytes | None:
    try:
        key = base64.b64decode(_key(secret.strip().removeprefix(_STANDARD_PREFIX)), validate=True)
    except ValueError:
        return None
    return key or None


def _keys(secrets: Sequence[str]) -> list[bytes | None]:
    """An empty secret signs like any other, so it must never be used."""
    return [_key(secret) or None for secret in secrets]


def _key(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogatepass")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")


def _delivery(header: str | None, message_id: str) -> dict[str, str]:
    return {header: message_id} if header and message_id else {}
