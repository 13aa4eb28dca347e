"""One start of the stack: brings the supervisor to the plan, and waits until everything is ready."""

from __future__ import annotations

from collections.abc import Callable, Collection

from taskforge_cli.stack import edge, postgres, schema, shutdown
from taskforge_cli.stack.plan import Plan
from taskforge_cli.stack.readiness import Check, Watch, check_of
from taskforge_cli.stack.supervisor import Supervisor

_MIGRATION = "migrate"

#: Called with a part's name and the seconds until it was ready, as each becomes ready.
OnReady = Callable[[str, float], None]


class Start:
    """One start: brings the supervisor to the plan and waits."""

    def __init__(self, wanted: Plan, supervisor: Supervisor, deadline: float, on_ready: OnReady) -> None:
        self._plan = wanted
        self._supervisor = supervisor
        checks: dict[str, Check] = {program.name: check_of(wanted, program) for program in wanted.programs}
        self._watch = Watch(
            supervisor=supervisor,
            log_dir=wanted.home.log_dir,
            deadline=deadline,
            on_ready=on_ready,
            pending=checks,
        )

    def run(self, *, running: bool) -> None:
        """Start what is missing and wait for all; a supervisor of this call does not survive a failure."""
        try:
            self._launch() if not running else self._adjust()
            self._bring_up()
        except BaseException:
            if not running:
                shutdown.stop_all(self._supervisor, self._plan.allocation.stack_id)
            raise

    def wait_for(self, names: Collection[str]) -> None:
        """Wait for some of the processes only."""
        self._watch.pending = {name: check for name, check in self._watch.pending.items() if name in names}
        self._watch.wait(set(names))

    def _launch(self) -> None:
        postgres.prepare(self._plan.cluster, self._plan.postgres_settings)
        self._configure()
        self._supervisor.spawn(self._plan)

    def _adjust(self) -> None:
        edge_changed = self._configure()
        self._supervisor.apply()
        if edge_changed:
            self._supervisor.stop(["edge"])
        self._supervisor.start([program.name for program in self._plan.programs if not program.is_service])

    def _configure(self) -> bool:
        """Write every configuration file. Returns whether the edge has to read its own again."""
        backends = edge.Backends(gateway=self._plan.socket("gateway"), ingest=self._plan.socket("ingest"))
        self._supervisor.configure(self._plan)
        return edge.write_configuration(
            self._plan.envoy_file, self._plan.allocation.port, self._plan.admin_socket, backends
        )

    def _bring_up(self) -> None:
        services = [program.name for program in self._plan.services]
        current = schema.is_current(self._plan)
        if current:
            # Nothing will be migrated, so the services need not wait: their imports take longer than PostgreSQL.
            self._supervisor.start(services)
        self._watch.wait({"postgres"})
        migration = schema.Migration.start(self._plan)
        self._watch.pending[_MIGRATION] = migration.is_done
        try:
            if not current:
                self._watch.wait({_MIGRATION})
                self._supervisor.start(services)
            self._watch.wait({_MIGRATION, *(program.name for program in self._plan.programs)})
        finally:
            migration.stop()
