"""The page's tables, from the figures alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from tests.bench.measurements.latency import LOADS
from tests.bench.report.goals import GOALS
from tests.bench.workloads import WORKLOADS

#: As a run passes them.
_ROLES = ("edge", "gateway", "ingest", "scheduler", "executor", "valkey", "postgres", "supervisor")
_LEAST_SHOWN = 0.005
_SCALES = {"executors": "executors", "schedulers": "schedulers, with two executors", "queued": "runs that wait"}

Report = Mapping[str, Any]


def tables(report: Report) -> dict[str, str]:
    """Every table, by the name of its place in the page."""
    return {
        "setting": _setting(report["setting"]),
        "targets": _targets(report),
        "throughput": _throughput(report),
        "processes": _processes(report),
        "limits": _limits(report),
        "idle-latency": _idle_latency(report["latency"]),
        "load": _load(report),
        "overload": _overload(report["overload"]),
        "acks": _acks(report),
        "rest": _rest(report),
        "many": _many(report),
        "scale": _scale(report["scale"]),
    }


def at(report: Report, path: Sequence[str]) -> Any:
    """The figure at a path."""
    return reduce(lambda found, name: found[name], path, report)


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= _LEAST_SHOWN else "0"


def shown(spread: Mapping[str, float], unit: str = "") -> str:
    """A median with its least and greatest, if they differ."""
    median, low, high = (number(spread[name]) for name in ("median", "min", "max"))
    return f"{median}{unit}" if low == high else f"{median}{unit} ({low} to {high})"


def by_role(spreads: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Medians by what a process is, all executors together, in the order of a run's way."""
    found: dict[str, float] = {}
    for name, spread in spreads.items():
        role = name.partition("-")[0]
        found[role] = found.get(role, 0.0) + spread["median"]
    known = [*_ROLES, *sorted(set(found) - set(_ROLES))]
    return {role: found[role] for role in known if found.get(role, 0.0) >= _LEAST_SHOWN}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _setting(setting: Report) -> str:
    python = setting["python"]
    loop = f"a million rounds of a loop in {number(python['million_loops_ms'])} ms"
    rows = [
        ["machine", f"{setting['cores']} cores ({setting['processor']}), {setting['memory_gb']} GB"],
        ["kernel", f"Linux {setting['kernel']}"],
        ["Python", f"{python['version']}; an optimised build: {python['optimised']}; {loop}"],
        ["servers", " ".join(f"{name} {setting[name.lower()]}" for name in ("PostgreSQL", "Valkey", "Envoy"))],
        ["when", f"{setting['date']}, commit {setting['commit']}"],
        ["repetitions", f"{setting['repetitions']}"],
        ["load average before", f"{setting['load_average_before']}"],
    ]
    return _table(["setting", ""], rows)


def _targets(report: Report) -> str:
    rows = []
    for goal in GOALS:
        spread = at(report, goal.path)
        limits = (f"{goal.sign} {number(goal.must)}{goal.unit}", f"{goal.sign} {number(goal.aim)}{goal.unit}")
        name = goal.name.format(schedules=report["cron"]["schedules"], runs=report["history"]["runs"])
        rows.append([name, *limits, shown(spread, goal.unit), goal.verdict(spread["median"])])
    return _table(["", "must", "aim", "median (min to max)", "met"], rows)


def _throughput(report: Report) -> str:
    figures = {
        "runs/s": "runs_per_s",
        "CPU-ms a run": "cpu_ms_per_run",
        "write transactions a run": "write_transactions_per_run",
        "commits a run, with those that only read": "commits_per_run",
        "fsyncs of the log a run": "fsyncs_per_run",
        "bytes of log a run": "wal_bytes_per_run",
        "acknowledged triggers/s meanwhile": "acks_per_s",
    }
    rows = [[name, *(shown(report[workload][figure]) for workload in WORKLOADS)] for name, figure in figures.items()]
    return _table(["", *WORKLOADS], rows)


def _processes(report: Report) -> str:
    costs = {name: by_role(report[name]["cpu_ms_per_run_by_process"]) for name in WORKLOADS}
    roles = [role for role in _ROLES if any(role in cost for cost in costs.values())]
    rows = [[role, *(number(cost.get(role, 0.0)) for cost in costs.values())] for role in roles]
    for name, figure in (("*load generator*", "load_cpu_ms_per_run"), ("*target*", "target_cpu_ms_per_run")):
        rows.append([name, *(number(report[workload][figure]["median"]) for workload in WORKLOADS)])
    return _table(["CPU-ms a run", *WORKLOADS], rows)


