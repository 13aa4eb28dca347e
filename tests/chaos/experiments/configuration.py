"""Services that must not start, or must not say that they are ready: bad settings, other schemas, taken addresses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.bad_settings import READ_BY, BadSettings
from tests.chaos.world.world import World
from tests.support.places import clean_environment, short_folder
from tests.support.postgres import Database
from tests.support.processes import Process
from tests.support.services import Service, Services, is_serving
from tests.support.waiting import eventually

_START_SECONDS = 30.0
_STAYS_SECONDS = 2.0  #: for which a service must not say that it is ready
_REFUSED = 2
_MANY_FAULTS = 4


@experiment(
    "F63",
    "Services start with missing, default, short or wrong settings, another schema, or where another one listens",
    threshold="each exits with 2 and names every fault; without its schema none is ready",
    seconds=25,
)
async def nothing_starts_wrongly(lab: Lab) -> None:
    async with lab.world() as world:
        with short_folder() as folder:
            services = Services(folder, Database(name="taskforge", folder=folder), None)
            bad = BadSettings(folder)
            for number in range(lab.times(60, least=4)):
                service = list(READ_BY)[number % len(READ_BY)]
                await _expect_refusal(lab, services, service, _faulty(lab, bad, service, alone=number % 2 == 0))
            for service in READ_BY:
                await _expect_refusal(lab, services, service, dict.fromkeys(_REQUIRED & set(READ_BY[service]), ""))
        for service in ("gateway", "scheduler", "ingest"):
            await _expect_schema(lab, world, service)
        await _expect_single(lab, world)


_REQUIRED = {
    "TASKFORGE_LISTEN",
    "TASKFORGE_INTERNAL_TOKEN_FILE",
    "TASKFORGE_DATABASE_URL",
    "TASKFORGE_REDIS_URL",
    "TASKFORGE_SCHEDULER",
    "TASKFORGE_KEYRING_FILE",
}


def _faulty(lab: Lab, bad: BadSettings, service: str, *, alone: bool) -> dict[str, str]:
    names = lab.rng.sample(READ_BY[service], 1 if alone else _MANY_FAULTS)
    return {name: lab.rng.choice(bad.values[name])() for name in names}


async def _expect_refusal(lab: Lab, services: Services, service: str, faults: Mapping[str, str]) -> None:
    """Every fault is told, and the process is gone."""
    environment = clean_environment() | services.environment(service) | dict(faults)
    done = await asyncio.to_thread(_run, f"taskforge.{service}", environment)
    code, output = done
    lab.injected(f"{service} with bad settings")
    unnamed = [name for name in faults if name not in output]
    lab.expect(code == _REFUSED, f"{service} with {dict(faults)} ended with {code}: {output[-300:]}")
    lab.expect(not unnamed, f"{service} did not name {unnamed} of {dict(faults)}: {output[-300:]}")
    lab.expect("Traceback" not in output, f"{service} with {dict(faults)} showed a traceback")


def _run(module: str, environment: Mapping[str, str]) -> tuple[int | None, str]:
    command = [sys.executable, "-m", module]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_START_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        return None, f"it runs. {late.stderr!r}"
    return done.returncode, done.stdout + done.stderr


async def _expect_schema(lab: Lab, world: World, service: str) -> None:
    """It waits while the schema is another one, and says so; once it is the right one it becomes ready by itself."""
    database = Database(name=f"schema_{service}", folder=world.postgres.folder)
    await asyncio.to_thread(world.postgres.run_sql, "postgres", f"CREATE DATABASE {database.name}")
    with short_folder() as folder:
        services = Services(folder, database, None)
        try:
            await _expect_waiting(lab, services.start(service, ready=False), "no schema", "schema is older")
            code, output = await _migrated(database)
            lab.expect(code == 0, f"the migration ended with {code}: {output}")
            async with database.connect() as connection:
                await connection.execute(_HIDE)
                earlier = services.start(service, ready=False, instance=1)
                await _expect_waiting(lab, earlier, "schema of an earlier release", "this program needs")
                await connection.execute(_SHOW)
                await connection.execute(_LATER)
                later = services.start(service, ready=False, instance=2)
                await _expect_waiting(lab, later, "schema of a later release", "install a newer one")
                code, output = await _migrated(database)
                lab.expect(code != 0 and "9999" in output, f"a newer schema was migrated: {code} {output}")
                await connection.execute("DELETE FROM schema_migrations WHERE number = 9999")
            await eventually(lambda: _is_ready(later.address), within=_START_SECONDS)
        finally:
            await services.close()


#: The newest migration is taken out of the history, and put back.
_HIDE = """
CREATE TABLE hidden AS SELECT * FROM schema_migrations ORDER BY number DESC LIMIT 1;
DELETE FROM schema_migrations WHERE number = (SELECT number FROM hidden)
"""
_SHOW = "INSERT INTO schema_migrations SELECT * FROM hidden"
_LATER = "INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, 'later', '')"


async def _expect_waiting(lab: Lab, running: Service, what: str, told: str) -> None:
    """It is not ready, and its log says why."""
    lab.injected(what)
    await eventually(lambda: _has_told(running.process, told), within=_START_SECONDS)
    await asyncio.sleep(_STAYS_SECONDS)
    ready = await asyncio.to_thread(is_serving, running.address)
    lab.expect(not ready, f"{running.name} says that it is ready with {what}")


async def _migrated(database: Database) -> tuple[int | None, str]:
    environment = clean_environment() | {"TASKFORGE_DATABASE_URL": database.url}
    return await asyncio.to_thread(_run, "taskforge.store.migrate", environment)


def _has_told(process: Process, told: str) -> None:
    assert told in process.output(), f"{told!r} is not in its log: {process.output()[-500:]}"


async def _is_ready(address: str) -> None:
    assert await asyncio.to_thread(is_serving, address), "it is not ready"


async def _expect_single(lab: Lab, world: World) -> None:
    """A second instance at the address of one that runs leaves it alone."""
    for name in ("gateway-1", "scheduler-1", "ingest-1", "executor-1"):
        second = world.wiring.spawn(name)
        lab.injected("second instance at the same address")
        try:
            code = await asyncio.to_thread(second.wait, within=_START_SECONDS)
            lab.expect(code == _REFUSED, f"a second {name} ended with {code}: {_last(second)}")
        except subprocess.TimeoutExpired:
            lab.expect(False, f"a second {name} runs")
        finally:
            second.kill()
    await world.settled()


def _last(process: Process) -> str:
    return process.output()[-200:]
