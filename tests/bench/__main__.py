"""Measures the whole product, with everything on this machine.

    tests/bench/run                          everything, some 25 minutes
    tests/bench/run hop chain --json FILE    what you want to know
    tests/bench/run page FILE                writes what the whole has found into docs/explanation/performance.md

A local stack with its default durability and a home folder of its own, the target and the load generator share this
machine; only the stack is in the figures. Reported are the median, the least and the greatest of the repetitions.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tests.bench import options, parts
from tests.bench.machine import setting
from tests.bench.report import page
from tests.bench.target import target


def main() -> None:
    """Measure what was asked for."""
    if sys.argv[1:2] == ["page"]:
        page.main(sys.argv[2:])
        return
    chosen = options.parse(__doc__ or "", tuple(parts.PARTS))
    report = {"setting": {**setting(), "repetitions": chosen.repeat, "executors": chosen.executors}}
    with target() as server:
        bench = parts.Bench(chosen, server, report)
        try:
            for name in [part for part in parts.PARTS if part in chosen.parts]:
                report[name] = asyncio.run(parts.PARTS[name](bench))
                parts.show(name, report[name])
                if chosen.json:
                    chosen.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        finally:
            bench.close()


if __name__ == "__main__":
    main()
