"""The home folder of the local stack: made once, changed never, closed to others."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskforge_cli.stack import config, ports
from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.errors import ConfigInvalid, HomeUnusable, NotInitialised, PortTaken, StackError
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import LocalStack, Options
from tests.support.places import clean_environment, free_port


def a_stack(folder: Path, **environment: str) -> LocalStack:
    return LocalStack(Home(folder / "home"), environment)


@contextmanager
def in_use(port: int) -> Iterator[None]:
    with socket.create_server((ports.LOOPBACK, port)):
        yield


def everything(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


def test_init_makes_a_home_that_is_closed_to_others(folder: Path) -> None:
    stack = a_stack(folder)
    created = stack.init().created
    assert stack.home.config_file in created
    for path in (stack.home.root, *stack.home.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_second_init_changes_nothing(folder: Path) -> None:
    stack = a_stack(folder)
    stack.init()
    before = everything(stack.home.root)
    assert stack.init().created == ()
    assert everything(stack.home.root) == before


def test_init_adds_what_is_missing_and_keeps_the_rest(folder: Path) -> None:
    stack = a_stack(folder)
    stack.init()
    before = everything(stack.home.root)
    stack.home.keyring_file.unlink()
    stack.home.log_dir.rmdir()
    assert set(stack.init().created) == {stack.home.keyring_file, stack.home.log_dir}
    after = everything(stack.home.root)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == ["secrets/keyring.json"]


def test_keys_and_tokens_have_256_random_bits(folder: Path) -> None:
    stack = a_stack(folder)
    stack.init()
    ring = json.loads(stack.home.keyring_file.read_text())
    assert len(base64.b64decode(ring["keys"][ring["active"]])) == 32
    token = ConfigFile.read(stack.home.config_file).get("contexts.local.token")
    assert token.startswith("tf_")
    assert len(base64.urlsafe_b64decode(token.removeprefix("tf_") + "=")) == 32
    assert len(base64.urlsafe_b64decode(stack.home.internal_token_file.read_text().strip() + "=")) == 32


def test_concurrent_inits_agree_on_one_home(folder: Path) -> None:
    environment = {**clean_environment(), "TASKFORGE_HOME": str(folder / "home")}
    code = "from taskforge_cli.stack.local import LocalStack; LocalStack().init()"
    children = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [child.wait(30) for child in children] == [0, 0, 0, 0]
    before = everything(folder / "home")
    assert a_stack(folder).init().created == ()
    assert everything(folder / "home") == before


def test_a_taken_port_is_replaced_and_said(folder: Path) -> None:
    taken = free_port()
    with in_use(taken):
        stack = a_stack(folder)
        stack.home.create()
        stack.home.config_file.write_text(f"[local]\nport = {taken}\n")
        result = stack.init()
    assert f"port {taken} is taken by" in result.notes[0]
    assert result.url != f"http://127.0.0.1:{taken}"
    assert ConfigFile.read(stack.home.config_file).get("contexts.local.server") == result.url


@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_port_that_was_asked_for_and_is_taken_is_an_error(folder: Path, way: str) -> None:
    taken = free_port()
    stack = a_stack(folder) if way == "option" else a_stack(folder, TASKFORGE_PORT=str(taken))
    with in_use(taken), pytest.raises(PortTaken) as caught:
        stack.init(Options(port=taken) if way == "option" else None)
    assert (caught.value.code, caught.value.exit_code) == ("PORT_TAKEN", 6)
    assert str(taken) in caught.value.message
    assert f"(pid {os.getpid()})" in caught.value.message
    assert caught.value.hint


def test_commands_without_a_home_name_the_next_command(folder: Path) -> None:
    for command in (a_stack(folder).up, a_stack(folder).down, a_stack(folder).status, a_stack(folder).restart):
        with pytest.raises(NotInitialised) as caught:
            command()
        assert caught.value.hint == "taskforge init"
    assert not (folder / "home").exists()


@pytest.mark.parametrize("name", ["a,b", "a%b", "it's", 'say "x"', "a #b", "a\nb"])
def test_a_path_that_the_parts_cannot_hold_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(HomeUnusable):
        Home.locate({"TASKFORGE_HOME": str(folder / name)})


def test_the_folder_of_sockets_may_not_be_somebody_elses(folder: Path) -> None:
    target = folder / "target"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    stack = a_stack(folder)
    stack.home.create()
    stack.home.config_file.write_text(f'[local]\nsockets = "{target}"\n')
    with pytest.raises(HomeUnusable):
        stack.init()


def test_changing_a_value_keeps_comments_and_order(folder: Path) -> None:
    path = folder / "config"
    path.write_text(
        '# mine\nversion = 1\n\n[local]  # the stack\nport = 7610 # usual\n\n[contexts.local]\nserver = "x"\n'
    )
    file = ConfigFile.read(path)
    assert file.set("local.port", 7611)
    assert file.set("local.ports.gateway", 7612)
    assert file.set("contexts.local.token", 'tf_"quoted"\\')
    assert not file.set("version", 1)
    file.save()
    text = path.read_text()
    assert text.startswith("# mine\nversion = 1\n\n[local]  # the stack\nport = 7611\n\n[contexts.local]\n")
    assert ConfigFile.read(path).data() == {
        "version": 1,
        "local": {"port": 7611, "ports": {"gateway": 7612}},
        "contexts": {"local": {"server": "x", "token": 'tf_"quoted"\\'}},
    }


@pytest.mark.parametrize(
    "text",
    [
        "local = {port = 1}\n",
        "[local]\nlist = [\n  1,\n  [2],\n]\n",
        '[local]\ntext = """\n[local]\nport = 3\n"""\n',
        "local.port = 1\n",
        "",
        "version = 1",
    ],
)
def test_files_of_unusual_shape_keep_their_meaning(folder: Path, text: str) -> None:
    path = folder / "config"
    path.write_text(text)
    file = ConfigFile.read(path)
    wanted = file.data()
    wanted.setdefault("local", {})["port"] = 99
    file.set("local.port", 99)
    assert file.data() == wanted


def test_a_variable_wins_over_the_file_and_a_flag_over_both(folder: Path) -> None:
    home = Home(folder)
    home.config_file.write_text("[local]\nport = 1000\nredis = false\n")
    found = config.load(home, {"TASKFORGE_PORT": "2000"}, {"local.executors": 3})
    origins = {key: (setting.value, setting.origin) for key, setting in found.settings.items()}
    assert origins["local.port"] == (2000, "TASKFORGE_PORT")
    assert origins["local.redis"] == (False, "file")
    assert origins["local.executors"] == (3, "flag")
    assert origins["runtime"] == ("local", "default")
    assert config.load(home, {"TASKFORGE_PORT": "2000"}, {"local.port": 3000}).value("local.port") == 3000


def test_variables_for_the_services_are_passed_on(folder: Path) -> None:
    home = Home(folder)
    home.config_file.write_text('[local.environment]\nTASKFORGE_EXECUTOR_SLOTS = 8\nTASKFORGE_LOG_LEVEL = "debug"\n')
    environ = {"TASKFORGE_LOG_LEVEL": "warning", "TASKFORGE_PORT": "1", "PATH": "/bin"}
    found = config.load(home, environ).service_environment
    assert found == {"TASKFORGE_EXECUTOR_SLOTS": "8", "TASKFORGE_LOG_LEVEL": "warning"}


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("[local]\nport = 70000\n", {}),
        ('[local]\nredis = "perhaps"\n', {}),
        ("", {"TASKFORGE_EXECUTORS": "-1"}),
        ("", {"TASKFORGE_RUNTIME": "podman"}),
        ('[local.environment]\nPATH = "x"\n', {}),
        ("no toml", {}),
    ],
)
def test_a_wrong_value_is_told_with_its_place(folder: Path, text: str, environ: dict[str, str]) -> None:
    home = Home(folder)
    home.config_file.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        config.load(home, environ)
    assert isinstance(caught.value, StackError)
    assert caught.value.exit_code == 2
    assert str(home.config_file) in caught.value.message or next(iter(environ), "?") in caught.value.message
