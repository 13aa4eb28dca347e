"""Keys and tokens of the local stack: made once, 0600, never overwritten, never printed."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path

from taskforge_cli.stack.files import write_private
from taskforge_cli.stack.home import Home

_RANDOM_BYTES = 32


def new_admin_token() -> str:
    """A token for the API: `tf_` and 256 random bits."""
    return "tf_" + secrets.token_urlsafe(_RANDOM_BYTES)


def token_digest(token: str) -> str:
    """SHA-256 in hex: what the gateway is told of the admin token."""
    return hashlib.sha256(token.encode()).hexdigest()


def ensure_secrets(home: Home) -> list[Path]:
    """Make the internal token and the key ring if they are missing. Returns what was made."""
    key = base64.b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode()
    contents = {
        home.internal_token_file: secrets.token_urlsafe(_RANDOM_BYTES) + "\n",
        home.keyring_file: json.dumps({"active": "k1", "keys": {"k1": key}}) + "\n",
    }
    return [path for path, content in contents.items() if _write_once(path, content)]


def _write_once(path: Path, content: str) -> bool:
    if path.exists():
        return False
    write_private(path, content)
    return True
