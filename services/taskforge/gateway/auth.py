"""Who calls: bearer tokens against the table of tokens, which is kept in memory and read again every few seconds."""

from __future__ import annotations

from collections.abc import Mapping

from taskforge.domain.errors import ResourceExhausted, TaskforgeError, Unauthenticated, Unavailable
from taskforge.gateway.guesses import WrongTokens, client_address
from taskforge.runtime.guard import Metadata
from taskforge.security.tokens import bearer, matches
from taskforge.store import tokens
from taskforge.store.pool import Database

ADMIN = "admin"

_HINT = "send the header `authorization: Bearer <token>`, exactly once"
_CHECK = "check the token of your context with: taskforge context show"


class TokenTable:
    """The valid tokens. While the database is away, the last ones read stay valid."""

    def __init__(self, database: Database, *, admin_digest: bytes | None) -> None:
        self._database = database
        self._admin_digest = admin_digest
        self._admin_stored = admin_digest is None
        self._names: Mapping[bytes, str] | None = None
        self._wrong = WrongTokens()

    async def refresh(self) -> None:
        """Read the table; the first time, see to it that the admin token is in it."""
        if self._admin_digest is not None and not self._admin_stored:
            await tokens.put(self._database, ADMIN, self._admin_digest)
            self._admin_stored = True
        self._names = await tokens.read(self._database)

    def authenticate(self, method: str, metadata: Metadata) -> str:
        """The name of the token that came with a call.

        Raises:
            Unauthenticated: TOKEN_INVALID.
            ResourceExhausted: AUTHENTICATION_THROTTLED, instead of it once too many wrong tokens came from one address.
            Unavailable: the table has not been read yet.
        """
        token = bearer(metadata)
        if token is None:
            raise Unauthenticated("TOKEN_INVALID", "no valid authorization header came with the call", hint=_HINT)
        if self._names is None:
            raise Unavailable("STORE_UNAVAILABLE", "the tokens have not been read from the database yet", retry_after=1)
        # Every token is compared, in constant time: how long it takes says nothing about any of them.
        names = [name for stored, name in self._names.items() if matches(token, stored)]
        if not names:
            raise self._refusal(client_address(metadata))
        return names[0]

    def _refusal(self, address: str) -> TaskforgeError:
        seconds = self._wrong.seconds_to_wait(address)
        if not seconds:
            return Unauthenticated("TOKEN_INVALID", "the token is unknown or has been revoked", hint=_CHECK)
        return ResourceExhausted(
            "AUTHENTICATION_THROTTLED",
            "too many wrong tokens came from this address; a right one works at any time",
            hint=_CHECK,
            retry_after=seconds,
        )
