"""jq programs are compiled when a workflow is applied, and nothing of them runs."""

from __future__ import annotations

import time

import pytest

from taskforge.language.jq_programs import MAX_CHARS, check_jq


@pytest.mark.parametrize(
    "program",
    [
        ".",
        "{tag: .tag_name, assets: [.assets[].name]}",
        "# a comment\n.a",
        "def f: f; f",
        "[range(1e12)]",
        ".a * 2",
        '.[] | select(.import == "include") | .module',
        ".a *= 2",
    ],
)
def test_sound_programs_pass(program: str) -> None:
    assert check_jq(program) is None


@pytest.mark.parametrize(
    ("program", "line", "column", "words"),
    [
        ("{a:", 1, 3, "unexpected end of file"),
        (".a |\n  foo", 2, 3, "foo/0 is not defined"),
        ("$name", 1, 1, "$name is not defined"),
        ("", 1, 1, "empty"),
        ("# only a comment", 1, 1, "Top-level program not given"),
        ('import "a" as a; .', 1, 1, "'import' is not supported"),
        ('# c\n  include "x"; .', 1, 1, "'include' is not supported"),
        ("module {}; .", 1, 1, "'module' is not supported"),
        ("$ENV.HOME", 1, 1, "programs see no environment"),
        (".a\0", 1, 1, "not text"),
        ("." + " " * MAX_CHARS, 1, 1, "characters"),
    ],
)
def test_other_programs_are_refused_with_their_place(program: str, line: int, column: int, words: str) -> None:
    fault = check_jq(program)
    assert fault is not None
    assert (fault.line, fault.column) == (line, column)
    assert words in fault.message


def test_an_expression_in_a_program_gets_a_hint() -> None:
    fault = check_jq(".a + ${{ inputs.x }}")
    assert fault is not None
    assert "no ${{ }}" in fault.hint


@pytest.mark.parametrize(
    "program", ['"a" * 1e9', '"a" * 1e9 * 1e9', '"\\("a" * 1e9)"', "." + "+." * (MAX_CHARS // 2 - 1)]
)
def test_no_program_fills_the_memory_or_the_time_of_whoever_checks_it(program: str) -> None:
    started = time.process_time()
    check_jq(program)
    assert time.process_time() - started < 1.0
