"""Secrets come in, are sealed, and never go out."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from taskforge.security.keyring import KeyRing
from taskforge.v1 import secret_service_pb2 as pb
from tests.support.engine import Engine
from tests.support.gateway import Api, Platform

VALUE = "c4nary-s3cret-v4lue"
WORKFLOW = """
name: NAME
triggers:
  - {id: push, webhook: {verify: {scheme: github, secret: GH_HOOK}}}
steps:
  - id: call
    http: {url: "http://localhost/", headers: {authorization: "Bearer ${{ secrets.GH_TOKEN }}"}}
"""


async def put(api: Api, name: str, value: str = VALUE) -> Any:
    return await api.call(api.secrets.SetSecret, pb.SetSecretRequest(name=f"secrets/{name}", value=value))


async def listed(api: Api, **fields: Any) -> Any:
    return await api.call(api.secrets.ListSecrets, pb.ListSecretsRequest(**fields))


async def test_a_value_is_sealed_for_its_name_and_version(api: Api, engine: Engine, platform: Platform) -> None:
    first = await put(api, "GH_TOKEN")
    second = await put(api, "GH_TOKEN", "another")
    assert (first.version, second.version) == (1, 2)
    assert first.create_time == second.create_time
    assert second.update_time.ToNanoseconds() > first.update_time.ToNanoseconds()
    [row] = await engine.fetch("SELECT version, sealed FROM secrets WHERE name = 'GH_TOKEN'")
    assert platform.keyring.open("GH_TOKEN", 2, row["sealed"]) == b"another"
    assert VALUE.encode() not in row["sealed"]


async def test_setting_the_same_value_again_changes_nothing(api: Api, engine: Engine) -> None:
    await put(api, "GH_TOKEN")
    assert (await put(api, "GH_TOKEN")).version == 1
    assert len(await engine.fetch("SELECT 1 FROM audit")) == 1


async def test_setting_a_value_again_seals_it_with_the_active_key(platform: Platform, engine: Engine) -> None:
    async with platform.gateway() as api:
        await put(api, "GH_TOKEN")
    rotated = Platform(
        folder=platform.folder,
        database=platform.database,
        admin_token=platform.admin_token,
        internal_token=platform.internal_token,
        keyring=platform.keyring.rotated("k2"),
    )
    async with rotated.gateway() as api:
        assert (await put(api, "GH_TOKEN")).version == 2
    [row] = await engine.fetch("SELECT sealed FROM secrets")
    assert rotated.keyring.is_current(row["sealed"])


async def test_a_secret_whose_key_is_lost_can_be_set_again(platform: Platform) -> None:
    async with platform.gateway() as api:
        await put(api, "GH_TOKEN")
    lost = Platform(
        folder=platform.folder,
        database=platform.database,
        admin_token=platform.admin_token,
        internal_token=platform.internal_token,
        keyring=KeyRing.generate(),
    )
    async with lost.gateway() as api:
        assert (await put(api, "GH_TOKEN")).version == 2


async def test_two_callers_never_make_the_same_version(api: Api) -> None:
    secrets = await asyncio.gather(*(put(api, "GH_TOKEN", f"v{index}") for index in range(10)))
    assert sorted(secret.version for secret in secrets) == list(range(1, 11))


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("gh_token", "x", "name"),
        ("1X", "x", "name"),
        ("A" * 64, "x", "name"),
        ("A-B", "x", "name"),
        ("", "x", "name"),
        ("GH_TOKEN", "", "value"),
        ("GH_TOKEN", "x" * (64 * 1024 + 1), "value"),
        ("GH_TOKEN", "ä" * (32 * 1024 + 1), "value"),
    ],
)
async def test_wrong_names_and_values_are_refused_and_never_echoed(api: Api, name: str, value: str, field: str) -> None:
    refusal = await api.refused(api.secrets.SetSecret, pb.SetSecretRequest(name=f"secrets/{name}", value=value))
    assert (refusal.reason, list(refusal.violations)) == ("FIELD_INVALID", [field])
    assert "xx" not in refusal.message + str(refusal.bad)


async def test_the_largest_value_is_taken(api: Api) -> None:
    assert (await put(api, "A" * 63, "x" * 64 * 1024)).version == 1


async def test_lists_name_the_workflows_that_use_a_secret(api: Api) -> None:
    await api.apply(*(WORKFLOW.replace("NAME", name) for name in ("b", "a")))
    for name in ("GH_TOKEN", "GH_HOOK", "UNUSED"):
        await put(api, name)
    first = await listed(api, page_size=2)
    rest = await listed(api, page_size=2, page_token=first.next_page_token)
    assert {one.name: list(one.used_by) for page in (first, rest) for one in page.secrets} == {
        "secrets/GH_HOOK": ["workflows/a", "workflows/b"],
        "secrets/GH_TOKEN": ["workflows/a", "workflows/b"],
        "secrets/UNUSED": [],
    }


async def test_a_used_secret_is_deleted_only_by_force(api: Api, engine: Engine) -> None:
    await api.apply(WORKFLOW.replace("NAME", "demo"))
    await put(api, "GH_TOKEN")
    request = pb.DeleteSecretRequest(name="secrets/GH_TOKEN")
    refusal = await api.refused(api.secrets.DeleteSecret, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SECRET_IN_USE")
    assert refusal.metadata["workflows"] == "demo"
    assert len((await listed(api)).secrets) == 1
    request.force = True
    await api.call(api.secrets.DeleteSecret, request)
    assert (await api.refused(api.secrets.DeleteSecret, request)).reason == "SECRET_NOT_FOUND"
    entries = await engine.fetch("SELECT action, detail FROM audit WHERE action LIKE 'secret.%' ORDER BY audit_id")
    assert [(e["action"], json.loads(e["detail"])) for e in entries] == [
        ("secret.set", {"version": 1}),
        ("secret.delete", {"force": True, "used_by": ["demo"]}),
    ]


async def test_no_value_is_anywhere_in_the_database_or_in_an_answer(api: Api, engine: Engine) -> None:
    secret = await put(api, "GH_TOKEN")
    assert VALUE not in str(secret)
    assert VALUE not in str(await listed(api))
    for table in ("secrets", "audit"):
        rows = await engine.fetch(f"SELECT t::text AS text FROM {table} t")  # noqa: S608
        assert rows
        assert not [row for row in rows if VALUE in row["text"] or VALUE.encode().hex() in row["text"]]
