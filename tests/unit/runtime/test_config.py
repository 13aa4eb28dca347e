"""Environment variables: every fault is found, and a secret that is none is refused."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from taskforge.runtime.config import ConfigurationError, Environment


def faults(tmp_path: Path, content: str | bytes | None) -> list[str]:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    env = Environment({"TOKEN": str(path)})
    env.secret_file("TOKEN")
    try:
        env.check()
    except ConfigurationError as error:
        return error.faults
    return []


@pytest.mark.parametrize(
    "content",
    [None, "", "short", "a" * 64, "0123" * 16, "x" * 31, "   " + "x" * 20 + "   ", b"\xff" * 64, "change-me-" * 4],
)
def test_a_file_that_holds_no_random_token_is_a_fault(tmp_path: Path, content: str | bytes | None) -> None:
    [fault] = faults(tmp_path, content)
    assert fault.startswith("TOKEN names ")


def test_random_tokens_are_taken(tmp_path: Path) -> None:
    for _ in range(1000):
        assert faults(tmp_path, secrets.token_hex(16) + "\n") == []
    assert faults(tmp_path, secrets.token_urlsafe(32)) == []


def test_the_content_of_a_secret_is_not_told(tmp_path: Path) -> None:
    assert "hunter2" not in str(faults(tmp_path, "hunter2"))
