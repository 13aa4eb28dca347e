"""Does things to a running product that must not matter, and says whether they did.

    tests/chaos/run                          every experiment, with the numbers of the catalogue
    tests/chaos/run F04 F18                  these
    tests/chaos/run --minutes 5 --scale 0.1  a random choice for five minutes
    tests/chaos/run --seed 7 F04             the same again
    tests/chaos/run --list                   what there is

Each experiment reports what was injected, how often, how many runs there were and what was violated. The exit code is 1
after any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.experiment import Experiment, experiments
from tests.chaos.lab import Bench, Lab, Skip
from tests.chaos.report import Outcome, table

_SUBSET_SCALE = 0.1  #: at which an experiment takes the seconds that it says
_PATIENCE = 8  #: an experiment is ended after so many times the seconds that it says


def main() -> None:
    """Run what was asked for."""
    options = _options()
    found = experiments()
    if options.list:
        for one in found.values():
            print(f"{one.id}  {one.title}\n     {one.threshold}")
        return
    unknown = [name for name in options.names if name not in found]
    if unknown:
        sys.exit(f"there is no experiment {', '.join(unknown)}; tests/chaos/run --list shows all")
    print(f"seed {options.seed}", flush=True)
    outcomes = asyncio.run(_run(options, found))
    _write(options, outcomes)
    failed = [outcome.id for outcome in outcomes if outcome.violations]
    skipped = sum(outcome.verdict == "skipped" for outcome in outcomes)
    runs = sum(outcome.runs for outcome in outcomes)
    print(f"{len(outcomes)} experiments, {runs} runs, {skipped} skipped, failed: {', '.join(failed) or 'none'}")
    sys.exit(1 if failed else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/chaos/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="F04", help="default: all, or a random choice with --minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: random")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long a random choice, or F53, may take")
    parser.add_argument("--scale", type=float, default=1.0, help="a factor on the catalogue's numbers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write it as a Markdown table")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the logs of what failed")
    parser.add_argument("--list", action="store_true", help="show every experiment")
    return parser.parse_args()


async def _run(options: argparse.Namespace, found: dict[str, Experiment]) -> list[Outcome]:
    bench = Bench(options.keep)
    outcomes = []
    try:
        for one in _chosen(options, found):
            outcomes.append(await _do(bench, one, options))
            print("\n".join(outcomes[-1].lines()), flush=True)
    finally:
        await bench.close()
    return outcomes


def _chosen(options: argparse.Namespace, found: dict[str, Experiment]) -> Iterator[Experiment]:
    """The experiments to do; a random choice goes on as long as another one fits into the time."""
    if options.names:
        yield from (found[name] for name in options.names)
    elif not options.minutes:
        yield from found.values()
    else:
        yield from _fitting(list(found.values()), options)


def _fitting(found: Sequence[Experiment], options: argparse.Namespace) -> Iterator[Experiment]:
    end = time.monotonic() + 60 * options.minutes
    order = [one for one in found if one.in_subset]
    random.Random(options.seed).shuffle(order)
    for one in order:
        if time.monotonic() + one.seconds * max(1.0, options.scale / _SUBSET_SCALE) <= end:
            yield one


async def _do(bench: Bench, one: Experiment, options: argparse.Namespace) -> Outcome:
    outcome = Outcome.of(one, seed=options.seed, scale=options.scale)
    lab = Lab(bench, one, outcome, minutes=options.minutes)
    started = time.monotonic()
    try:
        if one.needs_root and os.geteuid() != 0:
            raise Skip("needs root")
        async with asyncio.timeout(_longest(one, options)):
            await one.body(lab)
    except Skip as reason:
        outcome.skipped = str(reason)
    except Exception as error:
        where = "".join(traceback.format_exception(error, limit=-4))
        outcome.violations.append(f"{one.id} was not done to its end: {where}")
    outcome.seconds = time.monotonic() - started
    if outcome.violations:
        await bench.discard(keep_as=f"{one.id}-{options.seed}")
    return outcome


def _longest(one: Experiment, options: argparse.Namespace) -> float:
    stretch: float = max(1.0, options.scale / _SUBSET_SCALE)
    minutes: float = options.minutes
    return 60 + _PATIENCE * one.seconds * stretch + 90 * minutes


def _write(options: argparse.Namespace, outcomes: Sequence[Outcome]) -> None:
    if options.json:
        report = {"seed": options.seed, "scale": options.scale, "experiments": [one.as_json() for one in outcomes]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.table:
        options.table.write_text(table(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
