from __future__ import annotations

from pathlib import Path

import pytest

from taskforge_cli.stack import compose, docker, envfile, ports
from taskforge_cli.stack.compose import ComposeStack, project_of, up_arguments
from taskforge_cli.stack.compose_edge import Edge
from taskforge_cli.stack.config import load
from taskforge_cli.stack.docker import Deployment
from taskforge_cli.stack.errors import (
    CheckoutMissing,
    ConfigInvalid,
    DockerUnavailable,
    HomeUnusable,
    ImageMissing,
    NoSuchProcess,
    NotInitialised,
    NotRunning,
    PortTaken,
    StackError,
    StartFailed,
)
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import Options
from tests.support.places import ROOT
from tests.unit.cli.docker_stand_in import AGE, DockerStandIn, container

_PORT = 7777


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that somebody listens on; the server answers at once."""
    found: set[int] = set()
    monkeypatch.setattr(ports, "is_free", lambda port, host="": port not in found)
    monkeypatch.setattr(Edge, "is_ready", lambda edge, token: True)
    return found


@pytest.fixture
def stand_in(tmp_path: Path) -> DockerStandIn:
    return DockerStandIn.make(tmp_path / "bin")


@pytest.fixture
def stack(tmp_path: Path, stand_in: DockerStandIn) -> ComposeStack:
    made = ComposeStack(Home(tmp_path / "home"), stand_in.environ)
    made.init(Options(runtime="compose", port=_PORT))
    return made


def _program(folder: Path, text: str, name: str = "docker") -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_the_command_line_names_project_environment_and_file() -> None:
    deployment = Deployment(deploy=Path("deploy"), env_file=Path("home/.env"), project="some")
    line = docker.compose_line(("docker", "compose"), deployment, *up_arguments(3))
    assert " ".join(line) == (
        "docker compose --project-name some --env-file home/.env -f deploy/compose.yaml "
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


def test_init_is_idempotent_and_records_the_context(tmp_path: Path, stand_in: DockerStandIn) -> None:
    home = Home(tmp_path / "home")
    stack = ComposeStack(home, stand_in.environ)
    made = stack.init(Options(runtime="compose", port=_PORT))
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    token = (home.root / "compose" / "secrets" / "admin-token").read_text(encoding="utf-8").strip()
    found = load(home, {})
    assert made.url == f"http://127.0.0.1:{_PORT}" == found.value("server")
    assert (found.value("runtime"), found.value("context"), found.value("token")) == ("compose", "compose", token)
    assert home.config_file in made.created
    assert stack.init().created == ()
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_each_home_but_the_default_one_has_a_project_of_its_own(
    tmp_path: Path, stand_in: DockerStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    projects = []
    for name in (".taskforge", "one", "two"):
        stack = ComposeStack(Home(tmp_path / name), {**stand_in.environ, "COMPOSE_PROJECT_NAME": "of-the-shell"})
        stack.init(Options(runtime="compose"))
        projects.append(stack.project)
        assert stack.project == stack.status().project == project_of(stack.home.root)
    assert projects[0] == "taskforge"
    assert len(set(projects)) == 3


def test_a_project_that_is_written_down_stays(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    envfile.put(stack.env_file, "COMPOSE_PROJECT_NAME", "taskforge")
    stack.up()
    assert any("--project-name taskforge " in call for call in stand_in.calls)
    assert f"--filter=label=com.docker.compose.project={stack.project}" in " ".join(stand_in.calls)


def test_logs_are_those_of_the_named_containers(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    stand_in.has([container("executor", 2), container("gateway")])
    assert stack.log_names() == ["executor-2", "gateway"]
    assert stack.log_names(["executor"]) == ["executor-2"]
    with pytest.raises(NoSuchProcess) as caught:
        stack.log_names(["nobody"])
    assert caught.value.hint == "there are: executor-2, gateway"


def test_without_a_home_or_containers_the_next_step_is_said(tmp_path: Path, stack: ComposeStack) -> None:
    other = ComposeStack(Home(tmp_path / "other"), {"PATH": ""})
    for ask in (other.status, other.up, other.down, other.log_names, lambda: other.restart(["gateway"])):
        with pytest.raises(NotInitialised) as fresh:
            ask()
        assert fresh.value.hint == "taskforge init --runtime compose"
    for ask in (stack.log_names, lambda: stack.restart(["gateway"])):
        with pytest.raises(NotRunning) as down:
            ask()
        assert (down.value.exit_code, down.value.hint) == (7, "taskforge up")


def test_one_of_several_executors_is_restarted_alone(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    stand_in.has([container("executor", 1), container("executor", 2)])
    stack.restart(["executor-2"])
    assert [call for call in stand_in.calls if "restart" in call] == ["restart executor2"]
    stack.restart(["executor"])
    assert "restart executor1 executor2" in stand_in.calls


def test_down_leaves_compose_alone_where_nothing_is(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    assert stack.down().stopped == ()
    assert [call for call in stand_in.calls if call.endswith(" down")] == []
    stand_in.write("networks", "left-by-a-start-that-failed\n")
    assert stack.down().stopped == ()
    assert len([call for call in stand_in.calls if call.endswith(" down")]) == 1


def test_up_says_whether_anything_ran_before(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    assert stack.up().started
    stand_in.has([container("envoy", port=_PORT)])
    assert not stack.up().started


def test_a_port_of_somebody_else_is_an_error_and_stays(
    stack: ComposeStack, stand_in: DockerStandIn, taken: set[int]
) -> None:
    taken.add(_PORT)
    for command in (stack.up, stack.init, lambda: stack.up(Options(port=_PORT))):
        with pytest.raises(PortTaken) as caught:
            command()
        assert (caught.value.exit_code, "--port N" in caught.value.hint) == (6, True)
    assert stack.edge().port == _PORT
    stand_in.has([container("envoy", port=_PORT)])
    stack.init()
    stack.up()


def test_the_first_port_is_the_next_free_one(tmp_path: Path, stand_in: DockerStandIn, taken: set[int]) -> None:
    taken |= {7610, 7611}
    made = ComposeStack(Home(tmp_path / "home"), stand_in.environ).init(Options(runtime="compose"))
    assert (made.url, made.notes) == ("http://127.0.0.1:7612", ("port 7610 is taken; using 7612 instead",))


def test_a_port_that_is_none_is_a_fault_of_the_file(stack: ComposeStack) -> None:
    for wrong in ("abc", "0", "70000", "٣"):
        envfile.put(stack.env_file, "TASKFORGE_PORT", wrong)
        for command in (stack.status, stack.up):
            with pytest.raises(ConfigInvalid, match="TASKFORGE_PORT"):
                command()


def test_images_that_cannot_be_had_are_named_with_their_variables(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    stand_in.fails_to_start({"redis": "redis:8", "postgres": "postgres:18"}, present=["redis:8"])
    with pytest.raises(ImageMissing) as caught:
        stack.up()
    assert (caught.value.code, caught.value.exit_code) == ("IMAGE_MISSING", 6)
    assert caught.value.message.endswith(": postgres:18")
    assert f"TASKFORGE_POSTGRES_IMAGE=NAME in {stack.env_file}" in caught.value.hint


def test_a_container_that_does_not_start_is_named(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    stand_in.fails_to_start({})
    with pytest.raises(StackError) as plain:
        stack.up()
    assert type(plain.value) is StackError
    stand_in.has([container("gateway", Health={"Status": "unhealthy"}), container("redis")])
    with pytest.raises(StartFailed, match="gateway does not start: its health check fails") as caught:
        stack.up()
    assert caught.value.hint == "taskforge logs gateway"


def test_a_container_that_dies_after_its_start_is_named(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    stand_in.has([container("executor", status="restarting", ExitCode=2), container("gateway")])
    with pytest.raises(StartFailed, match="executor-1 does not start: exit code 2"):
        stack.up()


def test_up_waits_until_it_is_plain_that_a_container_can_run(
    stack: ComposeStack, stand_in: DockerStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "_SETTLED_SECONDS", 2 * AGE.total_seconds())
    monkeypatch.setattr(compose, "_READY_SECONDS", 0.0)
    stand_in.has([container("executor")])
    with pytest.raises(StackError) as caught:
        stack.up()
    assert caught.value.code == "NOT_READY"


def test_a_lost_secret_is_not_replaced_by_an_empty_folder(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    (stack.secrets_dir / "keyring.json").unlink()
    with pytest.raises(HomeUnusable, match=r"keyring\.json is missing"):
        stack.up()
    assert [call for call in stand_in.calls if " up " in call] == []


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
    path.write_text("# why\nA=1\nB=2\n#A=9\n", encoding="utf-8")
    envfile.put(path, "A", "3")
    envfile.put(path, "C", "4")
    assert path.read_text(encoding="utf-8") == "# why\nA=3\nB=2\n#A=9\nC=4\n"
    assert envfile.read(path) == {"A": "3", "B": "2", "C": "4"}


def test_the_environment_file_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("export A = 1 # why\nB='2 # 3'\n C=a#b\nnothing\n", encoding="utf-8")
    assert envfile.read(path) == {"A": "1", "B": "2 # 3", "C": "a#b"}
    envfile.put(path, "A", "5")
    assert path.read_text(encoding="utf-8").splitlines()[0] == "A=5"
