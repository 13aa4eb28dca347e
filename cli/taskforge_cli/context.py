"""Which server, with which token: flags win over the environment, which wins over the config. Never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from taskforge_cli.errors import CliError
from taskforge_cli.options import GlobalOptions

if TYPE_CHECKING:
    from taskforge_cli.stack.config import Configuration

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server to talk to."""

    url: str
    token: str = field(repr=False)
    context: str  #: the context's name
    origin: str  #: where the URL came from: flag, file, or a variable

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The host's name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return urlsplit(self.url).port or (443 if self.is_secure else 80)

    @property
    def target(self) -> str:
        """The address as gRPC writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return self.host in _LOOPBACK

    @property
    def described(self) -> str:
        """The URL and where it comes from, for errors."""
        return f'{self.url} (context "{self.context}", from {_ORIGINS.get(self.origin, self.origin)})'


_ORIGINS = {"file": "the config", "flag": "--server"}


def configuration(options: GlobalOptions, environ: Mapping[str, str] | None = None) -> Configuration:
    """Every setting with its origin."""
    from taskforge_cli.stack.config import load
    from taskforge_cli.stack.home import Home

    token = read_token(options.token_file) if options.token_file else None
    flags = {"context": options.context or None, "server": options.server or None, "token": token}
    return load(Home.locate(environ), environ, flags)


def resolve(options: GlobalOptions, environ: Mapping[str, str] | None = None) -> Server:
    """The server to talk to.

    Raises:
        CliError: SERVER_UNSET, SERVER_INVALID or CONTEXT_UNKNOWN.
    """
    found = configuration(options, environ)
    name, server = found.value("context"), found.settings["server"]
    if found.settings["context"].explicit and not found.file.get(f"contexts.{name}") and not server.explicit:
        known = ", ".join(sorted(found.file.get("contexts", {}))) or "none"
        raise CliError("CONTEXT_UNKNOWN", f"there is no context {name!r}", hints=[f"there are: {known}"])
    if not server.value:
        raise CliError(
            "SERVER_UNSET",
            "no server is configured",
            hints=["start one here: taskforge init", "or name one: taskforge context add NAME --server URL"],
        )
    token = found.value("token")
    if server.origin in ("flag", "TASKFORGE_SERVER") and found.settings["token"].origin == "file":
        token = _token_for(found, server.value)
    return Server(url=check_url(server.value), token=token, context=name, origin=server.origin)


def check_url(url: str) -> str:
    """A server's URL without what follows the port.

    Raises:
        CliError: SERVER_INVALID.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.path.strip("/") or parts.query or parts.username:
        raise CliError("SERVER_INVALID", f"{url!r} is no server URL", hints=["write http://HOST:PORT or https://HOST"])
    return f"{parts.scheme}://{parts.netloc}"


def _token_for(found: Configuration, url: str) -> str:
    """The token of the config for a server that was named by hand: never the token of another server."""
    for context in found.file.get("contexts", {}).values():
        if isinstance(context, dict) and str(context.get("server", "")).rstrip("/") == url.rstrip("/"):
            return str(context.get("token", ""))
    return ""


def read_token(path: str) -> str:
    """The token that a file holds.

    Raises:
        CliError: FILE_UNREADABLE.
    """
    try:
        token = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError("FILE_UNREADABLE", f"--token-file {path}: {error}") from error
    if not token:
        raise CliError("FILE_UNREADABLE", f"--token-file {path}: the file is empty")
    return token
