"""Measures throughput and cost of runs on a whole local stack.

    tests/bench/run hop chain ten --json FILE --repeat 3 --runs 2000

A local stack with its default durability and a home folder of its own, the target and the load generator share this
machine; only the stack is in the figures. Reported are the median, the least and the greatest of the repetitions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.load import CONNECTIONS, submitters
from tests.bench.measure import Sample, measure
from tests.bench.target import target
from tests.bench.workloads import WORKLOADS
from tests.support.api import Api
from tests.support.servers import ServerProcess
from tests.support.stack import OwnStack, own_stack

_HEADLINES = (
    "runs_per_second",
    "accepted_per_second",
    "cpu_ms_per_run",
    "write_transactions_per_run",
    "wal_bytes_per_run",
)


def main() -> None:
    """Measure what was asked for."""
    options = _options()
    with target() as server, own_stack(TASKFORGE_EXECUTORS=str(options.executors)) as stack:
        report = {name: asyncio.run(_workload(options, name, stack, server)) for name in options.workloads}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("workloads", nargs="*", type=_workload_name, metavar="|".join(WORKLOADS), help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions of each workload")
    parser.add_argument("--runs", type=int, default=2000, metavar="N", help="runs in a repetition")
    parser.add_argument("--executors", type=int, default=1, metavar="N")
    parser.add_argument("--via", choices=["grpc", "http"], default="grpc", help="how runs are started")
    options = parser.parse_args()
    options.workloads = options.workloads or list(WORKLOADS)
    return options


def _workload_name(text: str) -> str:
    if text not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"there is no workload {text!r}")
    return text


async def _workload(options: argparse.Namespace, name: str, stack: OwnStack, server: ServerProcess) -> dict[str, Any]:
    workload = WORKLOADS[name]
    api = Api(stack.server, stack.token)
    await api.apply(workload.source(server.url))
    await api.close()
    samples = []
    async with submitters(stack, workload.workflow, options.via) as made:
        for _ in range(options.repeat):
            samples.append(await measure(stack, server, workload, made, options.runs))
    report = {**_setting(options), **_summary(samples)}
    _print(name, report)
    return report


def _setting(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "runs": options.runs,
        "repetitions": options.repeat,
        "connections": CONNECTIONS,
        "via": options.via,
        "executors": options.executors,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _summary(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    columns: dict[str, list[float]] = {}
    for sample in samples:
        for figure, value in sample.figures().items():
            columns.setdefault(figure, []).append(value)
    return {
        figure: {
            "median": round(statistics.median(values), 3),
            "min": round(min(values), 3),
            "max": round(max(values), 3),
        }
        for figure, values in columns.items()
    }


def _print(name: str, report: dict[str, Any]) -> None:
    for figure in _HEADLINES:
        value = report[figure]
        print(f"{name:6} {figure:28} {value['median']:>10.2f}  ({value['min']:.2f}-{value['max']:.2f})", flush=True)


if __name__ == "__main__":
    main()
