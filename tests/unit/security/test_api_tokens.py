"""Tokens are random, recognisable, stored as digests, and read from metadata without surprises."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.security import tokens


def test_a_token_is_recognisable_and_never_the_same() -> None:
    made = {tokens.generate() for _ in range(500)}
    assert len(made) == 500
    assert all(tokens.parse(token) == token and token.startswith("tf_") and len(token) == 46 for token in made)


@pytest.mark.parametrize(
    "text", ["", "tf_", "tf_" + "a" * 42, "tf_" + "a" * 44, "xx_" + "a" * 43, "tf_" + "é" * 43, "TF_" + "a" * 43]
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert tokens.parse(text) is None


def test_white_space_around_a_pasted_token_is_dropped() -> None:
    token = tokens.generate()
    assert tokens.parse(f" {token}\n") == token


@given(st.text(), st.text())
def test_only_the_same_token_matches(one: str, other: str) -> None:
    assert tokens.matches(one, tokens.digest(one))
    assert tokens.matches(one, tokens.digest(other)) == (one == other)


def test_the_digest_is_plain_sha256() -> None:
    assert tokens.digest("tf_x") == hashlib.sha256(b"tf_x").digest()
    assert not tokens.matches("tf_x", b"")
    assert not tokens.matches("\ud800", b"x")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([("authorization", "Bearer abc")], "abc"),
        ([("Authorization", "bearer  abc==")], "abc=="),
        ([("authorization", b"Bearer abc")], "abc"),
        ([("x", "1"), ("authorization", "Bearer a-b_c.d~e+f/g")], "a-b_c.d~e+f/g"),
        ([], None),
        ([("authorization", "")], None),
        ([("authorization", "Bearer")], None),
        ([("authorization", "Bearer ")], None),
        ([("authorization", "Basic abc")], None),
        ([("authorization", "Bearer a b")], None),
        ([("authorization", "Bearer a\n")], None),
        ([("authorization", "Bearer é")], None),
        ([("authorization", b"Bearer \xff")], None),
        ([("authorization", "Bearer " + "a" * 513)], None),
        ([("authorization", "Bearer " + "a" * 1_000_000)], None),
        ([("authorization", "Bearer abc"), ("authorization", "Bearer abc")], None),
        ([("authorization", "Bearer abc"), ("AUTHORIZATION", "Bearer def")], None),
        ([("proxy-authorization", "Bearer abc")], None),
    ],
)
def test_bearer_takes_one_well_formed_header(metadata: list[tuple[str, str | bytes]], expected: str | None) -> None:
    assert tokens.bearer(metadata) == expected
