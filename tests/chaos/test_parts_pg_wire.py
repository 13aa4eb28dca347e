"""What is made of the bytes between a client and PostgreSQL."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

import pytest

from tests.chaos.parts.pg_wire import SQLSTATES, Action, Conversation, Cut, Mishap, Mishaps, ToClient, ToServer

_STARTUP = struct.pack("!II", 23, 196608) + b"user\0postgres\0\0"
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_CANCEL = struct.pack("!IIII", 16, 80877102, 4711, 815)


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


COMMIT = message(b"Q", b"COMMIT;\0")
ROLLBACK = message(b"Q", b"ROLLBACK;\0")
INSERT = message(b"P", b"\0INSERT\0\0\0") + message(b"B", b"\0" * 8) + message(b"E", b"\0" * 5) + message(b"S")
WELCOME = message(b"R", b"\0\0\0\0") + message(b"S", b"TimeZone\0UTC\0") + message(b"Z", b"I")
INSERTED = message(b"1") + message(b"2") + message(b"C", b"INSERT 0 1\0") + message(b"Z", b"T")
COMMITTED = message(b"C", b"COMMIT\0") + message(b"Z", b"I")
ROLLED_BACK = message(b"C", b"ROLLBACK\0") + message(b"Z", b"I")


def conversation(mishap: Mishap | None = None) -> tuple[Conversation, Mishaps]:
    """One that is past its start, and in a transaction that has inserted something."""
    mishaps = Mishaps(rng=random.Random(1))
    found = Conversation(mishaps)
    if mishap:
        mishaps.expect(mishap, 1.0)
    assert found.from_client(_STARTUP) == [ToServer(data=_STARTUP)]
    assert found.from_server(WELCOME) == [ToClient(data=WELCOME)]
    assert found.from_client(INSERT) == [ToServer(data=INSERT)]
    assert found.from_server(INSERTED) == [ToClient(data=INSERTED)]
    return found, mishaps


def in_pieces(take: Callable[[bytes], Sequence[Action]], data: bytes, size: int) -> tuple[bytes, list[type[Action]]]:
    """Give bytes in pieces; all bytes that pass, and the kinds of actions without repetitions."""
    actions = [action for start in range(0, len(data), size) for action in take(data[start : start + size])]
    passed = b"".join(action.data for action in actions if not isinstance(action, Cut))
    return passed, list(dict.fromkeys(type(action) for action in actions))


def test_a_commit_passes_when_nothing_is_asked_for() -> None:
    found, mishaps = conversation()
    assert found.from_client(COMMIT) == [ToServer(data=COMMIT)]
    assert found.from_server(COMMITTED) == [ToClient(data=COMMITTED)]
    assert mishaps.counts == {"commit": 1}


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_bytes_pass_unchanged_however_they_are_cut(size: int) -> None:
    found = Conversation(Mishaps())
    asked, answered = _STARTUP + INSERT + COMMIT, WELCOME + INSERTED + COMMITTED
    assert in_pieces(found.from_client, asked, size) == (asked, [ToServer])
    assert in_pieces(found.from_server, answered, size) == (answered, [ToClient])


@pytest.mark.parametrize("size", [1, 1000])
def test_a_lost_reply_is_that_of_a_commit_that_happened(size: int) -> None:
    found, mishaps = conversation(Mishap.LOST_REPLY)
    assert in_pieces(found.from_client, COMMIT, size) == (COMMIT, [ToServer])
    assert mishaps.counts["lost-reply"] == 0, "it is not lost before the server has committed"
    assert in_pieces(found.from_server, COMMITTED, size) == (b"", [Cut])
    assert mishaps.counts == {"commit": 1, "lost-reply": 1}
    assert found.from_client(INSERT) == []


def test_the_answer_before_the_commits_own_is_not_withheld() -> None:
    found, _ = conversation(Mishap.LOST_REPLY)
    assert found.from_client(INSERT + COMMIT) == [ToServer(data=INSERT + COMMIT)]
    assert found.from_server(INSERTED + COMMITTED) == [ToClient(data=INSERTED), Cut()]


def test_a_commit_that_the_server_refused_is_not_counted_as_lost() -> None:
    found, mishaps = conversation(Mishap.LOST_REPLY)
    found.from_client(COMMIT)
    assert found.from_server(ROLLED_BACK) == [Cut()]
    assert mishaps.counts == {"commit": 1, "no-commit": 1}


def test_a_lost_commit_never_reaches_the_server() -> None:
    found, mishaps = conversation(Mishap.LOST_COMMIT)
    assert found.from_client(INSERT + COMMIT) == [ToServer(data=INSERT), Cut()]
    assert mishaps.counts == {"commit": 1, "lost-commit": 1}


@pytest.mark.parametrize("size", [1, 1000])
def test_a_failed_commit_is_a_rollback_that_is_told_as_an_error(size: int) -> None:
    found, mishaps = conversation(Mishap.FAILURE)
    mishaps.sqlstates = ["40P01"]
    assert in_pieces(found.from_client, COMMIT, size) == (ROLLBACK, [ToServer])
    answer, kinds = in_pieces(found.from_server, ROLLED_BACK, size)
    assert kinds == [ToClient]
    assert answer.startswith(b"E")
    assert b"C40P01\0" in answer
    assert answer.endswith(message(b"Z", b"I"))
    assert found.from_client(COMMIT) == [ToServer(data=ROLLBACK)], "the connection can be used again"
    assert mishaps.counts == {"commit": 2, "failure": 1}


def test_a_mishap_happens_as_often_as_told() -> None:
    mishaps = Mishaps()
    mishaps.expect(Mishap.LOST_REPLY, 1.0, times=2)
    assert [mishaps.draw() for _ in range(4)] == [Mishap.LOST_REPLY, Mishap.LOST_REPLY, None, None]


def test_chance_is_repeatable_by_its_seed() -> None:
    def drawn(seed: int) -> list[Mishap | None]:
        mishaps = Mishaps(rng=random.Random(seed))
        mishaps.expect(Mishap.FAILURE, 0.05)
        return [mishaps.draw() for _ in range(2000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 50 < drawn(1).count(Mishap.FAILURE) < 150


def test_every_sqlstate_has_its_turn() -> None:
    mishaps = Mishaps()
    assert {mishaps.draw_sqlstate() for _ in range(100)} == set(SQLSTATES)


def test_encryption_is_refused_and_the_plain_start_passes() -> None:
    found = Conversation(Mishaps())
    assert found.from_client(_SSL_REQUEST[:5]) == []
    assert found.from_client(_SSL_REQUEST[5:]) == [ToClient(data=b"N")]
    assert found.from_client(_STARTUP) == [ToServer(data=_STARTUP)]
    assert found.from_server(WELCOME) == [ToClient(data=WELCOME)]


@pytest.mark.parametrize("start", [_CANCEL, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"])
def test_what_cannot_be_followed_passes_as_it_is(start: bytes) -> None:
    found = Conversation(Mishaps())
    assert found.from_client(start) == [ToServer(data=start)]
    assert found.from_client(b"more") == [ToServer(data=b"more")]
    assert found.from_server(b"E") == [ToClient(data=b"E")]


@pytest.mark.parametrize("sql", [b"COMMIT;", b"commit", b" END ;\n"])
def test_a_commit_is_known_in_its_spellings(sql: bytes) -> None:
    found, mishaps = conversation()
    found.from_client(message(b"Q", sql + b"\0"))
    assert mishaps.counts["commit"] == 1


@pytest.mark.parametrize("sql", [b"SELECT 'COMMIT;'", b"COMMIT PREPARED 'x'", b"ROLLBACK;", b""])
def test_nothing_else_is_a_commit(sql: bytes) -> None:
    found, mishaps = conversation()
    found.from_client(message(b"Q", sql + b"\0"))
    assert mishaps.counts["commit"] == 0
