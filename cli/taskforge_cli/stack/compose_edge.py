"""The edge of a Compose deployment: where it is published, and whether the server answers behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from taskforge_cli.stack import envfile, ports
from taskforge_cli.stack.errors import ConfigInvalid

_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  compared with, and tried
_ANSWER_SECONDS = 5.0
_FAULTS_BEGIN = 500  # of the HTTP statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Where the published port is."""

    bind: str  #: the address to listen on
    port: int

    @classmethod
    def read(cls, env_file: Path) -> Edge:
        """As the deployment's `.env` says.

        Raises:
            ConfigInvalid: the port is no port.
        """
        values = envfile.read(env_file)
        bind = values.get("TASKFORGE_BIND") or ports.LOOPBACK
        text = values.get("TASKFORGE_PORT") or str(ports.DEFAULT_PORT)
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
            message = f"TASKFORGE_PORT is {text!r} in {env_file}; it must be a whole number from 1 to 65535"
            raise ConfigInvalid(message, hint=f"edit {env_file}")
        return cls(bind=bind, port=int(text))

    @property
    def host(self) -> str:
        """The address to call."""
        return ports.LOOPBACK if self.bind in _EVERYWHERE else self.bind

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://{self.host}:{self.port}"

    def is_free(self, port: int) -> bool:
        """Whether Docker could publish this port now, as far as that can be tried from here."""
        if self.bind in _EVERYWHERE:
            return ports.is_free(port, "0.0.0.0")  # noqa: S104
        return self.bind != ports.LOOPBACK or ports.is_free(port)

    def is_ready(self, token: str) -> bool:
        """Whether the server answers and all its parts are healthy. One that refuses the token answers, too."""
        connection = HTTPConnection(self.host, self.port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            if answer.status != 200:
                return answer.status < _FAULTS_BEGIN
            return all(part.get("healthy") for part in json.loads(answer.read()).get("components", []))
        except (OSError, HTTPException, ValueError):
            return False
        finally:
            connection.close()
