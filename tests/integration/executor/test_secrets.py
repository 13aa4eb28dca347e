"""Secrets reach the request and nothing else."""

from __future__ import annotations

import base64

from tests.integration.executor.conftest import Floor
from tests.support.target import Answer, Target

SECRET = 'p"ä-0f9c2e77-value'


async def everything_stored(floor: Floor) -> str:
    """All text of the runtime tables."""
    tables = ("runs", "steps", "attempts", "events", "logs", "dead_letters")
    rows = [row for table in tables for row in await floor.fetch(f"SELECT t::text AS text FROM {table} AS t")]  # noqa: S608
    return "\n".join(row["text"] for row in rows)


async def test_a_secret_is_sent_and_masked_wherever_it_comes_back(floor: Floor, target: Target) -> None:
    await floor.set_secret("TOKEN", SECRET)
    again = base64.b64encode(SECRET.encode()).decode()
    echo = {"seen": f"Bearer {SECRET}", "again": again, SECRET: 1}
    target.answer("/ok", Answer(json=echo))
    target.answer("/bad", Answer(status=500, body=SECRET.encode()))
    run = await floor.run(f"""
name: demo
steps:
  - id: a
    http: {{method: POST, url: "{target.url("/ok")}", auth: {{bearer: "${{{{ secrets.TOKEN }}}}"}}}}
  - {{id: b, log: "${{{{ steps.a.output.body.seen }}}}"}}
  - id: c
    http: {{method: POST, url: "{target.url("/bad")}", headers: {{x-key: "${{{{ secrets.TOKEN }}}}"}}}}
""")
    assert run.state == "FAILED"
    assert (
        target.on("/ok")[0].headers["authorization"].encode("utf-8", "surrogateescape").decode() == f"Bearer {SECRET}"
    )
    body = (await floor.output(run.run_id, 0))["body"]
    assert body["seen"] == "Bearer •••"
    assert body["again"] == "•••"
    assert body["•••"] == 1
    stored = await everything_stored(floor)
    assert "•••" in stored
    assert SECRET not in stored
    assert "0f9c2e77" not in stored
    assert again not in stored
    assert "0f9c2e77" not in (floor.services.folder / "executor.log").read_text()


async def test_a_missing_secret_fails_the_step_and_says_what_to_do(floor: Floor, target: Target) -> None:
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: GET, url: "{target.url("/x")}", headers: {{x: "${{{{ secrets.NOT_THERE }}}}"}}}}}}
""")
    assert (run.state, run.error["kind"]) == ("FAILED", "secret")
    assert "'NOT_THERE' is not set" in run.error["message"]
    assert not target.on("/x")


async def test_a_secret_that_was_swapped_in_the_database_does_not_open(floor: Floor, target: Target) -> None:
    await floor.set_secret("ONE", "first-value")
    await floor.set_secret("TWO", "second-value")
    await floor.execute(
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'ONE') WHERE name = 'TWO'"
    )
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: GET, url: "{target.url("/x")}", headers: {{x: "${{{{ secrets.TWO }}}}"}}}}}}
""")
    assert (run.state, run.error["kind"]) == ("FAILED", "secret")
    assert not target.on("/x")