def _limits(report: Report) -> str:
    limits, cores = report["limits"], report["setting"]["cores"]
    head = [["single-row commits/s, 1 client", shown(limits["commits_per_s_1_client"])]]
    head.append(["single-row commits/s, 32 clients", shown(limits["commits_per_s_32_clients"])])
    head.append(["rows/s, 100 a statement", shown(limits["batched_rows_per_s"])])
    head.append(["stream entries/s added, read and acknowledged, 100 at a time", shown(limits["stream_entries_per_s"])])
    head.append(["fdatasync of 8 kB, p50", shown(limits["fdatasync_ms"]["p50"], " ms")])
    rows = []
    for name in WORKLOADS:
        rate = report[name]["runs_per_s"]["median"]
        busy = rate * report[name]["cpu_ms_per_run"]["median"] / 1000 / cores
        commits = rate * report[name]["write_transactions_per_run"]["median"]
        most = limits["commits_per_s_32_clients"]["median"]
        rows.append([name, number(rate), f"{busy:.0%}", f"{commits / most:.1%}", f"{rate / most:.1%}"])
    shares = ["", "runs/s", "of the cores", "its commits/s, of those of 32 clients", "its runs/s, of the same"]
    return _table(["this machine's limits", "median (min to max)"], head) + "\n\n" + _table(shares, rows)


def _idle_latency(latency: Report) -> str:
    whats = (("answer", "ack_ms"), ("first request", "first_request_ms"), ("done", "done_ms"))
    rows = [
        [f"{name}: trigger to {what}", *(shown(latency["idle"][name][figure][part]) for part in ("p50", "p99"))]
        for name in latency["idle"]
        for what, figure in whats
    ]
    return _table(["ms", "p50", "p99"], rows)


def _load(report: Report) -> str:
    rows = []
    for percent in LOADS:
        point = report["latency"]["load"][str(percent)]
        rates = [f"{percent} %", number(point["offered_per_s"]), shown(point["runs_per_s"])]
        rows.append([*rates, *(shown(point[what][part]) for what in ("ack_ms", "done_ms") for part in ("p50", "p99"))])
    head = ["load", "offered/s", "finished/s", "answer, p50 ms", "p99 ms", "done, p50 ms", "p99 ms"]
    return _table(head, rows)


def _overload(overload: Report) -> str:
    rows = [
        ["offered/s", number(overload["offered_per_s"])],
        ["accepted/s", shown(overload["acks_per_s"])],
        ["turned away with 429/s", shown(overload["shed_per_s"])],
        ["that found none of the connections free within a second, /s", shown(overload["not_sent_per_s"])],
        ["finished runs/s", shown(overload["runs_per_s"])],
        ["trigger to done of what was accepted, p50", shown(overload["done_ms"]["p50"], " ms")],
        ["until latency is normal again", shown(overload["recovery_s"], " s")],
    ]
    return _table([f"for {number(overload['seconds'])} s", "median (min to max)"], rows)


def _acks(report: Report) -> str:
    most = report["limits"]["commits_per_s_32_clients"]["median"]
    rows = []
    for name, door in (("API", "api"), ("webhook", "webhook")):
        found = report["acks"][door]
        times = [shown(found["ack_ms"][part]) for part in ("p50", "p99")]
        rows.append([name, shown(found["acks_per_s"]), *times, f"{found['acks_per_s']['median'] / most:.0%}"])
    return _table(["", "acknowledged/s", "p50 ms", "p99 ms", "of the commits/s of 32 clients"], rows)


def _rest(report: Report) -> str:
    memory, cpu = (by_role(report["idle"][f"{what}_by_process"]) for what in ("memory_mb", "cpu_percent"))
    rows = [[role, number(used), number(cpu.get(role, 0.0))] for role, used in memory.items()]
    rows.append(["**all**", shown(report["idle"]["memory_mb"]), shown(report["idle"]["cpu_percent"])])
    return _table(["at rest", "MB (PSS)", "% of a core"], rows)


def _many(report: Report) -> str:
    history, cron = report["history"], report["cron"]
    first, schedules = history["first_request_ms"], f"{cron['schedules']:,}"
    rows = [
        [f"until all of {schedules} schedules have fired", shown(cron["all_fired_s"], " s")],
        ["until half of them have", shown(cron["half_fired_s"], " s")],
        ["`taskforge up` of an initialised home", shown(report["coldstart"]["up_s"], " s")],
        ["trigger to first request, no history, p99", shown(first["empty"]["p99"], " ms")],
        [f"the same beside {history['runs']:,} finished runs", shown(first["beside"]["p99"], " ms")],
    ]
    rows += [
        [f"{name.replace('_', ' ')}, p99, beside them", shown(found["p99"], " ms")]
        for name, found in history["reads_ms"].items()
    ]
    return _table(["", "median (min to max)"], rows)


def _scale(scale: Report) -> str:
    rows = []
    for what, name in _SCALES.items():
        for count, found in scale[what].items():
            figures = (shown(found[figure]) for figure in ("runs_per_s", "cpu_ms_per_run", "acks_per_s"))
            rows.append([name, f"{int(count):,}", *figures])
    return _table(["chain, by", "how many", "runs/s", "CPU-ms a run", "acknowledged triggers/s"], rows)
