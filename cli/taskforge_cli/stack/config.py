"""What is configured and where it came from: a flag wins over `TASKFORGE_*`, which wins over the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.errors import ConfigInvalid
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.ports import DEFAULT_PORT

RUNTIMES = ("local", "compose")
MAX_EXECUTORS = 64
#: Variables that are the command line's own: everything else that begins with TASKFORGE_ is for the services.
CLI_VARIABLES = frozenset(
    {
        "TASKFORGE_HOME",
        "TASKFORGE_CONTEXT",
        "TASKFORGE_RUNTIME",
        "TASKFORGE_SERVER",
        "TASKFORGE_TOKEN",
        "TASKFORGE_PORT",
        "TASKFORGE_REDIS",
        "TASKFORGE_EXECUTORS",
        "TASKFORGE_HINTS",
        "TASKFORGE_STACK",
        "TASKFORGE_PROCESS",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value with its origin: `default`, `file`, the name of a variable, or `flag`."""

    key: str
    value: Any
    origin: str
    secret: bool = False

    @property
    def explicit(self) -> bool:
        """Whether the user asked for it in this command or its environment."""
        return self.origin not in ("default", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything the command line needs to know, resolved."""

    file: ConfigFile
    settings: Mapping[str, Setting]
    service_environment: Mapping[str, str]  #: TASKFORGE_* for the services, from the file and the environment
    postgres: Mapping[str, str]  #: PostgreSQL settings of the user's own, from `[local.postgres]`

    def value(self, key: str) -> Any:
        """A setting's value."""
        return self.settings[key].value

    @property
    def port_is_pinned(self) -> bool:
        """Whether the edge must have exactly this port."""
        return self.settings["local.port"].explicit or bool(self.file.get("local.port_pinned", False))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    parse: Callable[[str, Any], Any]
    default: Any
    variable: str
    path: str = ""  #: where it stands in the file, if not under its own name
    secret: bool = False


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigInvalid(f"{key} is {value!r}; it must be a text")
    return value.strip()


def _whole(minimum: int, maximum: int) -> Callable[[str, Any], int]:
    def parse(key: str, value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not text.isdecimal() or not minimum <= int(text) <= maximum:
            raise ConfigInvalid(f"{key} is {value!r}; it must be a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def _switch(key: str, value: Any) -> bool:
    words = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise ConfigInvalid(f"{key} is {value!r}; it must be on or off")
    return found


def _runtime(key: str, value: Any) -> str:
    if value not in RUNTIMES:
        raise ConfigInvalid(f"{key} is {value!r}; it must be one of {', '.join(RUNTIMES)}")
    return str(value)


_KEYS = {
    "context": _Key(parse=_text, default="local", variable="TASKFORGE_CONTEXT"),
    "runtime": _Key(parse=_runtime, default="local", variable="TASKFORGE_RUNTIME"),
    "server": _Key(parse=_text, default="", variable="TASKFORGE_SERVER", path="contexts.{context}.server"),
    "token": _Key(parse=_text, default="", variable="TASKFORGE_TOKEN", path="contexts.{context}.token", secret=True),
    "local.port": _Key(parse=_whole(1, 65535), default=DEFAULT_PORT, variable="TASKFORGE_PORT"),
    "local.redis": _Key(parse=_switch, default=True, variable="TASKFORGE_REDIS"),
    "local.executors": _Key(parse=_whole(0, MAX_EXECUTORS), default=1, variable="TASKFORGE_EXECUTORS"),
}


def load(home: Home, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None) -> Configuration:
    """Resolve every setting. Works without a file.

    Args:
        home: whose config file.
        environ: the environment; default: this process's.
        flags: values of options that were given, by key; None means not given.

    Raises:
        ConfigInvalid: a value is not allowed, or the file is no TOML.
    """
    environ = os.environ if environ is None else environ
    file = ConfigFile.read(home.config_file)
    chosen = {key: value for key, value in (flags or {}).items() if value is not None}
    settings: dict[str, Setting] = {}
    for key, spec in _KEYS.items():
        settings[key] = _resolve(key, spec, file, environ, _Found(chosen, settings))
    return Configuration(
        file=file,
        settings=settings,
        service_environment=_service_environment(file, environ),
        postgres={name: str(value) for name, value in file.get("local.postgres", {}).items()},
    )


@dataclass(frozen=True, slots=True)
class _Found:
    flags: Mapping[str, Any]
    settings: Mapping[str, Setting] = field(default_factory=dict)


def _resolve(key: str, spec: _Key, file: ConfigFile, environ: Mapping[str, str], found: _Found) -> Setting:
    path = spec.path.format(context=found.settings["context"].value) if spec.path else key
    in_file = file.get(path)
    if key in found.flags:
        return Setting(key=key, value=spec.parse(key, found.flags[key]), origin="flag", secret=spec.secret)
    if environ.get(spec.variable, "").strip():
        value = spec.parse(spec.variable, environ[spec.variable].strip())
        return Setting(key=key, value=value, origin=spec.variable, secret=spec.secret)
    if in_file is not None:
        return Setting(key=key, value=spec.parse(f"{path} in {file.path}", in_file), origin="file", secret=spec.secret)
    return Setting(key=key, value=spec.default, origin="default", secret=spec.secret)


def _service_environment(file: ConfigFile, environ: Mapping[str, str]) -> dict[str, str]:
    found = {name: str(value) for name, value in file.get("local.environment", {}).items()}
    wrong = [name for name in found if not name.startswith("TASKFORGE_") or name in CLI_VARIABLES]
    if wrong:
        raise ConfigInvalid(f"{', '.join(wrong)} in [local.environment] of {file.path} is no service variable")
    passed = {name: value for name, value in environ.items() if name.startswith("TASKFORGE_")}
    return found | {name: value for name, value in passed.items() if name not in CLI_VARIABLES}
