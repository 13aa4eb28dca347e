"""Workers that hang, burst, die or are abandoned never harm the service, each other, or the next evaluation."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskforge.sandbox.pool import SandboxPool
from taskforge.sandbox.requests import (
    EvaluationFailed,
    EvaluationOutOfMemory,
    EvaluationTimedOut,
    Ok,
    SandboxBusy,
    SandboxClosedError,
    SandboxFailed,
)
from tests.support.sandbox import (
    ENDLESS,
    LONG,
    LONG_RESULT,
    burns_cpu,
    busy_worker,
    children,
    gone,
    jq,
    run_with_pool,
    until,
)


async def bloat_a_worker(pool: SandboxPool) -> None:
    """The worker that grew too large answers, and is replaced."""
    await jq(pool, ".")
    (first,) = pool.worker_pids
    assert await jq(pool, '"a" * 290000000 | 1', timeout=60) == Ok(value=1)
    assert await jq(pool, ".", 2) == Ok(value=2)
    assert first not in pool.worker_pids


class TestConfinement:
    def test_a_busy_worker_gives_way_to_its_service(self) -> None:
        async def main(pool: SandboxPool) -> None:
            await jq(pool, ".")
            (pid,) = pool.worker_pids
            assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)

        run_with_pool(main)

    def test_no_environment_reaches_a_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TASKFORGE_CANARY", "canary-value")

        async def scenario(pool: SandboxPool) -> None:
            assert await jq(pool, "env") == Ok(value={})
            (pid,) = pool.worker_pids
            assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()

        run_with_pool(scenario, size=1)

    def test_no_file_can_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "keyring.json").write_text('{"key": "canary"}')
        tmp_path.chmod(0o755)

        async def scenario(pool: SandboxPool) -> None:
            result = await jq(pool, f'import "keyring" as $k {{search: "{tmp_path}"}}; $k')
            assert result == EvaluationFailed(message="modules and data files cannot be imported here")

        run_with_pool(scenario, size=1)

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_the_worker_holds_no_rights(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            await jq(pool, ".")
            (pid,) = pool.worker_pids
            status = Path(f"/proc/{pid}/status").read_text()
            assert "NoNewPrivs:\t1" in status
            if os.geteuid() == 0:
                assert "Uid:\t65534\t65534\t65534\t65534" in status
                assert "CapEff:\t0000000000000000" in status
                assert "Groups:\t \n" in status
            limits = {
                line[:26].strip(): line[26:].split()[:2]
                for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
            }
            for name in ("Max open files", "Max file size", "Max processes", "Max core file size"):
                assert limits[name] == ["0", "0"], name
            assert limits["Max address space"] == [str(512 * 1024 * 1024)] * 2
            links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
            own_status = f"/proc/{pid}/status"
            assert all(link.startswith(("socket:", "pipe:", "/dev/null")) or link == own_status for link in links)
            assert len({link for link in links if link.startswith("socket:")}) == 1

        run_with_pool(scenario, size=1)

    def test_a_busy_worker_dies_with_its_parent(self) -> None:
        program = (
            "import asyncio\n"
            "from taskforge.sandbox.pool import SandboxPool\n"
            "from taskforge.sandbox.requests import JqRequest\n"
            "async def main():\n"
            "    pool = SandboxPool(size=1)\n"
            "    await pool.evaluate(JqRequest(program='.', input=1), 20)\n"
            "    print(*pool.worker_pids, flush=True)\n"
            f"    await pool.evaluate(JqRequest(program='{ENDLESS}', input=1), 100)\n"
            "asyncio.run(main())\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            worker = int(parent.stdout.readline())
            asyncio.run(until(lambda: burns_cpu(worker)))
            parent.kill()
        asyncio.run(until(lambda: gone(worker)))


class TestKilling:
    def test_endless_recursion_is_killed_in_time_and_replaced(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            await jq(pool, ".")
            (first,) = pool.worker_pids
            started = asyncio.get_running_loop().time()
            assert await jq(pool, ENDLESS, timeout=0.5) == EvaluationTimedOut(seconds=0.5)
            assert asyncio.get_running_loop().time() - started < 5
            await until(lambda: gone(first))
            # The successor was started before anybody asked for it.
            await until(lambda: len(pool.worker_pids) == 1)
            assert first not in pool.worker_pids
            assert await jq(pool, ".", 7) == Ok(value=7)

        run_with_pool(scenario, size=1)

    @pytest.mark.parametrize(
        "program",
        [
            '"a" * 1e9',
            'reduce range(100) as $i ("aaaa"; . + .)',
            "reduce range(40) as $i ([0]; . + .)",
            "def f: [f, f]; f",
        ],
    )
    def test_a_memory_bomb_is_named(self, program: str) -> None:
        async def scenario(pool: SandboxPool) -> None:
            result = await jq(pool, program, timeout=60)
            assert isinstance(result, EvaluationOutOfMemory)
            assert result.message == "the evaluation needed more than 512 MiB of memory"
            assert await jq(pool, ".", 1) == Ok(value=1)

        run_with_pool(scenario, size=1)

    def test_a_bloated_worker_retires_after_a_good_answer(self) -> None:
        run_with_pool(bloat_a_worker, size=1)

    def test_an_evaluation_survives_the_kill_of_its_worker(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            evaluation = asyncio.create_task(jq(pool, LONG, timeout=60))
            os.kill(await busy_worker(pool), signal.SIGKILL)
            assert await evaluation == Ok(value=LONG_RESULT)

        run_with_pool(scenario, size=1)

    def test_an_evaluation_that_loses_two_workers_fails(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            evaluation = asyncio.create_task(jq(pool, ENDLESS, timeout=60))
            for _ in range(2):
                os.kill(await busy_worker(pool), signal.SIGKILL)
                await until(lambda: not any(map(burns_cpu, pool.worker_pids)))
            assert await evaluation == SandboxFailed()
            assert await jq(pool, ".", 1) == Ok(value=1)

        run_with_pool(scenario, size=1)

    def test_a_worker_that_dies_in_its_sleep_is_not_used(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            for value in range(3):
                assert await jq(pool, ".", value) == Ok(value=value)
                for pid in pool.worker_pids:
                    os.kill(pid, signal.SIGKILL)

        run_with_pool(scenario, size=1)

    def test_a_pool_that_cannot_start_workers_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario(pool: SandboxPool) -> None:
            for executable in ("/nonexistent/python", "/bin/false"):
                monkeypatch.setattr(sys, "executable", executable)
                results = await asyncio.gather(*(jq(pool, ".", value) for value in range(5)))
                assert all(
                    isinstance(result, SandboxFailed) and "did not start" in result.message for result in results
                )
            monkeypatch.undo()
            assert await jq(pool, ".", 1) == Ok(value=1)

        run_with_pool(scenario)


class TestLargeParents:
    """Workers of a service that is larger than a worker may become."""

    def test_a_worker_outlives_its_answer(self) -> None:
        ballast = b"x" * (400 * 1024 * 1024)

        async def scenario(pool: SandboxPool) -> None:
            assert await jq(pool, ".", 1) == Ok(value=1)
            (first,) = pool.worker_pids
            assert await jq(pool, ".", 2) == Ok(value=2)
            assert pool.worker_pids == {first}

        run_with_pool(scenario, size=1)
        assert ballast

    def test_a_bloated_worker_retires_all_the_same(self) -> None:
        ballast = b"x" * (400 * 1024 * 1024)

        run_with_pool(bloat_a_worker, size=1)
        assert ballast


class TestConcurrency:
    def test_a_hundred_concurrent_requests_get_their_own_answers(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            results = await asyncio.gather(*(jq(pool, f". + {index}", index * 1000) for index in range(100)))
            assert results == [Ok(value=index * 1001) for index in range(100)]
            assert len(pool.worker_pids) == 2

        run_with_pool(scenario)

    def test_workers_start_only_when_needed(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            assert not pool.worker_pids
            for value in range(10):
                assert await jq(pool, ".", value) == Ok(value=value)
            assert len(pool.worker_pids) == 1

        run_with_pool(scenario, size=4)

    def test_requests_are_answered_in_their_order(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            order: list[int] = []

            async def one(index: int) -> None:
                assert await jq(pool, ".", index) == Ok(value=index)
                order.append(index)

            await asyncio.gather(*(one(index) for index in range(50)))
            assert order == list(range(50))

        run_with_pool(scenario, size=1)

    def test_a_hanging_program_does_not_hold_up_the_others(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            hanging = asyncio.create_task(jq(pool, ENDLESS, timeout=60))
            await busy_worker(pool)
            for value in range(20):
                assert await jq(pool, ".", value) == Ok(value=value)
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)

        run_with_pool(scenario)

    def test_a_full_queue_refuses_more(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            hanging = asyncio.create_task(jq(pool, ENDLESS, timeout=60))
            await busy_worker(pool)
            queued = [asyncio.create_task(jq(pool, ".", value)) for value in range(4)]
            results = await asyncio.gather(*(jq(pool, ".", value) for value in range(2)))
            assert results == [SandboxBusy(waiting=3)] * 2
            hanging.cancel()
            assert sorted(map(str, await asyncio.gather(*queued))) == sorted(
                map(str, [Ok(value=0), Ok(value=1), Ok(value=2), SandboxBusy(waiting=3)])
            )

        run_with_pool(scenario, size=1, max_waiting=3)


class TestCancellation:
    def test_a_cancelled_caller_kills_and_replaces_its_worker(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            evaluation = asyncio.create_task(jq(pool, ENDLESS, timeout=60))
            worker = await busy_worker(pool)
            evaluation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await evaluation
            await until(lambda: gone(worker))
            assert await jq(pool, ".", 5) == Ok(value=5)

        run_with_pool(scenario, size=1)

    def test_a_caller_cancelled_in_the_queue_costs_nothing(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            hanging = asyncio.create_task(jq(pool, LONG, timeout=60))
            worker = await busy_worker(pool)
            queued = [asyncio.create_task(jq(pool, ".", value)) for value in range(10)]
            await asyncio.wait(queued, timeout=0.01)
            for task in queued[::2]:
                task.cancel()
            results = await asyncio.gather(*queued, return_exceptions=True)
            assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 5
            assert results[1::2] == [Ok(value=value) for value in range(1, 10, 2)]
            assert await hanging == Ok(value=LONG_RESULT)
            assert pool.worker_pids == {worker}

        run_with_pool(scenario, size=1)

    def test_replies_are_never_mixed_up_whenever_callers_are_cancelled(self) -> None:
        chance = random.Random(7)

        async def scenario(pool: SandboxPool) -> None:
            async def one(index: int) -> None:
                assert await jq(pool, "., (range(300) | empty)", index) == Ok(value=index)

            async def impatient(index: int) -> None:
                try:
                    async with asyncio.timeout(chance.choice([0.0, 0.001, 0.003, 0.01, 10, 10, 10])):
                        await one(index)
                except TimeoutError:
                    pass

            for round_number in range(5):
                await asyncio.gather(*(impatient(round_number * 1000 + index) for index in range(40)))
            await asyncio.gather(*(one(index) for index in range(20)))

        run_with_pool(scenario)


class TestClosing:
    def test_closing_ends_what_runs_waits_and_starts(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            running = asyncio.create_task(jq(pool, ENDLESS, timeout=60))
            await busy_worker(pool)
            waiting = [asyncio.create_task(jq(pool, ENDLESS, timeout=60)) for _ in range(5)]
            await asyncio.wait(waiting, timeout=0.01)
            await pool.close()
            assert not pool.worker_pids
            results = await asyncio.gather(running, *waiting, return_exceptions=True)
            assert all(isinstance(result, SandboxClosedError) for result in results)
            with pytest.raises(SandboxClosedError):
                await jq(pool, ".")
            await pool.close()

        run_with_pool(scenario)

    def test_a_pool_that_was_never_used_closes_at_once(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            await pool.close()

        run_with_pool(scenario)

    def test_closing_while_the_first_worker_starts_leaves_none(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            evaluation = asyncio.create_task(jq(pool, "."))
            before = children()
            await until(lambda: children() != before)
            await pool.close()
            assert children() == before
            with pytest.raises(SandboxClosedError):
                await evaluation

        run_with_pool(scenario)
