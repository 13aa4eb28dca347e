"""The commands about the stack, as far as they go without one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from taskforge_cli.commands.status import _as_unreachable, _show
from taskforge_cli.context import Server
from taskforge_cli.errors import CliError
from taskforge_cli.main import run
from taskforge_cli.output import Format, Output
from taskforge_cli.stack.status import ProcessStatus, StackStatus
from tests.unit.cli.test_commands import paths


@pytest.mark.parametrize("path", list(paths()), ids=" ".join)
def test_no_help_shows_what_stands_for_an_option_that_is_not_given(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run([*path, "--help"])
    assert re.findall(r"\[default: (?:-\d+|0|None|)\]", capsys.readouterr().out) == []


@pytest.mark.parametrize("option", [["--executors", "-5"], ["--port", "0"], ["--port", "65536"]])
def test_a_number_that_cannot_be_is_told(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKFORGE_HOME", str(tmp_path))
    (tmp_path / "config").write_text("version = 1\n", encoding="utf-8")
    assert run(["up", *option, "-o", "json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "CONFIG_INVALID"


def test_no_answer_in_time_is_no_answer() -> None:
    shown = _as_unreachable(CliError("CALL_TIMED_OUT", "it did not answer in time", hints=["taskforge status"]))
    assert (shown.code, shown.exit_code, shown.hints) == (
        "SERVER_UNREACHABLE",
        7,
        ("look deeper: taskforge doctor",),
    )
    other = CliError("TOKEN_INVALID", "no")
    assert _as_unreachable(other) is other


@pytest.mark.parametrize(("project", "hidden"), [("some", True), ("", False)])
def test_a_table_of_containers_has_no_columns_that_docker_does_not_fill(
    project: str, hidden: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    row = ProcessStatus(
        name="gateway",
        state="RUNNING",
        pid=None,
        listen="",
        metrics="",
        memory_bytes=0,
        uptime_seconds=83.0,
        healthy=True,
        message="",
    )
    stack = StackStatus(running=True, healthy=True, url="", processes=(row,), project=project)
    server = Server(url="http://127.0.0.1:7610", token="", context="compose", origin="file")
    _show(Output(Format.TABLE), server, stack, None)
    shown = capsys.readouterr().out
    assert "1m23s" in shown
    assert ("PID" not in shown) is hidden
