"""The parts of the benchmark, and what they share: one stack for those that do not need one of their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from tests.bench.measurements import acks, cron, history, idle, latency, limits, overload, scale
from tests.bench.measurements.throughput import throughput
from tests.bench.options import Options
from tests.bench.systems import StackSystem
from tests.bench.target import Target
from tests.bench.workloads import WORKLOADS
from tests.support.stack import own_stack


class Bench:
    """What a part is given."""

    def __init__(self, options: Options, server: Target, report: Mapping[str, Any]) -> None:
        self.options = options
        self.server = server
        self._report = report
        self._open = ExitStack()
        self._system: StackSystem | None = None

    def shared(self) -> StackSystem:
        """The stack that parts use one after the other."""
        if self._system is None:
            self._system = self._stack(self._open)
        return self._system

    def own(self, opened: ExitStack, **environment: str) -> StackSystem:
        """A stack for one part alone."""
        self.close()
        return self._stack(opened, **environment)

    async def maximum(self) -> float:
        """How many chain runs a second the system finishes."""
        if "chain" not in self._report:
            found = await throughput(self.shared(), self.server, WORKLOADS["chain"], replace(self.options, repeat=1))
            return float(found["runs_per_s"]["median"])
        return float(self._report["chain"]["runs_per_s"]["median"])

    def close(self) -> None:
        """End the shared stack."""
        self._system = None
        self._open.close()

    def _stack(self, opened: ExitStack, **environment: str) -> StackSystem:
        executors = {"TASKFORGE_EXECUTORS": str(self.options.executors)}
        return StackSystem(opened.enter_context(own_stack(**executors | environment)))


Part = Callable[[Bench], Coroutine[Any, Any, dict[str, Any]]]


async def _limits(bench: Bench) -> dict[str, Any]:
    return await limits.limits(bench.shared(), bench.options.repeat)


def _throughput(name: str) -> Part:
    async def part(bench: Bench) -> dict[str, Any]:
        return await throughput(bench.shared(), bench.server, WORKLOADS[name], bench.options)

    return part


async def _acks(bench: Bench) -> dict[str, Any]:
    return await acks.acks(bench.shared(), bench.options)


async def _latency(bench: Bench) -> dict[str, Any]:
    return await latency.latency(bench.shared(), bench.server, await bench.maximum(), bench.options)


async def _overload(bench: Bench) -> dict[str, Any]:
    maximum = await bench.maximum()
    with ExitStack() as opened:
        system = bench.own(opened, TASKFORGE_MAX_QUEUED=str(round(maximum)))
        return await overload.overload(system, bench.server, maximum, bench.options)


async def _cron(bench: Bench) -> dict[str, Any]:
    with ExitStack() as opened:
        return await cron.cron(bench.own(opened), bench.options)


async def _idle(bench: Bench) -> dict[str, Any]:
    with ExitStack() as opened:
        return await idle.idle(bench.own(opened), bench.server, bench.options)


async def _coldstart(bench: Bench) -> dict[str, Any]:
    with ExitStack() as opened:
        return idle.coldstart(bench.own(opened).stack, bench.options)


async def _history(bench: Bench) -> dict[str, Any]:
    with ExitStack() as opened:
        return await history.history(bench.own(opened), bench.options)


async def _scale(bench: Bench) -> dict[str, Any]:
    bench.close()
    return await scale.scale(bench.server, bench.options)


#: In the order in which they are measured: first those that share a stack.
PARTS: Mapping[str, Part] = {
    "limits": _limits,
    **{name: _throughput(name) for name in WORKLOADS},
    "acks": _acks,
    "latency": _latency,
    "overload": _overload,
    "cron": _cron,
    "idle": _idle,
    "coldstart": _coldstart,
    "history": _history,
    "scale": _scale,
}


def show(name: str, report: Mapping[str, Any]) -> None:
    """Print the figures of a part; what each process used is in the JSON alone."""
    for path, figure in _spreads(report):
        if "_by_process" not in path:
            low, high = figure["min"], figure["max"]
            print(f"{name:9} {path:40} {figure['median']:>12,.2f}  ({low:,.2f}-{high:,.2f})", flush=True)


def _spreads(report: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Mapping[str, float]]]:
    for name, value in report.items():
        if isinstance(value, Mapping):
            path = f"{above} {name}".strip()
            if set(value) == {"median", "min", "max"}:
                yield path, value
            else:
                yield from _spreads(value, path)
