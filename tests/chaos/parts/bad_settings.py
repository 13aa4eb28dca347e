"""Settings with which no service may start, by variable, and the variables of each service."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_ALL = (
    "TASKFORGE_LISTEN",
    "TASKFORGE_METRICS_LISTEN",
    "TASKFORGE_LOG_FORMAT",
    "TASKFORGE_LOG_LEVEL",
    "TASKFORGE_DRAIN_SECONDS",
    "TASKFORGE_INTERNAL_TOKEN_FILE",
    "TASKFORGE_TEST_FAILPOINTS",
)
#: The variables that each service reads.
READ_BY: Mapping[str, Sequence[str]] = {
    "gateway": (
        *_ALL,
        "TASKFORGE_DATABASE_URL",
        "TASKFORGE_SCHEDULER",
        "TASKFORGE_KEYRING_FILE",
        "TASKFORGE_ADMIN_TOKEN_SHA256",
    ),
    "scheduler": (
        *_ALL,
        "TASKFORGE_DATABASE_URL",
        "TASKFORGE_REDIS_URL",
        "TASKFORGE_LEASE_SECONDS",
        "TASKFORGE_SWEEP_SECONDS",
        "TASKFORGE_MAX_CRASHES",
        "TASKFORGE_MAX_QUEUED",
    ),
    "ingest": (*_ALL, "TASKFORGE_DATABASE_URL", "TASKFORGE_SCHEDULER", "TASKFORGE_KEYRING_FILE"),
    "executor": (
        *_ALL,
        "TASKFORGE_REDIS_URL",
        "TASKFORGE_SCHEDULER",
        "TASKFORGE_KEYRING_FILE",
        "TASKFORGE_EXECUTOR_SLOTS",
        "TASKFORGE_HTTP_ALLOW",
        "TASKFORGE_HTTP_DENY",
    ),
}
_NUMBERS = ("x", "-1", "nan", "1e99", "")


class BadSettings:
    """Makes them; files lie in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        key = base64.b64encode(os.urandom(32)).decode()
        ring = json.dumps({"active": "k1", "keys": {"k1": key}})
        self.values: Mapping[str, Sequence[Callable[[], str]]] = {
            "TASKFORGE_LISTEN": self._texts("", "nowhere", "unix:relative.sock", "host:99999", "host:-1"),
            "TASKFORGE_METRICS_LISTEN": self._texts("nowhere", "host:"),
            "TASKFORGE_LOG_FORMAT": self._texts("xml"),
            "TASKFORGE_LOG_LEVEL": self._texts("loud"),
            "TASKFORGE_DRAIN_SECONDS": self._texts(*_NUMBERS[:-1]),
            "TASKFORGE_INTERNAL_TOKEN_FILE": (
                *self._texts("", str(folder / "missing"), str(folder)),
                *self._files("", "short", "t" * 64, "changeme" * 8, b"\xff\xfe" * 40),
            ),
            "TASKFORGE_TEST_FAILPOINTS": (*self._texts(str(folder / "missing")), lambda: self._folder_for_all()),
            "TASKFORGE_DATABASE_URL": self._texts("", "nonsense", "mysql://localhost/taskforge", "http://localhost"),
            "TASKFORGE_REDIS_URL": self._texts("", "http://localhost", "localhost:6379"),
            "TASKFORGE_SCHEDULER": self._texts("", "nowhere"),
            "TASKFORGE_KEYRING_FILE": (
                *self._texts("", str(folder / "missing"), str(folder)),
                *self._files("", "{}", "{", '{"active": "k1", "keys": {}}', ring.replace(key, "AAAA")),
                *self._files(ring.replace(key, base64.b64encode(bytes(32)).decode()), ring.replace('"k1",', '"k2",')),
                *self._files(ring[:-1] + ', "active": "k1"}'),
                lambda: self._file(ring.encode(), mode=0o644),
            ),
            "TASKFORGE_ADMIN_TOKEN_SHA256": self._texts("abc", "z" * 64, hashlib.sha256(b"").hexdigest()),
            "TASKFORGE_LEASE_SECONDS": self._texts("0", *_NUMBERS[:-1]),
            "TASKFORGE_SWEEP_SECONDS": self._texts("0", *_NUMBERS[:-1]),
            "TASKFORGE_MAX_CRASHES": self._texts("0", "1.5", *_NUMBERS[:-1]),
            "TASKFORGE_MAX_QUEUED": self._texts("0", "1.5", *_NUMBERS[:-1]),
            "TASKFORGE_EXECUTOR_SLOTS": self._texts("0", "1.5", "1000000", *_NUMBERS[:-1]),
            "TASKFORGE_HTTP_ALLOW": self._texts("10.0.0.0/99", "everything", "10.0.0.0/8,x"),
            "TASKFORGE_HTTP_DENY": self._texts("10.0.0.0/99", "everything"),
        }

    @staticmethod
    def _texts(*values: str) -> tuple[Callable[[], str], ...]:
        return tuple(lambda value=value: value for value in values)

    def _files(self, *contents: str | bytes) -> tuple[Callable[[], str], ...]:
        encoded = [content.encode() if isinstance(content, str) else content for content in contents]
        return tuple(lambda content=content: self._file(content) for content in encoded)

    def _file(self, content: bytes, *, mode: int = 0o600) -> str:
        self._made += 1
        path = self._folder / f"file-{self._made}"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def _folder_for_all(self) -> str:
        self._made += 1
        path = self._folder / f"folder-{self._made}"
        path.mkdir()
        path.chmod(0o777)
        return str(path)
