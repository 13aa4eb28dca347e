"""No encoding in which a secret usually travels gets past the masker, and innocent text does."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskforge.domain.workflow import JsonValue
from taskforge.security.masking import MASK, Masker

SECRET = 'p@ss/w+rd"é\\n<&>~=1'
TYPEABLE = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs"]), min_size=8, max_size=40
)


ENCODINGS = {
    "raw": SECRET,
    "json": json.dumps({"k": SECRET}),
    "json, letters kept": json.dumps({"k": SECRET}, ensure_ascii=False),
    "json in json": json.dumps({"k": json.dumps([SECRET])}),
    "json with escaped slashes": json.dumps(SECRET).replace("/", "\\/"),
    "json as Go writes it": json.dumps(SECRET).replace("<", "\\u003c").replace("&", "\\u0026").replace(">", "\\u003e"),
    "url": f"https://h/p?k={quote(SECRET, safe='')}&x=1",
    "url path": f"https://h/{quote(SECRET)}/x",
    "form": urlencode({"k": SECRET}),
    "url in lower case": re.sub("%..", lambda escape: escape[0].lower(), f"https://h/?k={quote_plus(SECRET)}"),
    "hex": SECRET.encode().hex(),
    "HEX": SECRET.encode().hex().upper(),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 without padding": base64.b64encode(SECRET.encode()).decode().rstrip("="),
    "urlsafe base64": base64.urlsafe_b64encode(SECRET.encode()).decode(),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_usual_encoding_is_masked(name: str) -> None:
    masked = Masker([SECRET]).mask(f"before {ENCODINGS[name]} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert MASK in masked
    # Nothing of the secret's own text is left around the mask.
    assert all(part not in masked for part in ("w+rd", "rd%", "p@ss", "%C3%A9", "%c3%a9", "707"))


@pytest.mark.parametrize("user", ["", "u", "us", "user", "longer-name"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_basic_auth_is_masked_at_every_alignment(user: str, encode: object) -> None:
    assert callable(encode)
    header = encode(f"{user}:{SECRET}:tail".encode()).decode()
    masked = Masker([SECRET]).mask(header)
    assert MASK in masked
    left = masked.replace(MASK, "")
    assert len(left) <= len(header) - len(SECRET.encode()) * 4 // 3 + 2


@given(TYPEABLE, st.text(max_size=20), st.text(max_size=20))
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    assume(len(secret.strip()) >= 8)
    masker = Masker([secret])
    for form in (
        secret,
        json.dumps(secret),
        quote(secret),
        secret.encode().hex(),
        base64.b64encode(secret.encode()).decode(),
    ):
        masked = masker.mask(before + form + after)
        assert form not in masked or form in before + MASK + after
        assert masker.mask(masked) == masked


@given(st.lists(st.text("abc", min_size=4, max_size=8), max_size=4), st.text("abcd", max_size=40))
def test_overlapping_secrets_leave_no_tail(secrets: list[str], text: str) -> None:
    covered = [False] * len(text)
    for secret in secrets:
        for start in range(len(text)):
            if text.startswith(secret, start):
                covered[start : start + len(secret)] = [True] * len(secret)
    kept = "".join(char for char, hidden in zip(text, covered, strict=True) if not hidden)
    assert Masker(secrets).mask(text).replace(MASK, "") == kept


def test_the_longest_of_nested_secrets_wins() -> None:
    assert Masker(["abcd", "abcdefgh"]).mask("x abcdefgh y") == f"x {MASK} y"


def test_overlapping_secrets_are_masked_together() -> None:
    assert Masker(["abcdef", "defghi"]).mask("<abcdefghi>") == f"<{MASK}>"


@pytest.mark.parametrize("value", ["", " ", "abc", "   abc   ", "\n\n\n\n"])
def test_very_short_values_mask_nothing(value: str) -> None:
    masker = Masker([value])
    assert not masker
    assert masker.mask("abc abcabc \n\n\n\n") == "abc abcabc \n\n\n\n"


def test_a_trailing_newline_of_the_stored_secret_does_not_matter() -> None:
    assert Masker(["hunter22\n"]).mask("Bearer hunter22") == f"Bearer {MASK}"


def test_lines_of_a_private_key_are_masked_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    assert Masker([key]).mask("log: kqhkiG9w0BAQEF") == f"log: {MASK}"
    assert Masker([key]).mask("-----BEGIN KEY-----") == "-----BEGIN KEY-----"


def test_json_keys_strings_and_numbers_are_masked() -> None:
    masker = Masker(["hunter22", "123456"])
    value = {"hunter22": 1, "a": ["x hunter22", {"b": 123456, "c": 1234567, "d": 12.5}], "e": True, "f": None}
    assert masker.mask_json(value) == {
        MASK: 1,
        "a": [f"x {MASK}", {"b": MASK, "c": 1234567, "d": 12.5}],
        "e": True,
        "f": None,
    }


def test_two_masked_keys_stay_two() -> None:
    assert Masker(["aaaa", "bbbb"]).mask_json({"aaaa": 1, "bbbb": 2}) == {MASK: 1, MASK + MASK: 2}


def test_a_value_without_secrets_is_returned_as_it_is() -> None:
    value = {"a": [1, "x", {"b": None}]}
    assert Masker(["hunter22"]).mask_json(value) is value
    assert Masker([]).mask_json(value) is value


def test_a_secret_that_json_escapes_is_found_in_a_tree() -> None:
    secret = 'quote " and \\ slash \n'
    assert Masker([secret]).mask_json(["see " + secret]) == [f"see {MASK}"]


def test_deep_and_odd_values_are_masked_rather_than_raised_on() -> None:
    deep: JsonValue = "hunter22"
    for _ in range(5000):
        deep = [deep]
    masked = Masker(["hunter22"]).mask_json(deep)
    for _ in range(150):
        masked = masked[0]
    odd = {"t": ("hunter22", b"x"), "n": float("nan"), 3: "hunter22", "long": 10**5000}
    assert Masker(["hunter22"]).mask_json(odd) == {"t": [MASK, b"x"], "n": odd["n"], 3: MASK, "long": 10**5000}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_tree_holds_the_secret_afterwards(tree: JsonValue) -> None:
    masker = Masker(["hunter22"])
    salted = {"hunter22": tree, "x": [tree, "a hunter22"]}
    assert "hunter22" not in json.dumps(masker.mask_json(salted))


def test_repr_tells_no_secret() -> None:
    assert "hunter22" not in repr(Masker(["hunter22"]))
