"""Database URLs with one host or several."""

from __future__ import annotations

import pytest

from taskforge.store.dsn import Host, fault_of, hosts


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me@db/x", [("db", 5432)]),
        ("postgres://me:p%40ss@db:6543/x", [("db", 6543)]),
        ("postgresql://me@one:1,two:2/x?target_session_attrs=read-write", [("one", 1), ("two", 2)]),
        ("postgresql://me@one,two/x", [("one", 5432), ("two", 5432)]),
        ("postgresql://me@[::1]:1,[fe80::2]/x", [("::1", 1), ("fe80::2", 5432)]),
        ("postgresql://me@/x?host=/run/pg", [("/run/pg", 5432)]),
        ("postgresql://me@/x?host=/run/pg&port=6000", [("/run/pg", 6000)]),
        ("postgresql://me@/x?host=one,two&port=1,2", [("one", 1), ("two", 2)]),
        ("postgresql://me@/x?host=one,two&port=7", [("one", 7), ("two", 7)]),
        ("postgresql:///x", []),
    ],
)
def test_hosts(url: str, expected: list[Host]) -> None:
    assert list(hosts(url)) == expected
    assert fault_of(url) == ""


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("mysql://me@db/x", "postgresql://"),
        ("db:5432", "postgresql://"),
        ("postgresql://me@db:http/x", "'http'"),
        ("postgresql://me@db:0/x", "'0'"),
        ("postgresql://me@db:70000/x", "'70000'"),
        ("postgresql://me@one,,two/x", "without a name"),
        ("postgresql://me@/x?host=a,b,c&port=1,2", "3 hosts but 2 ports"),
        ("postgresql://me@db/x?target_session_attrs=standby", "target_session_attrs"),
        ("postgresql://me@[::1/x", "cannot be read"),
    ],
)
def test_faults(url: str, fault: str) -> None:
    assert fault in fault_of(url)


def test_a_fault_does_not_tell_the_password() -> None:
    for url in ("postgresql://me:c4nary@db:x/y", "mysql://me:c4nary@db", "postgresql://me:c4nary@[::1/x"):
        assert fault_of(url)
        assert "c4nary" not in fault_of(url)
