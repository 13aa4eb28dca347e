"""Measures other engines with the benchmark's workloads, so that its figures can be read beside theirs.

    python -m tests.bench.peers                          all of them, some minutes
    python -m tests.bench.peers restate --json FILE      one

Nothing of this is needed for anything else. Each peer comes from its public registry, at one version, into a cache
folder outside the repository (TASKFORGE_PEERS names another), and runs with the durability that it ships with.
A peer that cannot be had on this machine is left out, with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.bench.peers import dbos, restate
from tests.bench.peers.measure import Peer, throughput
from tests.bench.peers.packages import Missing
from tests.bench.target import Target, target
from tests.bench.workloads import WORKLOADS

#: How each is installed and started.
PEERS: dict[str, Callable[[str], AbstractContextManager[Peer]]] = {"restate": restate.running, "dbos": dbos.running}
_HEADLINES = "runs_per_s", "acks_per_s", "cpu_ms_per_run"


def main() -> int:
    """Measure what was asked for. Returns the exit code: whether every peer could be had."""
    options = _options()
    report: dict[str, Any] = {"setting": {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2)}}
    missing = False
    with target() as server:
        for name in options.peers or PEERS:
            try:
                report[name] = _measure(name, server, options)
            except Missing as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                missing = True
            if options.json:
                options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(missing)


def _measure(name: str, server: Target, options: argparse.Namespace) -> dict[str, Any]:
    with PEERS[name](server.url) as peer:
        report: dict[str, Any] = {"version": peer.version}
        for workload in WORKLOADS.values():
            report[workload.name] = asyncio.run(throughput(peer, server, workload, options.runs, options.repeat))
            _print(f"{name} {workload.name}", report[workload.name])
    return report


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peers", nargs="*", type=_peer_name, metavar="|".join(PEERS), help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions of each workload")
    parser.add_argument("--runs", type=int, default=500, metavar="N", help="runs in a repetition")
    return parser.parse_args()


def _peer_name(text: str) -> str:
    if text not in PEERS:
        raise argparse.ArgumentTypeError(f"there is no peer {text!r}")
    return text


def _print(name: str, report: dict[str, Any]) -> None:
    for figure in _HEADLINES:
        value = report[figure]
        print(f"{name:14} {figure:16} {value['median']:>10.2f}  ({value['min']:.2f}-{value['max']:.2f})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
