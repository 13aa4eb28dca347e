"""The key ring that seals secrets: AES-256-GCM, several keys by id, one of them active.

A sealed secret is `len(key id) || key id || nonce || ciphertext || tag`. The key id lets old secrets be opened after
a rotation; the authenticated data binds the bytes to the secret's name and version, so a row that was swapped,
renamed or rolled back does not open.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_MAX_FILE_BYTES = 64 * 1024
_DOMAIN = b"taskforge/secret/v1"  # these keys authenticate nothing but secrets


class KeyRingError(Exception):
    """The key ring cannot be used. `faults` names everything that is wrong, never a key."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the key ring is not usable: " + "; ".join(faults))
        self.faults = tuple(faults)


class SealError(Exception):
    """A sealed secret does not open: it was altered, belongs elsewhere, or its key is not in the ring."""


class KeyRing:
    """Seals with the active key, opens with any key it holds."""

    def __init__(self, *, active: str, keys: Mapping[str, bytes]) -> None:
        faults = list(_ring_faults(active, keys))
        if faults:
            raise KeyRingError(faults)
        self._active = active
        self._keys = dict(keys)
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    def __repr__(self) -> str:
        return f"KeyRing(active={self._active!r}, keys={sorted(self._keys)})"

    @classmethod
    def generate(cls) -> KeyRing:
        """Make a ring with one fresh key."""
        return cls(active="k1", keys={"k1": os.urandom(KEY_BYTES)})

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a key file; lists every fault at once.

        Our own file must be closed to others. A file of another owner is a secret that a container engine mounts, whose
        mode says who may read it inside the container; OpenSSH judges key files by the same rule.
        """
        faults = []
        try:
            # One descriptor for both: the file that was checked is the file that is read.
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                text = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise KeyRingError([f"{path}: {error.strerror or error}"]) from error
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid == os.geteuid() and mode & 0o077:
            faults.append(f"{path}: mode {mode:04o} lets others read it; run chmod 600")
        if len(text) > _MAX_FILE_BYTES:
            raise KeyRingError([*faults, f"{path}: larger than {_MAX_FILE_BYTES} bytes"])
        try:
            ring = cls.from_json(text)
        except KeyRingError as error:
            raise KeyRingError([*faults, *error.faults]) from error
        if faults:
            raise KeyRingError(faults)
        return ring

    @classmethod
    def from_json(cls, text: str | bytes) -> KeyRing:
        """Parse `{"active": id, "keys": {id: base64 of 32 bytes}}`; unknown and duplicate fields are faults."""
        faults: list[str] = []
        document = _parse(text, faults)
        active = document.pop("active", None)
        if not isinstance(active, str):
            faults.append('"active" is missing or not a string')
            active = ""
        encoded = document.pop("keys", None)
        if not isinstance(encoded, dict):
            faults.append('"keys" is missing or not an object')
            encoded = {}
        faults.extend(f"unknown field {name!a}" for name in document)
        keys = {key_id: key for key_id, value in encoded.items() if (key := _decode(key_id, value, faults)) is not None}
        # A key that did not decode has been named already: its absence is no second fault.
        if encoded:
            faults.extend(_ring_faults(active, keys, known=frozenset(encoded)) if active else ())
        elif not faults:
            faults.append("it holds no keys")
        if faults:
            raise KeyRingError(faults)
        return cls(active=active, keys=keys)

    def to_json(self) -> str:
        """The file's text; whoever writes it creates it with mode 0600."""
        keys = {key_id: base64.b64encode(key).decode() for key_id, key in self._keys.items()}
        return json.dumps({"active": self._active, "keys": keys}, indent=2) + "\n"

    @property
    def active(self) -> str:
        """The id of the key that seals."""
        return self._active

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys that can open."""
        return frozenset(self._keys)

    def rotated(self, key_id: str) -> KeyRing:
        """A ring with one more key, active from now on."""
        if key_id in self._keys:
            raise KeyRingError([f"key {key_id!r} exists already"])
        return KeyRing(active=key_id, keys={**self._keys, key_id: os.urandom(KEY_BYTES)})

    def seal(self, name: str, version: int, plaintext: bytes) -> bytes:
        """Encrypt one version of a secret for storage."""
        key_id = self._active.encode()
        nonce = os.urandom(_NONCE_BYTES)
        header = bytes([len(key_id)]) + key_id
        sealed = self._ciphers[self._active].encrypt(nonce, plaintext, _binding(header, name, version))
        return header + nonce + sealed

    def open(self, name: str, version: int, sealed: bytes) -> bytes:
        """Decrypt what `seal` made for this very name and version; SealError otherwise."""
        key_id, header, body = _split(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealError(f"secret {name!r} is sealed with key {key_id!r}, which is not in the key ring")
        try:
            return cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], _binding(header, name, version))
        except InvalidTag:
            raise SealError(f"secret {name!r} version {version} does not open: altered, or not this secret") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether it is sealed with the active key: what is not is what a rotation seals anew."""
        return _split(sealed)[0] == self._active


def _parse(text: str | bytes, faults: list[str]) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            faults.append("a field is there twice")
        return seen

    try:
        document = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise KeyRingError(["it is not JSON"]) from None
    if not isinstance(document, dict):
        raise KeyRingError(["it is not a JSON object"])
    return document


def _decode(key_id: str, value: object, faults: list[str]) -> bytes | None:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    faults.append(f"key {key_id!a} is not base64")
    return None


def _ring_faults(active: str, keys: Mapping[str, bytes], known: frozenset[str] = frozenset()) -> Iterator[str]:
    if active not in keys and active not in known:
        yield f"the active key {active!a} is not in it"
    for key_id, key in keys.items():
        if not _KEY_ID.fullmatch(key_id):
            yield f"key id {key_id!a} must be 1 to 64 of A-Z a-z 0-9 . _ -"
        if len(key) != KEY_BYTES:
            yield f"key {key_id!a} has {len(key)} bytes instead of {KEY_BYTES}"
        elif len(set(key)) == 1:
            yield f"key {key_id!a} is one byte repeated, not a random key"


def _binding(header: bytes, name: str, version: int) -> bytes:
    """The authenticated data; lengths in front make it unambiguous."""
    encoded = name.encode("utf-8", "surrogatepass")
    return b"".join((_DOMAIN, header, len(encoded).to_bytes(4, "big"), encoded, version.to_bytes(8, "big")))


def _split(sealed: bytes) -> tuple[str, bytes, bytes]:
    end = 1 + sealed[0] if sealed else 0
    if len(sealed) < end + _NONCE_BYTES + _TAG_BYTES or end < 2:
        _refuse()
    try:
        return sealed[1:end].decode("ascii"), sealed[:end], sealed[end:]
    except UnicodeDecodeError:
        _refuse()


def _refuse() -> NoReturn:
    raise SealError("these bytes are not a sealed secret")
