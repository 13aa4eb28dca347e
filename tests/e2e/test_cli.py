"""Stories that are told on the command line: what it prints, where, and how it ends."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stories import Workflows
from tests.support.commands import Finished
from tests.support.stack import OwnStack, Stack
from tests.support.target import Answer, Target
from tests.support.waiting import eventually

Cli = Callable[..., Coroutine[Any, Any, Finished]]

GREETING = """
    name: $name
    description: Greets somebody
    inputs:
      who: {type: string, default: world}
      times: {type: integer, default: 1}
    steps:
      - id: greeting
        transform:
          value: {text: "Hello, ${{ inputs.who }}!", times: "${{ inputs.times }}"}
      - id: route
        switch:
          - if: ${{ inputs.times > 1 }}
            steps: [{id: often, log: again}]
          - else:
            steps: [{id: once, log: "${{ steps.greeting.output.text }}"}]
    output: ${{ steps.greeting.output }}
"""
CALL = """
    name: $name
    steps:
      - id: call
        http: {url: "$target/thing"}
        retry: {max_attempts: 2, initial: 100ms, backoff: constant, jitter: none, on: [5xx]}
      - id: after
        log: done
"""


@pytest.fixture
def cli(stack: Stack) -> Cli:
    """The command, beside the event loop that serves the target."""

    async def call(*arguments: str, expect: int = 0, stdin: str = "", **variables: str) -> Finished:
        return await asyncio.to_thread(stack.cli, *arguments, expect=expect, stdin=stdin, **variables)

    return call


async def test_a_file_is_checked_applied_started_and_read(cli: Cli, workflows: Workflows, tmp_path: Path) -> None:
    name = await workflows.apply(GREETING)
    path = tmp_path / "hello.yaml"
    path.write_text(workflows.filled(GREETING, name=name))

    assert (await cli("workflow", "validate", str(path))).output.split() == [str(path), name]
    applied = await cli("workflow", "apply", str(path), "-o", "json")
    assert applied.json()["results"][0]["change"] == "UNCHANGED"
    done = await cli("run", "start", name, "-i", "who=Ada", "-i", "times=1", "--follow")
    assert "✓ SUCCEEDED  greeting" in done.output
    assert "next: taskforge run output" in done.errors

    run = (await cli("run", "list", "--workflow", name, "-o", "json")).json()["runs"][0]
    run_id = run["name"].removeprefix("runs/")
    assert run["state"] == "SUCCEEDED"
    output = (await cli("run", "output", run_id)).json()
    assert output == {"text": "Hello, Ada!", "times": 1}
    assert (await cli("run", "output", run_id, "greeting", "-o", "json")).json() == output
    assert (await cli("run", "logs", run_id)).output == "once  Hello, Ada!\n"
    shown = await cli("run", "show", run_id)
    assert "✓ route" in shown.output
    assert "often  not taken" in shown.output
    assert (await cli("workflow", "show", name, "--source")).output == path.read_text()


async def test_a_run_is_named_by_a_prefix_of_its_id(cli: Cli, workflows: Workflows) -> None:
    name = await workflows.apply(GREETING)
    started = (await cli("run", "start", name, "--wait", "-o", "json")).json()
    run_id = started["name"].removeprefix("runs/")
    assert started["state"] == "SUCCEEDED"
    assert (await cli("run", "show", run_id[:23], "-o", "json")).json()["name"] == f"runs/{run_id}"
    assert (await cli("run", "start", name)).output.strip() != run_id
    assert (await cli("run", "show", "@last", "-o", "name")).output.startswith("runs/")


async def test_a_run_that_fails_ends_with_10_and_its_step_is_run_again(
    cli: Cli, workflows: Workflows, target: Target
) -> None:
    target.answer("/thing", Answer(status=500), Answer(status=500), Answer(json={"ok": True}))
    name = await workflows.apply(CALL)
    failed = await cli("run", "start", name, "--wait", expect=10)
    run_id = failed.output.split()[0]
    assert "answered 500" in failed.errors
    assert f"next: taskforge run retry {run_id[:13]}" in failed.errors
    letters = (await cli("dead-letter", "list", "--workflow", name, "-o", "json")).json()["dead_letters"]
    assert [(letter["step"], letter["attempts"]) for letter in letters] == [("call", 2)]

    redriven = await cli("dlq", "redrive", letters[0]["name"], "-m", "it is up again")
    assert "REDRIVEN" in redriven.output
    assert "✓ SUCCEEDED  after" in (await cli("run", "watch", run_id)).output
    closed = await cli("dead-letter", "discard", letters[0]["name"], expect=6)
    assert "error[DEAD_LETTER_CLOSED]" in closed.errors


async def test_waiting_may_end_before_the_run_and_a_cancelled_run_ends_with_11(
    cli: Cli, workflows: Workflows, target: Target
) -> None:
    gate = target.hold("/thing")
    name = await workflows.apply(CALL)
    waited = await cli("run", "start", name, "--wait", "--timeout", "1s", "-o", "json", expect=8)
    assert json.loads(waited.errors)["error"]["code"] == "WAIT_TIMED_OUT"
    run = (await cli("run", "list", "--workflow", name, "--jq", ".runs[0].name")).output.strip()
    assert "CANCELLING" in (await cli("run", "cancel", run, "-m", "enough")).output
    gate.set()
    assert "CANCELLED" in (await cli("run", "watch", run, expect=11)).output
    assert "cancel" in (await cli("run", "events", run)).output


async def test_inputs_are_read_by_their_declared_types(cli: Cli, workflows: Workflows, tmp_path: Path) -> None:
    name = await workflows.apply(GREETING)
    wrong = await cli("run", "start", name, "-i", "times=often", expect=2)
    assert "error[INPUT_SYNTAX]: input times is an integer" in wrong.errors
    unknown = await cli("run", "start", name, "-i", "tmies=1", expect=2)
    assert "did you mean 'times'?" in unknown.errors
    refused = await cli("run", "start", name, "--input-file", "-", stdin='{"times": "x"}', expect=2)
    assert "error[INPUTS_INVALID]" in refused.errors
    assert "inputs.times:" in refused.errors
    inputs = tmp_path / "inputs.yaml"
    inputs.write_text('times: 3\nwho: "12"\n')
    done = await cli("run", "start", name, "--input-file", str(inputs), "-i", "times=2", "--wait", "-o", "json")
    assert done.json()["output"] == {"text": "Hello, 12!", "times": 2}


async def test_the_same_idempotency_key_answers_with_the_same_run(cli: Cli, workflows: Workflows) -> None:
    name = await workflows.apply(GREETING)
    first, second = [await cli("run", "start", name, "--idempotency-key", "build-1") for _ in range(2)]
    assert first.output == second.output
    other = await cli("run", "start", name, "--idempotency-key", "build-1", "-i", "who=Lin", expect=6)
    assert "error[IDEMPOTENCY_KEY_REUSED]" in other.errors


async def test_errors_name_their_code_and_the_next_command(cli: Cli, stack: Stack, tmp_path: Path) -> None:
    missing = await cli("run", "show", "00000000-0000-7000-8000-000000000000", expect=5)
    assert missing.output == ""
    assert missing.errors.startswith("error[RUN_NOT_FOUND]")
    assert "\n  = " in missing.errors
    document = json.loads((await cli("workflow", "show", "nobody", "-o", "json", expect=5)).errors)
    assert document["error"]["code"] == "WORKFLOW_NOT_FOUND"
    refused = await cli("run", "list", expect=4, TASKFORGE_SERVER=stack.server, TASKFORGE_TOKEN="wrong")
    assert "error[TOKEN_INVALID]" in refused.errors
    away = await cli("run", "list", "--server", "http://127.0.0.1:9", expect=7)
    assert "error[SERVER_UNREACHABLE]: cannot reach http://127.0.0.1:9" in away.errors
    nowhere = await cli("run", "list", expect=6, TASKFORGE_HOME=str(tmp_path), TASKFORGE_SERVER="", TASKFORGE_TOKEN="")
    assert "taskforge init" in nowhere.errors


async def test_a_faulty_file_is_refused_before_it_is_sent(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nsteps:\n  - {id: a, lgo: hi}\n")
    refused = await cli("workflow", "apply", str(path), expect=3)
    assert f"--> {path}:3:" in refused.errors
    document = (await cli("workflow", "validate", str(path), "-o", "json", expect=3)).json()
    assert document["files"][0]["valid"] is False
    assert document["files"][0]["problems"][0]["line"] == 3


async def test_a_secret_comes_from_standard_input_and_never_comes_out(cli: Cli, tmp_path: Path) -> None:
    value, name = "s3cr3t-v4lu3", f"STORY_{secrets.token_hex(5).upper()}"
    try:
        stored = await cli("secret", "set", name, stdin=f"{value}\n")
        assert f"stored secret {name}, version 1" in stored.errors
        path = tmp_path / "key"
        path.write_text(f"{value}\n")
        await cli("secret", "set", name, "--from-file", str(path))
        listed = await cli("secret", "list", "-o", "json")
        assert value not in listed.output
        assert [s["version"] for s in listed.json()["secrets"] if s["name"] == f"secrets/{name}"] == [2]
        assert "error[SECRET_EMPTY]" in (await cli("secret", "set", name, expect=2)).errors
        refused = await cli("secret", "delete", name, expect=2)
        assert "error[CONFIRMATION_MISSING]" in refused.errors
    finally:
        await cli("secret", "delete", name, "--yes")


async def test_webhooks_and_schedules_are_found(cli: Cli, stack: Stack, workflows: Workflows) -> None:
    name = await workflows.apply(
        """
        name: $name
        triggers:
          - id: door
            webhook: {verify: {scheme: none}}
          - id: morning
            cron: "0 7 * * *"
            timezone: Europe/Berlin
        steps: [{id: a, log: hi}]
        """
    )
    url = (await cli("webhook", "url", name)).output.strip()
    assert url.startswith(f"{stack.server}/hooks/{name}/door/")
    assert (await cli("webhook", "url", name, "door", "-o", "json")).json()["url"] == url
    assert "error[WEBHOOK_NOT_FOUND]" in (await cli("webhook", "url", name, "window", expect=5)).errors
    await cli("api", "POST", url.removeprefix(stack.server), "--input", "-", stdin="{}")

    async def accepted() -> None:  # the answer waits for the run, not for the verdict's own row
        deliveries = (await cli("webhook", "deliveries", name, "-o", "json")).json()["deliveries"]
        assert [delivery["verdict"] for delivery in deliveries] == ["ACCEPTED"]

    await eventually(accepted)
    ticks = (await cli("schedule", "next", name, "-n", "3", "-o", "json")).json()["next_ticks"]
    assert len(ticks) == 3
    assert all("T07:00:00" in tick["local_time"] for tick in ticks)
    assert name in (await cli("schedule", "list", "--workflow", name)).output


async def test_a_raw_call_goes_through_the_edge(cli: Cli, workflows: Workflows) -> None:
    name = await workflows.apply(GREETING)
    started = await cli("api", "POST", f"/v1/workflows/{name}:start", "-f", 'inputs={"who": "Lin"}')
    assert started.json()["workflow"] == f"workflows/{name}"
    names = await cli("api", "GET", "v1/runs", "-f", f"workflow=workflows/{name}", "--jq", ".runs[].name")
    assert names.output.strip() == started.json()["name"]
    missing = await cli("api", "GET", "/v1/runs/00000000-0000-7000-8000-000000000000", expect=5)
    assert missing.json()["code"] == 5
    assert "error[RUN_NOT_FOUND]" in missing.errors


async def test_status_tells_where_the_server_is(cli: Cli, stack: Stack) -> None:
    document = (await cli("status", "-o", "json")).json()
    assert document["server"] == stack.server
    assert document["healthy"] is True
    assert document["status"]["version"]
    if stack.is_local:
        assert {"gateway", "scheduler", "ingest", "edge"} <= {row["name"] for row in document["processes"]}


async def test_a_check_finds_what_somebody_changed_in_the_database(
    cli: Cli, own_stack: OwnStack, workflows: Workflows
) -> None:
    name = await workflows.apply(GREETING)
    await cli("run", "start", name, "--wait")
    clean = await cli("admin", "check", "--since", "1h", "--workflow", name)
    assert (clean.output, clean.errors) == ("", "1 run, 5 steps, 0 schedules checked: no violation\n")
    async with own_stack.database() as connection:
        await connection.execute("UPDATE runs SET seq = seq + 1 WHERE workflow = $1", name)
    broken = await cli("admin", "check", "--workflow", name, "-o", "json", expect=1)
    assert [violation["invariant"] for violation in broken.json()["violations"]] == ["I5"]
    async with own_stack.database() as connection:
        await connection.execute("UPDATE runs SET seq = seq - 1 WHERE workflow = $1", name)


async def test_everything_that_these_stories_did_holds(cli: Cli, own_stack: OwnStack) -> None:
    assert (await cli("admin", "check", "-o", "json")).json()["violations"] == []


async def test_the_doctor_finds_a_healthy_stack_healthy(cli: Cli, own_stack: OwnStack) -> None:
    checks = (await cli("doctor", "-o", "json")).json()["checks"]
    assert [check for check in checks if check["verdict"] == "fail"] == []
    assert "server" in {check["name"] for check in checks}
    assert "started" in (await cli("logs", "gateway", "--tail", "50")).output


async def test_init_and_up_are_harmless_to_repeat(cli: Cli, own_stack: OwnStack) -> None:
    before = own_stack.pids()
    for command in ("init", "--init"):
        done = (await cli(command, "-o", "json")).json()
        assert (done["server"], done["started"]) == (own_stack.server, False)
    assert (await cli("up")).output == f"{own_stack.server}\n"
    assert own_stack.pids() == before
    assert (await cli("config", "token")).output.strip() == own_stack.token
    assert own_stack.token not in (await cli("config", "list", "--origin")).output


async def test_following_outlives_the_gateway(own_stack: OwnStack, workflows: Workflows, target: Target) -> None:
    gate = target.hold("/thing")
    name = await workflows.apply(CALL)
    with own_stack.begin("run", "start", name, "--follow") as following:
        # Then the start has been answered: whether one is whose answer was lost, nobody knows.
        await eventually(lambda: _assert("RUNNING    call" in following.output))
        own_stack.kill("gateway")
        gate.set()
        done = await asyncio.to_thread(following.end)
    assert "connection lost, trying again" in done.errors
    assert "✓ SUCCEEDED  after" in done.output


def _assert(holds: bool) -> None:
    assert holds


async def test_a_reader_that_goes_away_is_no_fault(stack: Stack, workflows: Workflows) -> None:
    await workflows.apply(GREETING)
    command = "{ taskforge workflow list; echo $? >&2; } | head -c 1 >/dev/null"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        command,
        env={**stack.environment, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert errors == b"0\n"
