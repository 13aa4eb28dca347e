"""The executor's settings: every fault at once."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from taskforge.executor.config import read_config
from taskforge.runtime.config import load
from taskforge.security.keyring import KeyRing


def variables(folder: Path, **overrides: str) -> dict[str, str]:
    ring, token = folder / "ring.json", folder / "token"
    ring.touch(mode=0o600)
    ring.write_text(KeyRing.generate().to_json())
    token.write_text(secrets.token_hex(32))
    return {
        "TASKFORGE_LISTEN": "unix:/tmp/x.sock",
        "TASKFORGE_SCHEDULER": "127.0.0.1:7612",
        "TASKFORGE_INTERNAL_TOKEN_FILE": str(token),
        "TASKFORGE_KEYRING_FILE": str(ring),
        "TASKFORGE_REDIS_URL": "none",
        **overrides,
    }


def test_defaults(tmp_path: Path) -> None:
    config = load(read_config, variables(tmp_path))
    assert (config.slots, config.redis_url, config.http_allow, config.http_deny) == (64, "none", (), ())
    assert config.keyring is not None


def test_every_fault_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulty = variables(
        tmp_path,
        TASKFORGE_REDIS_URL="redis:/user:password@localhost",
        TASKFORGE_SCHEDULER="nowhere",
        TASKFORGE_KEYRING_FILE=str(tmp_path / "missing"),
        TASKFORGE_EXECUTOR_SLOTS="0",
        TASKFORGE_HTTP_DENY="10.0.0.0/99",
    )
    with pytest.raises(SystemExit) as ended:
        load(read_config, faulty)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    for name in ("REDIS_URL", "SCHEDULER", "KEYRING_FILE", "EXECUTOR_SLOTS", "HTTP_DENY"):
        assert f"TASKFORGE_{name}" in told
    assert "password" not in told
