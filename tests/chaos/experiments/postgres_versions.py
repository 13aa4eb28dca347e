"""Two versions of the product side by side over one database, which is migrated meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.previous import NoHistory, previous_version
from tests.chaos.world.load import Load
from tests.chaos.world.logs import Logs
from tests.chaos.world.recovery import recovered
from tests.chaos.world.world import World
from tests.support.places import short_folder
from tests.support.waiting import eventually

_AT_ONCE = 4
_PAUSE = 0.05
_EACH = 20  #: runs that are started in each mixture
_SETTLE_SECONDS = 60.0  #: for several that start at once on a busy machine
#: The server's log tells of whoever waits for a lock for longer than this.
_LOCK_WAITS = {"log_lock_waits": "on", "deadlock_timeout": "1s"}
_WAITED = "still waiting for"
_NEWEST = "SELECT max(number) FROM schema_migrations"

_OTHERS = ("gateway", "ingest", "executor")
#: Which services are new; the others are those of the previous version. The last but one is a rollback.
_MIXTURES = (("scheduler",), _OTHERS, ("executor",), ("scheduler", *_OTHERS), (), ("scheduler", *_OTHERS))


@experiment(
    "F27",
    "The database is migrated under load, and services of the previous version work with those of this one",
    threshold="no violation, no traceback, and nobody waits for a lock for a second, also after a rollback",
    seconds=60,
    in_subset=False,
)
async def versions_are_mixed(lab: Lab) -> None:
    with short_folder() as folder:
        folder.chmod(0o711)
        try:
            code = str(previous_version(folder))
        except NoHistory as reason:
            lab.skip(str(reason))
        async with (
            lab.world(code=code, postgres=_LOCK_WAITS) as world,
            lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load,
        ):
            logs = Logs(world)
            await load.reached(_EACH)
            await _migrate(lab, world)
            for new in _MIXTURES:
                await _mix(world, new, code)
                lab.injected(f"new: {', '.join(new) or 'none'}")
                await load.reached(len(load.acknowledged) + _EACH)
                await recovered(load, at_once=_AT_ONCE)
            await load.finished()
            await lab.verify(world, load)
            _judge_logs(lab, world, load, logs)
        await lab.end_world()


async def _migrate(lab: Lab, world: World) -> None:
    async with world.database() as owner:
        before = await owner.fetchval(_NEWEST)
        await world.migrate()
        after = await owner.fetchval(_NEWEST)
    lab.expect(after > before, f"the previous version knows migration {before} already")
    lab.injected(f"migration to {after}", after - before)


async def _mix(world: World, new: Collection[str], code: str) -> None:
    """Restart whoever is not of the version that it shall be, all of them at once."""
    wanted = {name: "" if name.partition("-")[0] in new else code for name in world.wiring.names()}
    others = [name for name, folder in wanted.items() if world.wiring.code.get(name, "") != folder]
    world.wiring.code |= wanted
    await asyncio.gather(*(_restart(world, name) for name in others))


async def _restart(world: World, name: str) -> None:
    member = world.keeper.members[name]
    before = member.starts
    world.kill(name, signal.SIGTERM)

    async def again() -> None:
        assert member.starts > before, f"{name} has not ended"
        assert await asyncio.to_thread(member.is_up), f"{name} is not well:\n{world.tail(name)}"

    await eventually(again, within=_SETTLE_SECONDS, pause=0.1)


def _judge_logs(lab: Lab, world: World, load: Load, logs: Logs) -> None:
    waits = world.log("postgres").read_text(encoding="utf-8", errors="replace").count(_WAITED)
    lab.measured("waits for a lock of a second", waits)
    lab.measured("starts sent again", load.driver.repeated)
    lab.expect(waits == 0, f"{waits} times somebody waited for a lock for a second")
    lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
