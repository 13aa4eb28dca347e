from __future__ import annotations

from pathlib import Path

import pytest

from taskforge_cli.context import check_url, resolve
from taskforge_cli.errors import CliError
from taskforge_cli.options import GlobalOptions

CONFIG = """
context = "local"
[contexts.local]
server = "http://127.0.0.1:7610"
token = "tf_local"
[contexts.prod]
server = "https://tf.example.com"
token = "tf_prod"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config").write_text(CONFIG)
    return {"TASKFORGE_HOME": str(tmp_path)}


def test_the_config_names_the_server(environ: dict[str, str]) -> None:
    server = resolve(GlobalOptions(), environ)
    assert (server.url, server.token, server.context) == ("http://127.0.0.1:7610", "tf_local", "local")
    assert (server.target, server.is_secure, server.is_local) == ("127.0.0.1:7610", False, True)


def test_a_context_brings_its_own_token(environ: dict[str, str]) -> None:
    server = resolve(GlobalOptions(context="prod"), environ)
    assert (server.target, server.token, server.is_secure) == ("tf.example.com:443", "tf_prod", True)
    assert resolve(GlobalOptions(), {**environ, "TASKFORGE_CONTEXT": "prod"}).token == "tf_prod"


def test_the_environment_wins_over_the_config_and_flags_over_both(environ: dict[str, str], tmp_path: Path) -> None:
    environ |= {"TASKFORGE_SERVER": "http://10.0.0.1:7610", "TASKFORGE_TOKEN": "tf_env"}
    server = resolve(GlobalOptions(), environ)
    assert (server.url, server.token, server.origin) == ("http://10.0.0.1:7610", "tf_env", "TASKFORGE_SERVER")
    token = tmp_path / "token"
    token.write_text("tf_file\n")
    server = resolve(GlobalOptions(server="http://10.0.0.2:7610", token_file=str(token)), environ)
    assert (server.url, server.token, server.origin) == ("http://10.0.0.2:7610", "tf_file", "flag")


def test_a_token_is_never_sent_to_another_server_than_its_own(environ: dict[str, str]) -> None:
    assert resolve(GlobalOptions(server="http://stranger.example:7610"), environ).token == ""
    assert resolve(GlobalOptions(server="https://tf.example.com/"), environ).token == "tf_prod"


def test_no_server_is_ever_guessed(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        resolve(GlobalOptions(), {"TASKFORGE_HOME": str(tmp_path)})
    assert caught.value.code == "SERVER_UNSET"
    assert "taskforge init" in caught.value.hints[0]


def test_an_unknown_context_lists_the_known_ones(environ: dict[str, str]) -> None:
    with pytest.raises(CliError, match="no context 'prd'") as caught:
        resolve(GlobalOptions(context="prd"), environ)
    assert caught.value.hints == ("there are: local, prod",)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:7610", "ftp://x", "http://", "http://x:99999", "http://x/path", "http://u@x"]
)
def test_what_is_no_server_is_refused(url: str) -> None:
    with pytest.raises(CliError) as caught:
        check_url(url)
    assert caught.value.code == "SERVER_INVALID"


def test_a_trailing_slash_does_not_matter() -> None:
    assert check_url("http://[::1]:7610/") == "http://[::1]:7610"
