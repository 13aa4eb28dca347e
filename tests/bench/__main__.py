"""Measures the whole local stack, with everything on this machine.

    tests/bench/run hop chain ten --json FILE --repeat 3 --runs 2000

A local stack with its default durability and a home folder of its own, the target and the load generator share this
machine; only the stack is in the figures. Reported are the median, the least and the greatest of the repetitions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.bench.systems import StackSystem
from tests.bench.target import target
from tests.bench.throughput import Plan, throughput
from tests.bench.workloads import WORKLOADS
from tests.support.stack import own_stack

_HEADLINES = ("runs_per_s", "acks_per_s", "cpu_ms_per_run", "write_transactions_per_run", "wal_bytes_per_run")


def main() -> None:
    """Measure what was asked for."""
    options = _options()
    report: dict[str, Any] = {"setting": {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2)}}
    plan = Plan(runs=options.runs, repeat=options.repeat, via=options.via, counts=options.counts)
    with target() as server, own_stack(TASKFORGE_EXECUTORS=str(options.executors)) as stack:
        for name in options.workloads or list(WORKLOADS):
            report[name] = asyncio.run(throughput(StackSystem(stack), server, WORKLOADS[name], plan))
            _print(name, report[name])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("workloads", nargs="*", type=_workload_name, metavar="|".join(WORKLOADS), help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions of each workload")
    parser.add_argument("--runs", type=int, default=2000, metavar="N", help="runs in a repetition")
    parser.add_argument("--executors", type=int, default=1, metavar="N")
    parser.add_argument("--via", choices=["http", "grpc"], default="http", help="how runs are started")
    parser.add_argument("--counts", action="store_true", help="also commits and fsyncs, which PostgreSQL reports late")
    return parser.parse_args()


def _workload_name(text: str) -> str:
    if text not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"there is no workload {text!r}")
    return text


def _print(name: str, report: dict[str, Any]) -> None:
    for figure in _HEADLINES:
        value = report[figure]
        print(f"{name:6} {figure:28} {value['median']:>10.2f}  ({value['min']:.2f}-{value['max']:.2f})", flush=True)


if __name__ == "__main__":
    main()
