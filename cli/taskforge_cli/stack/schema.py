"""The one-shot migration, and whether the database already fits this version."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from taskforge_cli.stack.errors import StartFailed
from taskforge_cli.stack.files import write_private
from taskforge_cli.stack.plan import Plan

_MODULE = "taskforge.store.migrate"


def is_current(plan: Plan) -> bool:
    """Whether this version's migrations have been applied before, so that services need not wait for them.

    Only a hint for the order of things: the migration runs at every start.
    """
    try:
        return _stamp_file(plan).read_text(encoding="ascii") == _stamp()
    except OSError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A migration that runs."""

    plan: Plan
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, plan: Plan) -> Migration:
        """Start it; PostgreSQL must answer."""
        with (plan.home.log_dir / "migrate.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                env={**_inherited(), **plan.service_environment, "TASKFORGE_DATABASE_URL": plan.cluster.url()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=plan.home.run_dir,
                start_new_session=True,
            )
        return cls(plan=plan, process=process)

    def is_done(self) -> bool:
        """Whether it has ended well.

        Raises:
            StartFailed: it has ended badly.
        """
        code = self.process.poll()
        if code is None:
            return False
        if code != 0:
            log = self.plan.home.log_dir / "migrate.log"
            said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
            raise StartFailed(f"the database cannot be brought to this version:\n{said}", hint=f"the whole log: {log}")
        write_private(_stamp_file(self.plan), _stamp())
        return True

    def stop(self) -> None:
        """End it if it still runs: its transactions leave nothing half done."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TASKFORGE_")}


def _stamp_file(plan: Plan) -> Path:
    return plan.home.postgres_dir / "taskforge.schema"


def _stamp() -> str:
    spec = find_spec("taskforge.store")
    if spec is None or not spec.submodule_search_locations:
        raise StartFailed("the services are not installed")
    folder = Path(next(iter(spec.submodule_search_locations))) / "migrations"
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.sql")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
