"""Genuine deliveries verify, everything else is rejected with a reason, and nothing raises."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.security.signatures import Headers, Reason, Rejected, Verified, dedupe_key, sign, verify
from taskforge.security.webhook_schemes import PRESETS, Scheme, SchemeError, scheme_named

NOW = 1614265330
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
STANDARD_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
TIMED_HMAC = scheme_named(
    "hmac", {"header": "X-Sig", "timestamp_header": "X-Time", "algorithm": "sha512", "encoding": "base64"}
)
SCHEMES: dict[str, Scheme] = {**PRESETS, "hmac with a timestamp": TIMED_HMAC}
SIGNED = [name for name in SCHEMES if name != "none"]
BOUND_TO_BODY = [name for name in SIGNED if name not in ("token", "gitlab")]
TIMED = ["standard", "stripe", "slack", "hmac with a timestamp"]


def secret_for(name: str) -> str:
    return STANDARD_SECRET if name == "standard" else "s3cret-of-the-sender"


def signed(name: str, body: bytes = BODY, now: float = NOW) -> dict[str, str]:
    return sign(SCHEMES[name], body, secret_for(name), now, message_id="msg_1")


def check(name: str, headers: Headers, body: bytes = BODY, now: float = NOW) -> Verified | Rejected:
    return verify(SCHEMES[name], headers, body, [secret_for(name)], now)


def reason(result: Verified | Rejected) -> Reason | None:
    return result.reason if isinstance(result, Rejected) else None


class TestPublishedVectors:
    def test_standard_webhooks(self) -> None:
        result = verify(PRESETS["standard"], STANDARD_HEADERS, BODY, [STANDARD_SECRET], NOW)
        assert result == Verified(secret_index=0)
        made = sign(PRESETS["standard"], BODY, STANDARD_SECRET, NOW, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek")
        assert made == STANDARD_HEADERS

    def test_standard_webhooks_without_the_secret_prefix(self) -> None:
        secret = STANDARD_SECRET.removeprefix("whsec_")
        assert verify(PRESETS["standard"], STANDARD_HEADERS, BODY, [secret], NOW) == Verified(secret_index=0)

    def test_standard_webhooks_with_several_signatures(self) -> None:
        wrong = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
        listed = f"v1,{wrong} v2,{wrong} {STANDARD_HEADERS['webhook-signature']} v1a,{wrong} v1,{wrong}"
        headers = {**STANDARD_HEADERS, "webhook-signature": listed}
        assert verify(PRESETS["standard"], headers, BODY, [STANDARD_SECRET], NOW) == Verified(secret_index=0)

    def test_github(self) -> None:
        digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        headers = {"X-Hub-Signature-256": f"sha256={digest}"}
        assert verify(PRESETS["github"], headers, b"Hello, World!", ["It's a Secret to Everybody"], NOW) == Verified(
            secret_index=0
        )

    def test_slack(self) -> None:
        body = (
            b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
            b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
            b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
            b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
        )
        headers = {
            "x-slack-request-timestamp": "1531420618",
            "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        }
        result = verify(PRESETS["slack"], headers, body, ["8f742231b10e8888abcd99yyyzzz85a5"], 1531420618)
        assert result == Verified(secret_index=0)

    def test_stripe_layout(self) -> None:
        digest = hmac.new(b"whsec_x", f"{NOW}.".encode() + BODY, hashlib.sha256).hexdigest()
        headers = {"stripe-signature": f"t={NOW},v1={'0' * 64},v1={digest},v0=ffff"}
        assert verify(PRESETS["stripe"], headers, BODY, ["whsec_x"], NOW) == Verified(secret_index=0)


@pytest.mark.parametrize("name", SIGNED)
class TestEveryScheme:
    def test_a_genuine_delivery_verifies(self, name: str) -> None:
        assert check(name, signed(name)) == Verified(secret_index=0)

    def test_header_names_are_case_insensitive_and_may_be_pairs_of_bytes(self, name: str) -> None:
        pairs = [(key.upper(), value.encode()) for key, value in signed(name).items()]
        assert check(name, pairs) == Verified(secret_index=0)

    def test_the_second_secret_works_during_a_rotation(self, name: str) -> None:
        other = "whsec_" + "A" * 32 if name == "standard" else "another secret"
        assert verify(SCHEMES[name], signed(name), BODY, [other, secret_for(name)], NOW) == Verified(secret_index=1)
        assert reason(verify(SCHEMES[name], signed(name), BODY, [other], NOW)) is Reason.MISMATCH

    @pytest.mark.parametrize("secrets", [[], [""], ["", ""]])
    def test_no_secret_verifies_nothing(self, name: str, secrets: list[str]) -> None:
        assert reason(verify(SCHEMES[name], signed(name), BODY, secrets, NOW)) is Reason.NO_USABLE_SECRET

    def test_an_empty_secret_cannot_be_guessed(self, name: str) -> None:
        if name != "standard":
            forged = sign(SCHEMES[name], BODY, "", NOW, message_id="m")
            assert isinstance(verify(SCHEMES[name], forged, BODY, ["", "real"], NOW), Rejected)

    def test_a_missing_header_is_named(self, name: str) -> None:
        for header in set(signed(name)) - {
            "x-github-delivery",
            "x-gitea-delivery",
            "x-gitlab-event-uuid",
            "x-shopify-webhook-id",
        }:
            headers = {key: value for key, value in signed(name).items() if key != header}
            assert check(name, headers) == Rejected(reason=Reason.MISSING_HEADER, header=header)
            assert check(name, {**headers, header: " "}) == Rejected(reason=Reason.MISSING_HEADER, header=header)

    def test_a_duplicate_header_is_refused_even_if_both_are_right(self, name: str) -> None:
        twice = [*signed(name).items(), *signed(name).items()]
        assert reason(check(name, twice)) is Reason.DUPLICATE_HEADER

    @pytest.mark.parametrize(
        "value", ["é", "\ud800", "\0", "=", ",", "v1,", "v1,é", "t=,v1=", "t=1,t=2", "sha256=", "Bearer é", b"\xff\xfe"]
    )
    def test_odd_headers_are_rejected_without_raising(self, name: str, value: str | bytes) -> None:
        for header in signed(name):
            pairs = [(key, value if key == header else good) for key, good in signed(name).items()]
            result = check(name, pairs)
            assert isinstance(result, Rejected) or header == SCHEMES_DELIVERY.get(name)

    def test_a_megabyte_of_header_is_rejected(self, name: str) -> None:
        header = next(iter(signed(name)))
        assert check(name, {**signed(name), header: "a" * 1_000_000}) == Rejected(
            reason=Reason.HEADER_TOO_LONG, header=header
        )


SCHEMES_DELIVERY = {
    "github": "x-github-delivery",
    "gitea": "x-gitea-delivery",
    "gitlab": "x-gitlab-event-uuid",
    "shopify": "x-shopify-webhook-id",
}


@pytest.mark.parametrize("name", BOUND_TO_BODY)
class TestBodyBinding:
    def test_no_bit_of_the_body_may_flip(self, name: str) -> None:
        headers = signed(name)
        for position in range(len(BODY) * 8):
            mutated = bytearray(BODY)
            mutated[position // 8] ^= 1 << position % 8
            assert reason(check(name, headers, bytes(mutated))) is Reason.MISMATCH

    def test_reserialised_json_is_another_body(self, name: str) -> None:
        again = json.dumps(json.loads(BODY), separators=(",", ":")).encode()
        assert reason(check(name, signed(name), again)) is Reason.MISMATCH

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"\r\n", b"x" * 5_000_000])
    def test_any_bytes_can_be_signed(self, name: str, body: bytes) -> None:
        assert check(name, signed(name, body), body) == Verified(secret_index=0)
        assert reason(check(name, signed(name, body), body + b"\n")) is Reason.MISMATCH


@pytest.mark.parametrize("name", TIMED)
class TestTimestamps:
    @pytest.mark.parametrize(
        ("off", "expected"),
        [
            (0, None),
            (300, None),
            (-300, None),
            (301, Reason.TIMESTAMP_TOO_OLD),
            (-301, Reason.TIMESTAMP_IN_FUTURE),
            (10**6, Reason.TIMESTAMP_TOO_OLD),
        ],
    )
    def test_the_window_is_five_minutes_either_way(self, name: str, off: int, expected: Reason | None) -> None:
        assert reason(check(name, signed(name), now=NOW + off)) is expected

    def test_another_timestamp_is_not_what_was_signed(self, name: str) -> None:
        headers = {key: value.replace(str(NOW), str(NOW + 1)) for key, value in signed(name).items()}
        assert reason(check(name, headers)) is Reason.MISMATCH

    @pytest.mark.parametrize(
        "text", ["1_614_265_330", "+1614265330", "-1", "1e9", "١٦١٤٢٦٥٣٣٠", "1614265330.0", "1" * 13, "0x60", "NaN"]
    )
    def test_only_ascii_digits_are_a_timestamp(self, name: str, text: str) -> None:
        headers = {key: value.replace(str(NOW), text) for key, value in signed(name).items()}
        assert reason(check(name, headers)) is Reason.MALFORMED


@given(data=st.data(), name=st.sampled_from(SIGNED))
def test_a_mutation_of_what_decides_never_verifies(data: st.DataObject, name: str) -> None:
    headers = signed(name)
    header = data.draw(st.sampled_from(sorted(set(headers) - {SCHEMES_DELIVERY.get(name, "")})))
    value = headers[header]
    position = data.draw(st.integers(0, len(value) - 1))
    char = data.draw(st.characters(exclude_characters=value[position] + value[position].swapcase() + " \t,"))
    mutated = value[:position] + char + value[position + 1 :]
    assert isinstance(check(name, {**headers, header: mutated}), Rejected)


@given(data=st.data(), name=st.sampled_from(BOUND_TO_BODY))
def test_another_body_never_verifies(data: st.DataObject, name: str) -> None:
    body = data.draw(st.binary(max_size=200))
    assert isinstance(check(name, signed(name), body), Rejected) == (body != BODY)


@given(
    name=st.sampled_from(list(SCHEMES)),
    headers=st.lists(st.tuples(st.text(), st.text() | st.binary())),
    secrets=st.lists(st.text()),
)
def test_arbitrary_input_never_raises(name: str, headers: list[tuple[str, str | bytes]], secrets: list[str]) -> None:
    known = [(header, value) for header, (_, value) in zip(signed(name), headers, strict=False)]
    assert isinstance(verify(SCHEMES[name], [*headers, *known], b"", secrets, NOW), Verified | Rejected)
    dedupe_key(SCHEMES[name], [*headers, *known])


def test_hex_may_be_upper_case_but_base64_has_one_spelling() -> None:
    github = signed("github")
    upper = {**github, "x-hub-signature-256": "sha256=" + github["x-hub-signature-256"][7:].upper()}
    assert check("github", upper) == Verified(secret_index=0)
    shopify = signed("shopify")
    # The last character before the padding carries unused bits: another one decodes to the same digest.
    value = shopify["x-shopify-hmac-sha256"]
    for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
        changed = value[:-2] + char + "="
        assert isinstance(check("shopify", {**shopify, "x-shopify-hmac-sha256": changed}), Rejected) == (
            changed != value
        )


def test_a_dot_in_the_id_cannot_move_text_between_the_parts() -> None:
    body = f"{NOW + 1}.{{}}".encode()
    genuine = sign(PRESETS["standard"], body, STANDARD_SECRET, NOW, message_id="msg")
    shifted = {**genuine, "webhook-id": f"msg.{NOW}", "webhook-timestamp": str(NOW + 1)}
    assert verify(PRESETS["standard"], genuine, body, [STANDARD_SECRET], NOW) == Verified(secret_index=0)
    assert reason(verify(PRESETS["standard"], shifted, b"{}", [STANDARD_SECRET], NOW)) is Reason.MALFORMED


@pytest.mark.parametrize("secret", ["whsec_", "whsec_%%%", "not base64!", "whsec_é", "\ud800"])
def test_an_unusable_standard_secret_fails_closed(secret: str) -> None:
    assert reason(verify(PRESETS["standard"], STANDARD_HEADERS, BODY, [secret], NOW)) is Reason.NO_USABLE_SECRET
    with pytest.raises(ValueError, match="whsec_"):
        sign(PRESETS["standard"], BODY, secret, NOW)


def test_unsigned_verifies_everything_and_says_so() -> None:
    assert verify(PRESETS["none"], [], b"", [], NOW) == Verified(secret_index=None)


def test_a_token_scheme_is_not_fooled_by_a_prefix_of_the_token() -> None:
    scheme = scheme_named("token", {"header": "X-Hook-Token"})
    assert verify(scheme, {"x-hook-token": "secret"}, b"", ["secret"], NOW) == Verified(secret_index=0)
    for value in ("secre", "secrett", "Secret", "Bearer secret"):
        assert reason(verify(scheme, {"x-hook-token": value}, b"", ["secret"], NOW)) is Reason.MISMATCH


@pytest.mark.parametrize(
    ("name", "headers", "expected"),
    [
        ("standard", {"Webhook-Id": "msg_1"}, "msg_1"),
        ("github", {"X-GitHub-Delivery": "72d3162e-cc78-11e3"}, "72d3162e-cc78-11e3"),
        ("gitlab", {"X-Gitlab-Event-UUID": "u"}, "u"),
        ("shopify", {"X-Shopify-Webhook-Id": "w"}, "w"),
        ("slack", {"x-slack-request-timestamp": "1"}, None),
        ("stripe", {"webhook-id": "m"}, None),
        ("token", {"webhook-id": "m"}, None),
        ("none", {"webhook-id": "m"}, None),
        ("standard", {}, None),
        ("standard", {"webhook-id": ""}, None),
        ("standard", {"webhook-id": "a" * 201}, "sha256:" + hashlib.sha256(b"a" * 201).hexdigest()),
        ("standard", {"webhook-id": "é"}, "sha256:" + hashlib.sha256("é".encode()).hexdigest()),
    ],
)
def test_the_delivery_id_is_the_default_dedupe_key(name: str, headers: dict[str, str], expected: str | None) -> None:
    assert dedupe_key(SCHEMES[name], headers) == expected


def test_two_delivery_ids_are_none() -> None:
    assert dedupe_key(PRESETS["github"], [("x-github-delivery", "a"), ("X-GitHub-Delivery", "b")]) is None


def test_options_of_a_scheme_are_checked_all_at_once() -> None:
    with pytest.raises(SchemeError) as caught:
        scheme_named("hmac", {"header": "bad header", "algorithm": "md5", "encoding": 3, "tolerance": 0, "hedaer": "x"})
    assert len(caught.value.faults) == 5
    cases: list[tuple[str, dict[str, object]]] = [
        ("nope", {}),
        ("hmac", {}),
        ("github", {"header": "x"}),
        ("token", {"prefix": "é"}),
        ("slack", {"tolerance": True}),
    ]
    for name, options in cases:
        with pytest.raises(SchemeError):
            scheme_named(name, options)


def test_presets_take_a_tolerance() -> None:
    strict = scheme_named("standard", {"tolerance": 10})
    assert reason(verify(strict, STANDARD_HEADERS, BODY, [STANDARD_SECRET], NOW + 11)) is Reason.TIMESTAMP_TOO_OLD
