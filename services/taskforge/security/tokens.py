"""API tokens: 256 random bits behind a recognisable prefix, kept as SHA-256 digests only.

A plain hash is enough because a token is random: there is no dictionary to try.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

PREFIX = "tf_"
_RANDOM_BYTES = 32
_TOKEN = re.compile(r"tf_[A-Za-z0-9_-]{43}", re.ASCII)
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{1,512})", re.ASCII | re.IGNORECASE)  # RFC 6750's b64token


def generate() -> str:
    """Make a token. It is shown to its owner once and stored nowhere."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def parse(text: str) -> str | None:
    """The token without surrounding white space, or None if it is no API token."""
    stripped = text.strip()
    return stripped if _TOKEN.fullmatch(stripped) else None


def digest(token: str) -> bytes:
    """What is stored of a token: 32 bytes. Takes any text and never raises."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def matches(token: str, stored: bytes) -> bool:
    """Whether a presented token is the one with this digest, in constant time."""
    return hmac.compare_digest(digest(token), stored)


def bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The token of the one `authorization: Bearer …` entry.

    None when it is missing, there twice, or malformed: a caller who sends two different identities has none.
    """
    found = [value for key, value in metadata if key.lower() == "authorization"]
    if len(found) != 1:
        return None
    value = found[0]
    match = _BEARER.fullmatch(value.decode("latin-1") if isinstance(value, bytes) else value)
    return match[1] if match else None
