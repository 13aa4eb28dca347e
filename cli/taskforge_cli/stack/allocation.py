"""What the stack has been given on this machine: its id, its ports, the folder of its sockets. Kept in the config."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from taskforge_cli.stack import ports
from taskforge_cli.stack.config import Configuration
from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.errors import PortTaken
from taskforge_cli.stack.files import make_private
from taskforge_cli.stack.home import Home, socket_dir

_METRICS_PORTS = range(20000, 30000)  # below the ports that the kernel gives to outgoing connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Numbers and places that other processes must not use."""

    stack_id: str
    port: int
    metrics: Mapping[str, int]  #: by process
    sockets: Path


def recorded_id(file: ConfigFile) -> str:
    """The stack's id; empty before init."""
    return str(file.get("local.id", ""))


def recorded_sockets(home: Home, file: ConfigFile) -> Path:
    """Where the sockets are."""
    return Path(file.get("local.sockets") or home.run_dir)


def forget_sockets(home: Home, file: ConfigFile) -> None:
    """Remove a folder of sockets outside the home; the next start makes it again."""
    folder = recorded_sockets(home, file)
    if folder != home.run_dir:
        shutil.rmtree(folder, ignore_errors=True)


def record_identity(home: Home, file: ConfigFile, environ: Mapping[str, str]) -> None:
    """Give the stack an id and a folder for its sockets, if it has none."""
    if not recorded_id(file):
        file.set("local.id", secrets.token_hex(6))
    chosen = socket_dir(home, environ)
    if chosen != home.run_dir and not file.get("local.sockets"):
        file.set("local.sockets", str(chosen))
    make_private(recorded_sockets(home, file))


def choose_port(configuration: Configuration, in_use: Collection[int] = ()) -> tuple[int, str]:
    """The edge's port, and a note if it is not the one that is configured.

    Args:
        configuration: what is wanted.
        in_use: ports that this stack itself listens on now.

    Raises:
        PortTaken: the user asked for this very port and another program has it.
    """
    wanted: int = configuration.value("local.port")
    if wanted in in_use or ports.is_free(wanted):
        return wanted, ""
    holder = ports.holder(wanted)
    if configuration.port_is_pinned:
        raise PortTaken(
            f"port {wanted} is taken by {holder}",
            hint="stop that program, or choose another port: taskforge up --port N",
        )
    chosen = ports.find_free(wanted + 1)
    return chosen, f"port {wanted} is taken by {holder}; using {chosen} instead"


def record_port(configuration: Configuration, in_use: Collection[int] = ()) -> list[str]:
    """Choose the edge's port and put it into the config file, in memory. Returns notes for the user."""
    port, note = choose_port(configuration, in_use)
    configuration.file.set("local.port", port)
    configuration.file.set("contexts.local.server", f"http://{ports.LOOPBACK}:{port}")
    return [note] if note else []


def _metrics_start(file: ConfigFile) -> int:
    """Where to look for metrics ports: each stack begins elsewhere, so that two that start at once rarely meet."""
    return _METRICS_PORTS.start + int(recorded_id(file), 16) % len(_METRICS_PORTS)


def allocate(
    home: Home, configuration: Configuration, processes: Iterable[str], in_use: Collection[int] = ()
) -> tuple[Allocation, list[str]]:
    """Keep the recorded ports that are still free, choose others for the rest, and record all of it.

    Returns:
        The allocation, and notes for the user about what had to change.
    """
    file, before = configuration.file, configuration.file.text
    notes = record_port(configuration, in_use)
    port = int(file.get("local.port"))
    metrics: dict[str, int] = {}
    for name in processes:
        recorded = file.get(f"local.ports.{name}")
        taken = {port, *metrics.values()}
        usable = isinstance(recorded, int) and recorded not in taken and (recorded in in_use or ports.is_free(recorded))
        metrics[name] = recorded if usable else ports.find_free(_metrics_start(file), taken)
        file.set(f"local.ports.{name}", metrics[name])
    if file.text != before:
        file.save()
    sockets = recorded_sockets(home, file)
    make_private(sockets)
    return Allocation(stack_id=recorded_id(file), port=port, metrics=metrics, sockets=sockets), notes
