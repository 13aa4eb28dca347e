"""Search the model: `python -m tests.chaos.model --help`."""

from __future__ import annotations

import argparse
import sys

from tests.chaos.model.bounds import LARGE_SIZES, SIZES, Budget, Size
from tests.chaos.model.checker import check
from tests.chaos.model.protocol import Protocol
from tests.chaos.model.rows import Bug


def main() -> int:
    """Search one size after the other; 1 if there is a violation."""
    arguments = _parse()
    bugs = frozenset(Bug(name) for name in arguments.bug)
    violations = 0
    for name, size in _sizes(arguments).items():
        outcome = check(Protocol(size, bugs), limit=arguments.limit)
        print(f"{name}: {outcome}", flush=True)
        violations += outcome.violation is not None
    return min(violations, 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.model", description="Search the protocol's model.")
    parser.add_argument("--large", action="store_true", help="search the large sizes, too: minutes, and a GB or two")
    parser.add_argument("--limit", type=int, default=50_000_000, help="give up after so many states")
    parser.add_argument("--bug", action="append", default=[], choices=list(Bug), help="put a mistake into the model")
    parser.add_argument("--steps", type=int, default=2, help="steps of a size of your own; with it:")
    for name in Budget._fields:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=0, metavar="N")
    return parser.parse_args()


def _sizes(arguments: argparse.Namespace) -> dict[str, Size]:
    budget = Budget(*(getattr(arguments, name) for name in Budget._fields))
    if any(budget):
        return {"as asked": Size(steps=arguments.steps, budget=budget)}
    return SIZES | LARGE_SIZES if arguments.large else SIZES


if __name__ == "__main__":
    sys.exit(main())
