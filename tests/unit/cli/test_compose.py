from __future__ import annotations

from pathlib import Path

import pytest

from taskforge_cli.stack import docker, envfile, ports
from taskforge_cli.stack.compose import ComposeStack, up_arguments
from taskforge_cli.stack.config import load
from taskforge_cli.stack.errors import CheckoutMissing, ConfigInvalid, DockerUnavailable, NoSuchProcess, NotInitialised
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import Options
from tests.support.places import ROOT

# Says what a Docker with the Compose plugin and one running container would say.
_DOCKER = """#!/bin/sh
if [ "$1" = ps ]; then
  printf 'executor\\t2\\trunning\\tUp 5 minutes (healthy)\\t\\n'
  printf 'migrate\\t1\\texited\\tExited (0) 1 minute ago\\t\\n'
fi
"""


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: True)


def _program(folder: Path, text: str, name: str = "docker") -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_the_command_line_names_project_environment_and_file() -> None:
    line = docker.compose_line(("docker", "compose"), Path("deploy"), Path("home/.env"), *up_arguments(3))
    assert " ".join(line) == (
        "docker compose --project-name taskforge --env-file home/.env -f deploy/compose.yaml "
        "up -d --build --scale executor=3"
    )


def test_deploy_is_found_from_a_checkout_and_nowhere_else(tmp_path: Path) -> None:
    assert docker.find_deploy(ROOT / "cli" / "taskforge_cli") == ROOT / "deploy"
    with pytest.raises(CheckoutMissing) as caught:
        docker.find_deploy(tmp_path / "site-packages" / "taskforge_cli")
    assert "clone" in caught.value.hint


def test_without_docker_nothing_is_created(tmp_path: Path) -> None:
    stack = ComposeStack(Home(tmp_path / "home"), {"PATH": ""})
    with pytest.raises(DockerUnavailable) as caught:
        stack.init(Options(runtime="compose"))
    assert (caught.value.code, caught.value.exit_code, bool(caught.value.hint)) == ("DOCKER_UNAVAILABLE", 7, True)
    assert not (tmp_path / "home").exists()


def test_a_daemon_that_does_not_answer_is_told_with_its_reason(tmp_path: Path) -> None:
    environ = _program(tmp_path / "bin", "#!/bin/sh\necho 'no daemon here' >&2\nexit 1\n")
    with pytest.raises(DockerUnavailable, match="no daemon here"):
        docker.locate(environ)


def test_the_older_compose_is_taken_where_the_plugin_is_missing(tmp_path: Path) -> None:
    _program(tmp_path / "bin", '#!/bin/sh\n[ "$1" = version ]\n')
    environ = _program(tmp_path / "bin", "#!/bin/sh\n", "docker-compose")
    assert docker.locate(environ).compose == (str(tmp_path / "bin" / "docker-compose"),)


def test_init_is_idempotent_and_records_the_context(tmp_path: Path) -> None:
    home, port = Home(tmp_path / "home"), 7777
    stack = ComposeStack(home, _program(tmp_path / "bin", _DOCKER))
    made = stack.init(Options(runtime="compose", port=port))
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    token = (home.root / "compose" / "secrets" / "admin-token").read_text(encoding="utf-8").strip()
    found = load(home, {})
    assert made.url == f"http://127.0.0.1:{port}" == found.value("server")
    assert (found.value("runtime"), found.value("context"), found.value("token")) == ("compose", "compose", token)
    assert home.config_file in made.created
    assert stack.init().created == ()
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_status_shows_containers_but_not_the_migration_that_is_done(tmp_path: Path) -> None:
    stack = ComposeStack(Home(tmp_path / "home"), _program(tmp_path / "bin", _DOCKER))
    with pytest.raises(NotInitialised):
        stack.status()
    stack.init(Options(runtime="compose", port=7777))
    status = stack.status()
    assert [(row.name, row.state, row.healthy) for row in status.processes] == [("executor-2", "RUNNING", True)]
    assert status.running
    assert stack.log_names(["executor"]) == ["executor-2"]
    with pytest.raises(NoSuchProcess):
        stack.log_names(["nobody"])


def test_there_is_no_compose_stack_without_redis(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid):
        ComposeStack(Home(tmp_path), {"PATH": ""}).init(Options(redis=False))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("executor-2  | a | b\n", ("executor-2", "a | b")),
        ("executor_2   | text\n", ("executor-2", "text")),
        ("gateway-1  | \n", ("gateway", "")),
        ("Attaching to gateway_1, executor_1\n", None),
    ],
)
def test_log_lines_of_both_generations_are_understood(line: str, found: tuple[str, str] | None) -> None:
    assert docker.split_line(line) == found


def test_a_change_keeps_the_other_lines_of_the_environment_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# why\nA=1\nB=2\n", encoding="utf-8")
    envfile.put(path, "A", "3")
    envfile.put(path, "C", "4")
    assert path.read_text(encoding="utf-8") == "# why\nA=3\nB=2\nC=4\n"
    assert envfile.read(path) == {"A": "3", "B": "2", "C": "4"}
