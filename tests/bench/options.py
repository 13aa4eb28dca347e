"""What the benchmark was told."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to measure."""

    parts: tuple[str, ...]
    json: Path | None = None
    repeat: int = 3
    runs: int = 2000  #: in a repetition of hop, chain and ten
    executors: int = 1
    via: str = "http"  #: how runs are started
    counts: bool = False  #: also the meters that PostgreSQL reports late
    schedules: int = 100_000
    history_runs: int = 1_000_000
    queued: tuple[int, ...] = (1_000, 10_000, 100_000)


def parse(description: str, parts: tuple[str, ...]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="tests/bench/run", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all, which are {' '.join(parts)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions of each part (3)")
    parser.add_argument("--runs", type=int, metavar="N", help="runs in a repetition of hop, chain and ten (2000)")
    parser.add_argument("--executors", type=int, metavar="N", help="for the parts that do not vary them (1)")
    parser.add_argument("--via", choices=["http", "grpc"], help="how hop, chain and ten are started (http)")
    parser.add_argument(
        "--counts", action="store_true", default=None, help="commits and fsyncs, too: ten more seconds a repetition"
    )
    parser.add_argument("--schedules", type=int, metavar="N", help="for cron (100,000)")
    parser.add_argument("--history-runs", type=int, metavar="N", help="for history (1,000,000)")
    parser.add_argument("--queued", type=_numbers, metavar="N,N…", help="for scale (1000,10000,100000)")
    given = vars(parser.parse_args())
    wrong = [name for name in given["parts"] if name not in parts]
    if wrong:
        parser.error(f"there is no part {wrong[0]!r}; there are {' '.join(parts)}")
    # The whole is a report, and leaves nothing out; who names a part is looking for something, and waiting.
    given["counts"] = given["counts"] or not given["parts"]
    given["parts"] = tuple(given["parts"]) or parts
    return Options(**{field.name: given[field.name] for field in fields(Options) if given[field.name] is not None})


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))
