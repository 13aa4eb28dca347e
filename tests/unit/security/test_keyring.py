"""Sealed secrets open only where they belong; a doubtful key file is refused with every fault named."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.security.keyring import KEY_BYTES, KeyRing, KeyRingError, SealError

RING = KeyRing(active="k1", keys={"k1": bytes(range(KEY_BYTES))})


def key_file(tmp_path: Path, content: object, mode: int = 0o600) -> Path:
    path = tmp_path / "keyring.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


@given(st.text(max_size=80), st.integers(0, 2**63), st.binary(max_size=300))
def test_what_is_sealed_opens_again(name: str, version: int, plaintext: bytes) -> None:
    assert RING.open(name, version, RING.seal(name, version, plaintext)) == plaintext


def test_the_layout_is_key_id_nonce_ciphertext() -> None:
    sealed = RING.seal("token", 1, b"12345")
    assert sealed[:3] == b"\x02k1"
    assert len(sealed) == 3 + 12 + 5 + 16


def test_equal_secrets_seal_to_different_bytes() -> None:
    assert len({RING.seal("a", 1, b"same") for _ in range(1000)}) == 1000


@pytest.mark.parametrize(("name", "version"), [("other", 1), ("token", 2), ("token", 0), ("toke", 1), ("", 1)])
def test_a_swapped_row_does_not_open(name: str, version: int) -> None:
    sealed = RING.seal("token", 1, b"hunter2")
    with pytest.raises(SealError, match="does not open"):
        RING.open(name, version, sealed)


@given(st.data())
def test_no_altered_byte_goes_unnoticed(data: st.DataObject) -> None:
    sealed = bytearray(RING.seal("token", 1, b"hunter2"))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        RING.open("token", 1, bytes(sealed))


@given(st.binary(max_size=60))
def test_random_bytes_are_a_typed_error(sealed: bytes) -> None:
    with pytest.raises(SealError):
        RING.open("token", 1, sealed)


@pytest.mark.parametrize("cut", [1, 5, 16, 20])
def test_a_truncated_secret_does_not_open(cut: int) -> None:
    with pytest.raises(SealError):
        RING.open("token", 1, RING.seal("token", 1, b"")[:-cut])


def test_a_foreign_key_under_the_same_id_does_not_open() -> None:
    other = KeyRing(active="k1", keys={"k1": bytes(range(1, KEY_BYTES + 1))})
    with pytest.raises(SealError, match="altered"):
        other.open("token", 1, RING.seal("token", 1, b"x"))


def test_rotation_opens_old_secrets_and_seals_with_the_new_key() -> None:
    old = RING.seal("token", 1, b"x")
    rotated = RING.rotated("k2")
    assert rotated.open("token", 1, old) == b"x"
    assert not rotated.is_current(old)
    new = rotated.seal("token", 2, b"x")
    assert rotated.is_current(new)
    with pytest.raises(SealError, match="'k2', which is not in the key ring"):
        RING.open("token", 2, new)


def test_rotation_never_replaces_a_key() -> None:
    with pytest.raises(KeyRingError, match="exists already"):
        RING.rotated("k1")


def test_a_generated_ring_survives_its_file(tmp_path: Path) -> None:
    ring = KeyRing.generate()
    loaded = KeyRing.load(key_file(tmp_path, ring.to_json()))
    assert loaded.open("a", 1, ring.seal("a", 1, b"x")) == b"x"
    assert (loaded.active, loaded.key_ids) == ("k1", frozenset({"k1"}))


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    content = {
        "active": "gone",
        "keys": {
            "short": encoded(b"x" * 16),
            "odd id!": encoded(bytes(range(32))),
            "bad": "%%",
            "flat": encoded(b"A" * 32),
        },
        "extra": 1,
    }
    with pytest.raises(KeyRingError) as caught:
        KeyRing.load(key_file(tmp_path, content, mode=0o644))
    text = str(caught.value)
    for fault in (
        "mode 0644",
        "'extra'",
        "'gone' is not in it",
        "'short' has 16 bytes",
        "'odd id!'",
        "'bad' is not base64",
    ):
        assert fault in text
    assert "'flat' is one byte repeated" in text
    assert len(caught.value.faults) == 7


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o777])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyRingError, match="chmod 600"):
        KeyRing.load(key_file(tmp_path, RING.to_json(), mode))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", '"active" is missing'),
        ('{"active": "k1", "keys": {}}', "holds no keys"),
        ('{"active": "k1", "keys": []}', '"keys" is missing or not an object'),
        ('{"active": 1, "keys": {"k1": 2}}', "'k1' is not base64"),
        (RING.to_json().replace('"keys"', '"active": "k1", "keys"'), "there twice"),
        (" " * 70_000, "larger than"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "not JSON"),
    ],
)
def test_a_wrong_file_is_a_typed_error(tmp_path: Path, content: str, fault: str) -> None:
    with pytest.raises(KeyRingError, match=fault):
        KeyRing.load(key_file(tmp_path, content))


def test_a_missing_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(KeyRingError, match="No such file"):
        KeyRing.load(tmp_path / "none.json")


def test_no_message_and_no_repr_holds_a_key() -> None:
    key = bytes(range(KEY_BYTES))
    with pytest.raises(KeyRingError) as caught:
        KeyRing.from_json(json.dumps({"active": "x", "keys": {"k1": encoded(key), "k2": encoded(key[:31])}}))
    for text in (repr(RING), str(caught.value)):
        assert encoded(key)[:8] not in text
        assert key.hex()[:8] not in text
