"""The token that services show each other."""

from __future__ import annotations

import hmac

from taskforge.domain.errors import Unauthenticated
from taskforge.runtime.guard import Authenticator, Metadata


def internal_authenticator(token: str) -> Authenticator:
    """Accept calls that carry exactly one `authorization` header with the internal token."""
    expected = f"Bearer {token}".encode()

    def authenticate(method: str, metadata: Metadata) -> str:
        given = [value for key, value in metadata if key == "authorization"]
        if len(given) != 1 or not hmac.compare_digest(_as_bytes(given[0]), expected):
            raise Unauthenticated("TOKEN_INVALID", f"{method} needs the internal token")
        return "internal"

    return authenticate


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "replace")
