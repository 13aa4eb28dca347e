"""The command tree: what every command has in common."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from google.protobuf import descriptor_pool

import taskforge_cli
from taskforge_cli.commanding import Group
from taskforge_cli.main import root, run
from tests.support.cli_reference import pages

_SOURCES = Path(taskforge_cli.__file__).parent
_METHOD = re.compile(r"\w+Service/\w+")


def paths(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command of the tree."""
    command = command or root()
    yield path
    if isinstance(command, Group):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from paths(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize("path", list(paths()), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    assert capsys.readouterr().out.startswith(" ".join(["Usage: taskforge", *path]))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_manual_is_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == pages()[page], "run: python -m tests.support.cli_reference"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "start", "--help"], ["version"]])
def test_nothing_heavy_is_imported_without_need(arguments: list[str]) -> None:
    heavy = ("grpc", "google", "rich", "yaml", "pydantic", "taskforge", "http.client", "asyncio")
    allowed = ("grpc", "google", "taskforge") if "run" in arguments else ()
    code = f"import sys; from taskforge_cli.main import run; run({arguments!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {name for name in heavy if name in done.stderr.split()} - set(allowed)
    assert found - ({"asyncio"} if allowed else set()) == set()


def calls() -> Iterator[tuple[str, str, str]]:
    """Service, method and answer of every call in the sources."""
    for path in _SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            first, *others = node.args if isinstance(node, ast.Call) and node.args else [None]
            if isinstance(first, ast.Constant) and _METHOD.fullmatch(str(first.value)):
                service, _, method = str(first.value).partition("/")
                yield service, method, getattr(others[1], "id", "")


def test_calls_name_methods_that_exist_and_their_answers() -> None:
    found = list(calls())
    assert len(found) > 20
    for service, method, answer in found:
        import_module(f"taskforge.v1.{_module(service)}_pb2")
        described = descriptor_pool.Default().FindServiceByName(f"taskforge.v1.{service}").methods_by_name[method]
        assert (service, method, described.output_type.name) == (service, method, answer)


def test_an_unknown_command_says_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rnu", "list"]) == 2
    errors = capsys.readouterr().err
    assert "error[USAGE]: No such command 'rnu'. Did you mean 'run'?" in errors
    assert "= help:  taskforge --help" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "start"],
        ["run", "list", "--limit", "x"],
        ["run", "show"],
        ["status", "--nope"],
        ["-o", "xml", "version"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "error[USAGE]" in capsys.readouterr().err


def test_global_options_work_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["-o", "json", "version"], ["version", "-o", "json"], ["version", "--json"]):
        assert run(arguments) == 0
        assert capsys.readouterr().out.startswith('{"version":')
    assert run(["version", "-q", ".version"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"


@pytest.mark.parametrize("words", [["ls"], ["list"]])
def test_aliases_are_the_same_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wf", *words, "--help"]) == 0
    assert "List workflows by name." in capsys.readouterr().out


def test_errors_before_the_command_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nope", "-o", "json"]) == 2
    assert capsys.readouterr().err.startswith('{"error": {"code": "USAGE"')


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "exit-codes"),
        (["exit-codes"], "130  Ctrl-C"),
        (["environment"], "TASKFORGE_SERVER"),
        (["formatting"], "--jq"),
        (["expressions"], "${{"),
        (["TF1102"], "TF1102: an unknown key"),
        (["run_not_found"], "exit code 5"),
        (["SERVER_UNREACHABLE"], "exit code 7"),
        (["STACK_DOWN"], "The stack is down."),
        (["run", "start"], "Usage: taskforge run start"),
    ],
)
def test_help_explains_topics_codes_and_commands(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["help", *words]) == 0
    assert text in capsys.readouterr().out


def test_an_unknown_topic_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "nope"]) == 5
    assert "topics: exit-codes, environment" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    code = f"from taskforge_cli.main import main; main(['completion', '{shell}'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "_TASKFORGE_COMPLETE" in done.stdout


def test_a_fault_of_ours_shows_no_traceback_unless_it_is_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TASKFORGE_HOME", str(tmp_path))
    monkeypatch.setattr("taskforge_cli.commands.version.client_version", _broken)
    assert run(["version"]) == 1
    assert "Traceback" not in (first := capsys.readouterr().err)
    assert "error[UNEXPECTED]: RuntimeError: broken" in first
    assert run(["version", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_destroying_asks_and_fails_where_nobody_can_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFORGE_SERVER", "http://127.0.0.1:1")
    assert run(["workflow", "delete", "hello", "--no-input"]) == 2
    assert "give --yes" in capsys.readouterr().err


def _broken() -> str:
    raise RuntimeError("broken")


def _module(service: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", service).lower()
