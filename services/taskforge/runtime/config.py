"""Environment variables into frozen dataclasses. Every fault is found before any of them is reported."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from taskforge.failpoints import FolderRefused, checked_folder

T = TypeVar("T")

_SECRET_CHARACTERS = 32


class ConfigurationError(Exception):
    """The process cannot start. `faults` holds one sentence a fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Environment:
    """Reads variables, remembers faults, and reports all of them at once by `check()`.

    A reader returns a harmless value after a fault, so that reading goes on.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._faults: list[str] = []

    def fault(self, name: str, message: str) -> None:
        """Remember a fault of one variable."""
        self._faults.append(f"{name} {message}")

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it must be set."""
        value = self._variables.get(name, "").strip()
        if value:
            return value
        if default is None:
            self.fault(name, "is not set")
            return ""
        return default

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in choices:
            self.fault(name, f"is {value!r}; it must be one of {', '.join(choices)}")
            return default
        return value

    def judged(self, name: str, fault_of: Callable[[str], str]) -> str:
        """A string that must be set; `fault_of` says what is wrong with it, in words after its name, or nothing."""
        value = self.text(name)
        fault = fault_of(value) if value else ""
        if fault:
            self.fault(name, fault)
        return value

    def switch(self, name: str) -> bool:
        """`1` or `0`, which is the default."""
        return self.choice(name, ("0", "1"), "0") == "1"

    def number(self, name: str, default: float, *, minimum: float, maximum: float) -> float:
        """A number within bounds."""
        return self._parsed(name, default, float, minimum, maximum)

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """A whole number within bounds."""
        return int(self._parsed(name, default, int, minimum, maximum))

    def address(self, name: str, default: str | None = None) -> str:
        """`unix:/path`, `host:port` or, where the default is empty, nothing."""
        value = self.text(name, default)
        if value and not is_address(value):
            self.fault(name, f"is {value!r}; write unix:/path/to.sock or host:port")
        return value

    def secret_file(self, name: str) -> str:
        """The stripped content of a file: a secret that was made by chance, as far as one can tell."""
        path = self.text(name)
        if not path:
            return ""
        try:
            content = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.fault(name, f"names {path}, which cannot be read: {error}")
            return ""
        if len(content) < _SECRET_CHARACTERS:
            self.fault(name, f"names {path}, which holds fewer than {_SECRET_CHARACTERS} characters")
        elif (content + content).find(content, 1) < len(content):
            self.fault(name, f"names {path}, which holds a shorter text repeated, not a random token")
        return content

    def loaded(self, name: str, load: Callable[[Path], T], refusal: type[Exception]) -> T | None:
        """What `load` makes of a file that must be named. Its refusal may list several `faults`."""
        path = self.text(name)
        if not path:
            return None
        try:
            return load(Path(path))
        except refusal as error:
            for fault in getattr(error, "faults", (error,)):
                self.fault(name, f"names {path}, which cannot be used: {fault}")
            return None

    def networks(self, name: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Comma-separated CIDR blocks."""
        found = []
        for part in filter(None, (piece.strip() for piece in self._variables.get(name, "").split(","))):
            try:
                found.append(ipaddress.ip_network(part, strict=False))
            except ValueError:
                self.fault(name, f"holds {part!r}, which is no CIDR block such as 10.0.0.0/8")
        return tuple(found)

    def check(self) -> None:
        """Raise ConfigurationError if there was any fault."""
        if self._faults:
            raise ConfigurationError(self._faults)

    def _parsed(self, name: str, default: T, parse: Callable[[str], T], minimum: float, maximum: float) -> T:
        raw = self._variables.get(name, "").strip()
        if not raw:
            return default
        try:
            value = parse(raw)
        except ValueError:
            self.fault(name, f"is {raw!r}, which is no number")
            return default
        if not minimum <= value <= maximum:  # type: ignore[operator]
            self.fault(name, f"is {raw}; it must lie between {minimum:g} and {maximum:g}")
            return default
        return value


def is_address(value: str) -> bool:
    """Whether it is `unix:/absolute/path` or `host:port`."""
    if value.startswith("unix:"):
        return value.removeprefix("unix:").startswith("/")
    host, separator, port = value.rpartition(":")
    return bool(host and separator) and port.isdecimal() and 0 <= int(port) <= 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessConfig:
    """What every service has. Durations are in seconds."""

    listen: str
    metrics_listen: str  #: `host:port`, or empty: no metrics server
    log_format: str
    log_level: str
    internal_token: str
    drain_seconds: float
    failpoints: Path | None = None  #: tests alone set it: the folder that decides where this process dies


def read_process_config(env: Environment) -> ProcessConfig:
    """Read the common variables."""
    return ProcessConfig(
        listen=env.address("TASKFORGE_LISTEN"),
        metrics_listen=env.address("TASKFORGE_METRICS_LISTEN", ""),
        log_format=env.choice("TASKFORGE_LOG_FORMAT", ("json", "console"), "json"),
        log_level=env.choice("TASKFORGE_LOG_LEVEL", ("debug", "info", "warning", "error"), "info"),
        internal_token=env.secret_file("TASKFORGE_INTERNAL_TOKEN_FILE"),
        drain_seconds=env.number("TASKFORGE_DRAIN_SECONDS", 10.0, minimum=0.0, maximum=3600.0),
        failpoints=_failpoints(env),
    )


def _failpoints(env: Environment) -> Path | None:
    name = "TASKFORGE_TEST_FAILPOINTS"
    return env.loaded(name, checked_folder, FolderRefused) if env.text(name, "") else None


def load(read: Callable[[Environment], T], variables: Mapping[str, str]) -> T:
    """Read a configuration, or print every fault and exit with 2."""
    env = Environment(variables)
    config = read(env)
    try:
        env.check()
    except ConfigurationError as error:
        lines = "\n".join(f"  - {fault}" for fault in error.faults)
        count = len(error.faults)
        print(f"cannot start: {count} fault{'s' if count > 1 else ''} in the environment:\n{lines}", file=sys.stderr)
        raise SystemExit(2) from None
    return config
