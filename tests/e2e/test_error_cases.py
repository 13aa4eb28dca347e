"""The faults that everybody meets: each says what is wrong and what to do next, and ends with its documented code."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stories import Workflows
from tests.support.places import free_port
from tests.support.stack import OwnStack, Stack
from tests.support.target import Target

GREET = """
    name: $name
    inputs:
      who: {type: string}
      times: {type: integer, default: 1}
    steps:
      - {id: greet, transform: {value: "hello ${{ inputs.who }}"}}
"""
BROKEN = """\
name: broken
steps:
  - id: fetch
    http: {url: "https://example.com", methd: GET}
  - id: shape
    transform: {value: "${{ steps.fecth.output.body }}"}
  - id: wait
    timeout: 5 parsecs
    log: done
"""


def fails(stack: Stack, *command: str, exit_code: int, code: str, **variables: str) -> dict[str, Any]:
    """Run a command that must fail, for a person and for a program; what the program is told."""
    shown = stack.cli(*command, expect=exit_code, **variables)
    assert not shown.output
    assert f"[{code}]" in shown.errors
    assert "\n  = " in shown.errors, "it does not say what to do next"
    assert "Traceback" not in shown.errors
    told: dict[str, Any] = json.loads(stack.cli(*command, "-o", "json", expect=exit_code, **variables).errors)["error"]
    assert (told["code"], told["exit_code"]) == (code, exit_code)
    assert told["hint"]
    return told


def test_the_server_is_down(stack: Stack) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    told = fails(stack, "run", "list", "--server", server, exit_code=7, code="SERVER_UNREACHABLE")
    assert server in told["message"]
    assert told["hint"] == "start it with: taskforge up"


def test_the_token_is_wrong(stack: Stack) -> None:
    told = fails(stack, "run", "list", exit_code=4, code="TOKEN_INVALID", TASKFORGE_TOKEN="tf_wrong")
    assert "tf_wrong" not in json.dumps(told)


def test_the_workflow_is_unknown(stack: Stack) -> None:
    told = fails(stack, "run", "start", "nobody-knows-it", exit_code=5, code="WORKFLOW_NOT_FOUND")
    assert "nobody-knows-it" in told["message"]


def test_the_run_is_unknown(stack: Stack) -> None:
    fails(stack, "run", "show", "00000000-0000-7000-8000-000000000000", exit_code=5, code="RUN_NOT_FOUND")


@pytest.mark.parametrize("command", ["validate", "apply"])
def test_a_file_has_three_faults(command: str, stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN, encoding="utf-8")
    shown = stack.cli("workflow", command, str(file), expect=3).errors
    for place in ("broken.yaml:4:40", "broken.yaml:6:29", "broken.yaml:8:14"):
        assert place in shown
    for help_text in ("did you mean 'method'?", "did you mean 'fetch'?", "write it like 30s"):
        assert help_text in shown
    assert "Traceback" not in shown


async def test_an_input_is_missing(stack: Stack, workflows: Workflows) -> None:
    name = await workflows.apply(GREET)
    told = fails(stack, "run", "start", name, exit_code=2, code="INPUTS_INVALID")
    assert [detail["field"] for detail in told["details"]] == ["inputs.who"]
    assert "required" in told["details"][0]["description"] or "missing" in told["details"][0]["description"]


async def test_an_input_has_the_wrong_type(stack: Stack, workflows: Workflows, tmp_path: Path) -> None:
    name = await workflows.apply(GREET)
    given = ("run", "start", name, "-i", "who=you", "-i", "times=many")
    told = fails(stack, *given, exit_code=2, code="INPUT_SYNTAX")
    assert "times is an integer" in told["message"]

    file = tmp_path / "inputs.json"  # a file is judged by the server
    file.write_text('{"who": "you", "times": "many"}', encoding="utf-8")
    told = fails(stack, "run", "start", name, "--input-file", str(file), exit_code=2, code="INPUTS_INVALID")
    assert [detail["field"] for detail in told["details"]] == ["inputs.times"]
    assert "whole number" in told["details"][0]["description"]


async def test_a_run_fails(stack: Stack, workflows: Workflows) -> None:
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: check, fail: this cannot work}
    """)
    assert "this cannot work" in stack.cli("run", "start", name, "--wait", expect=10).errors


async def test_a_run_takes_longer_than_somebody_waits(stack: Stack, workflows: Workflows, target: Target) -> None:
    target.hold("/slow")
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: call, http: {url: $target/slow}}
    """)
    done = await asyncio.to_thread(stack.cli, "run", "start", name, "--wait", "--timeout", "1s", expect=8)
    assert "[WAIT_TIMED_OUT]" in done.errors


def test_the_port_is_taken(own_stack: OwnStack, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        elsewhere = {"TASKFORGE_HOME": str(tmp_path / "home")}
        told = fails(own_stack, "init", "--port", port, exit_code=6, code="PORT_TAKEN", **elsewhere)
    assert f"port {port} is taken by" in told["message"]
