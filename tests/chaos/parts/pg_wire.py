"""What PostgreSQL and a client say to each other, followed closely enough to make mishaps out of commits.

Pure: bytes go in, actions come out. A `Conversation` follows one connection; `Mishaps` decides what happens to each
COMMIT and is shared by all connections of a link, so that chances, limits and counts are the link's.
"""

from __future__ import annotations

import random
import struct
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_REFUSED = b"N"
_LONGEST_STARTUP = 10_000  #: the server's own limit; whatever is longer is no start of a conversation
_COMMITS = frozenset({b"commit", b"end", b"commit transaction", b"commit work", b"end transaction"})
#: The client's messages that the server answers with ReadyForQuery: Query, Sync, FunctionCall.
_ASKING = b"QSF"
_MESSAGES = {
    "40001": "could not serialize access due to concurrent update",
    "40P01": "deadlock detected",
    "57014": "canceling statement due to statement timeout",
    "55P03": "could not obtain lock on row",
}
SQLSTATES = tuple(_MESSAGES)


class Mishap(StrEnum):
    """What happens to a COMMIT instead of what should."""

    LOST_REPLY = "lost-reply"  #: the server commits, the client's connection breaks instead of telling it
    LOST_COMMIT = "lost-commit"  #: the connection breaks before the server hears of it: the same to the client
    FAILURE = "failure"  #: the server rolls back and the client is told an error


@dataclass(frozen=True, slots=True, kw_only=True)
class ToServer:
    """Send this to the server."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ToClient:
    """Send this to the client."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Break the connection on both sides. Nothing follows it."""


Action = ToServer | ToClient | Cut


@dataclass(frozen=True, slots=True, kw_only=True)
class _Odds:
    chance: float
    times: int | None  #: how often at most; None is no limit


