from __future__ import annotations

import re

from taskforge.v1.run_pb2 import Run, Step
from taskforge_cli.paint import Paint
from taskforge_cli.tree import STATES, Look, run_lines, to_text
from tests.unit.cli.messages_of_runs import BEGAN, run, stamp, step

LOOK = Look(now=BEGAN.timestamp() + 5)


def drawn(*steps: Step, state: str = "RUNNING", look: Look = LOOK) -> str:
    return to_text(run_lines(run(*steps, state=state), look), Paint(enabled=False))


def test_a_run_is_a_headline_and_a_line_a_step() -> None:
    text = drawn(
        step("fetch", "SUCCEEDED", seconds=(0, 0.212), output={"status": 200, "body": {"a": 1}}),
        step("summary", "SUCCEEDED", kind="transform", seconds=(0.3, 0.303), output={"tag": "v1"}),
        step("tell", "PENDING", kind="log"),
    )
    assert text == (
        "hello · 0192f1c2-aaaa · ● RUNNING · 5.0s\n"
        '├─ ✓ fetch    http       212ms  200  {"a":1}\n'
        '├─ ✓ summary  transform    3ms  {"tag":"v1"}\n'
        "└─ · tell     log\n"
    )


def test_what_a_switch_did_not_take_is_one_line() -> None:
    text = drawn(
        step("route", "SUCCEEDED", kind="switch", output={"branch": 0}),
        step("tell", "RUNNING", kind="log", parent="route", branch=0),
        step("alert", "SKIPPED", parent="route", branch=1, reason="branch_not_taken"),
        step("page", "SKIPPED", parent="route", branch=1, reason="branch_not_taken"),
        step("last", kind="log"),
    )
    assert text.splitlines()[1:] == [
        "├─ ✓ route    switch    → tell",
        "│  ├─ ● tell  log",
        "│  └─ – alert, page  not taken",  # noqa: RUF001
        "└─ · last     log",
    ]


def test_steps_inside_a_switch_that_has_not_decided_are_all_shown() -> None:
    text = drawn(
        step("route", kind="switch"),
        step("a", parent="route", branch=0),
        step("b", parent="route", branch=1),
    )
    assert [line.split()[-2] for line in text.splitlines()[1:]] == ["route", "a", "b"]


def test_a_step_that_retries_says_when_and_why() -> None:
    waiting = step("fetch", "RETRYING", attempt=2, max_attempts=5, seconds=(1, 2), error="503 Service Unavailable")
    waiting.due_time.CopyFrom(stamp(8))
    assert "↻ fetch  http  1.0s  attempt 2/5  again in 3.0s: 503 Service Unavailable" in drawn(waiting)


def test_a_failed_step_shows_its_error_and_lost_executors() -> None:
    text = drawn(step("fetch", "FAILED", attempt=3, max_attempts=3, crashes=1, seconds=(0, 1), error="no answer"))
    assert "✗ fetch  http  1.0s  attempt 3/3  1 executor lost  no answer" in text


def test_a_running_step_shows_how_long_it_has_run() -> None:
    running = step("fetch", "RUNNING", attempt=1)
    running.start_time.CopyFrom(stamp(2))
    assert "● fetch  http  3.0s" in drawn(running)


def test_lines_fit_into_the_terminal() -> None:
    long = step("fetch", "SUCCEEDED", seconds=(0, 1), output={"status": 200, "body": "x" * 300})
    lines = drawn(long, look=Look(now=LOOK.now, width=60)).splitlines()
    assert max(len(line) for line in lines) <= 60
    assert lines[1].endswith("…")


def test_text_from_outside_cannot_move_the_cursor() -> None:
    text = drawn(step("fetch", "FAILED", attempt=1, error="bad\x1b[2J\nnews"))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 2


def test_without_unicode_the_tree_is_ascii() -> None:
    steps = [
        step("route", "SUCCEEDED", kind="switch", output={"branch": 0}),
        step("tell", "SUCCEEDED", kind="log", parent="route"),
    ]
    assert drawn(*steps, look=Look(now=LOOK.now, unicode=False)).isascii()


def test_every_state_of_the_api_has_a_look() -> None:
    names = {name.removeprefix("STATE_") for kind in (Run, Step) for name in kind.State.DESCRIPTOR.values_by_name}
    assert names - {"UNSPECIFIED"} == set(STATES)


def test_colours_add_nothing_but_colours() -> None:
    lines = run_lines(run(step("fetch", "FAILED", error="no")), LOOK)
    coloured = to_text(lines, Paint(enabled=True))
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == to_text(lines, Paint(enabled=False))