@dataclass(slots=True)
class Mishaps:
    """Decides about each COMMIT by seeded chance, and counts what came of it: commits, and mishaps by their name."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    counts: Counter[str] = field(default_factory=Counter)
    sqlstates: Sequence[str] = SQLSTATES
    _odds: dict[Mishap, _Odds] = field(default_factory=dict)

    def expect(self, mishap: Mishap, chance: float, *, times: int | None = None) -> None:
        """From now on a COMMIT meets this mishap with a chance, `times` times at most. Chance 0 ends it."""
        self._odds[mishap] = _Odds(chance=chance, times=times)

    def forget(self) -> None:
        """From now on every COMMIT is as it should be."""
        self._odds.clear()

    def draw(self) -> Mishap | None:
        """What shall happen to one more COMMIT."""
        self.counts["commit"] += 1
        for mishap, odds in self._odds.items():
            if odds.times != 0 and self.rng.random() < odds.chance:
                left = None if odds.times is None else odds.times - 1
                self._odds[mishap] = _Odds(chance=odds.chance, times=left)
                return mishap
        return None

    def draw_sqlstate(self) -> str:
        """Which error is told."""
        return self.rng.choice(self.sqlstates)


class Conversation:
    """One connection between a client and the server, from its first byte."""

    def __init__(self, mishaps: Mishaps) -> None:
        self._mishaps = mishaps
        self._from_client = bytearray()
        self._from_server = bytearray()
        self._started = False
        self._opaque = False  #: not to be followed: a cancellation, or encrypted
        self._ended = False
        # What each ReadyForQuery that is due shall end: the start, and whatever the client has asked since.
        self._due: deque[Mishap | None] = deque()
        self._reply = b""  #: the command tag of a COMMIT whose reply is withheld

    def from_client(self, data: bytes) -> list[Action]:
        """What to do about bytes from the client."""
        if self._opaque:
            return [ToServer(data=data)]
        self._from_client += data
        actions: list[Action] = [] if self._started else list(self._start())
        if self._started and not self._opaque:
            actions.extend(self._follow_client())
        return self._until_cut(actions)

    def from_server(self, data: bytes) -> list[Action]:
        """What to do about bytes from the server."""
        if self._opaque:
            return [ToClient(data=data)]
        self._from_server += data
        return self._until_cut(list(self._follow_server()))

    def _start(self) -> Iterator[Action]:
        """What precedes the first typed message. Encryption is refused for the server: it could not be followed."""
        while len(self._from_client) >= 8 and not self._started:
            length, code = struct.unpack_from("!II", self._from_client)
            if not 8 <= length <= _LONGEST_STARTUP:
                yield from self._give_up()
            elif len(self._from_client) < length:
                return
            elif code in (_SSL_REQUEST, _GSS_REQUEST):
                del self._from_client[:length]
                yield ToClient(data=_REFUSED)
            elif code == _CANCEL_REQUEST:
                yield from self._give_up()
            else:
                self._started = True
                self._due.append(None)
                yield ToServer(data=_take(self._from_client, length))

    def _give_up(self) -> Iterator[Action]:
        self._opaque = self._started = True
        yield ToServer(data=_take(self._from_client, len(self._from_client)))

    def _follow_client(self) -> Iterator[Action]:
        passing = bytearray()
        for message in _messages(self._from_client):
            mishap = self._mishaps.draw() if _is_commit(message) else None
            if mishap is Mishap.LOST_COMMIT:
                self._mishaps.counts[mishap] += 1
                yield ToServer(data=bytes(passing))
                yield Cut()
                return
            passing += _query(b"ROLLBACK;") if mishap is Mishap.FAILURE else message
            if message[0] in _ASKING:
                self._due.append(mishap)
        if passing:
            yield ToServer(data=bytes(passing))

    def _follow_server(self) -> Iterator[Action]:
        passing = bytearray()
        for message in _messages(self._from_server):
            mishap = self._due[0] if self._due else None
            is_ready = message[:1] == b"Z"
            if is_ready and self._due:
                self._due.popleft()
            if mishap is None:
                passing += message
            elif message[:1] in b"CE":
                self._reply = message[5:-1]
            elif is_ready and mishap is Mishap.LOST_REPLY:
                # The transaction may have been broken before: then the COMMIT was none, and nothing was lost.
                self._mishaps.counts[mishap if self._reply == b"COMMIT" else "no-commit"] += 1
                yield ToClient(data=bytes(passing))
                yield Cut()
                return
            elif is_ready:
                self._mishaps.counts[mishap] += 1
                passing += _error(self._mishaps.draw_sqlstate()) + message
        if passing:
            yield ToClient(data=bytes(passing))

    def _until_cut(self, actions: list[Action]) -> list[Action]:
        if self._ended:
            return []
        self._ended = any(isinstance(action, Cut) for action in actions)
        return [action for action in actions if isinstance(action, Cut) or action.data]


def _messages(buffer: bytearray) -> Iterator[bytes]:
    """Take the complete messages out of the buffer: a type, a length that counts itself, the rest."""
    while len(buffer) >= 5:
        size = 1 + int(struct.unpack_from("!I", buffer, 1)[0])
        if len(buffer) < size:
            return
        yield _take(buffer, size)


def _take(buffer: bytearray, size: int) -> bytes:
    taken = bytes(buffer[:size])
    del buffer[:size]
    return taken


def _is_commit(message: bytes) -> bool:
    return message[:1] == b"Q" and message[5:].rstrip(b"\0; \r\n\t").strip().lower() in _COMMITS


def _query(sql: bytes) -> bytes:
    return b"Q" + struct.pack("!I", len(sql) + 5) + sql + b"\0"


def _error(sqlstate: str) -> bytes:
    fields = (("S", "ERROR"), ("V", "ERROR"), ("C", sqlstate), ("M", _MESSAGES.get(sqlstate, "injected failure")))
    body = b"".join(f"{name}{value}".encode() + b"\0" for name, value in fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body
