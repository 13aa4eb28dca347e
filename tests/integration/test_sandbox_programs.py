"""What jq programs and CEL expressions yield in the sandbox, and how they are stopped from harming anybody."""

from __future__ import annotations

import asyncio

import pytest

from taskforge.domain.json_values import MAX_BYTES
from taskforge.domain.workflow import JsonValue
from taskforge.language import cel
from taskforge.sandbox.pool import SandboxPool
from taskforge.sandbox.requests import (
    MAX_INPUT_BYTES,
    MAX_SOURCE_CHARS,
    CelRequest,
    EvaluationFailed,
    EvaluationOutOfMemory,
    EvaluationTimedOut,
    InputRefused,
    JqRequest,
    Ok,
    OutputInvalid,
    OutputTooLarge,
    Result,
)
from tests.support.sandbox import ENDLESS, busy_worker, evaluate_cel, jq, run_with_pool


class TestPrograms:
    def test_values_come_out_as_jq_makes_them(self) -> None:
        table: list[tuple[str, JsonValue, JsonValue]] = [
            (".", {"a": [1, 2.5, "é", None, True]}, {"a": [1, 2.5, "é", None, True]}),
            (
                "{tag: .tag_name, assets: [.assets[].name]}",
                {"tag_name": "v1", "assets": [{"name": "x"}]},
                {"tag": "v1", "assets": ["x"]},
            ),
            (".id", {"id": 12345678901234567890}, 12345678901234567890),
            ("[.[] | select(. > 1)]", [1, 2, 3], [2, 3]),
            ("def f: . + 1; f", 1, 2),
            (". # a comment", 1, 1),
            (". # a comment that goes on \\", {"a": 1}, {"a": 1}),
            ('"{\\"a\\":1}"', None, '{"a":1}'),
            ('try error("x") catch .', None, "x"),
            ("nan", None, None),
            ("null", None, None),
            ("false", None, False),
            ("[inputs]", 1, []),
            ("env", None, {}),
            ("$ENV", None, {}),
            ('"\\(env.HOME) \\($ENV.PATH)"', None, "null null"),
            ("0 | localtime | mktime", None, 0),
            ("input_filename", None, None),
            ('"x" | debug | stderr', None, "x"),
        ]

        async def scenario(pool: SandboxPool) -> None:
            for program, value, expected in table:
                assert await jq(pool, program, value) == Ok(value=expected), program

        run_with_pool(scenario, size=1)

    def test_failures_are_typed_and_say_what_to_do(self) -> None:
        table = [
            ("empty", "produced nothing"),
            ("1, 2", r"wrap it in [ ]"),
            ("repeat(1)", r"wrap it in [ ]"),
            ("halt", "produced nothing"),
            ('"x" | halt_error', "produced nothing"),
            ('error("my message")', "my message"),
            ("error(null)", "null"),
            ("error({a: 1})", '{"a": 1}'),
            ('error("\\u0000nul")', "nul"),
            (".a", "Cannot index number"),
            ("input", "no further input"),
            ("{", "syntax error"),
            (".a | .b c", "line 1, column 9"),
            ("", "not given"),
            ("# nothing", "not given"),
            ("nope(1)", "nope/1 is not defined"),
            (".\0", "NUL"),
            ('import "keyring" as $k {search: "/"}; $k', "cannot be imported"),
            ('include "x"; .', "cannot be imported"),
        ]

        async def scenario(pool: SandboxPool) -> None:
            for program, expected in table:
                result = await jq(pool, program, 1)
                assert isinstance(result, EvaluationFailed), (program, result)
                assert expected in result.message, (program, result)
                assert len(result.message) <= 2000

        run_with_pool(scenario, size=1)

    def test_what_cannot_be_stored_is_refused(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            for program in (
                '"a\\u0000b"',
                '{"\\u0000": 1}',
                "1e1000",
                "reduce range(65) as $i (1; [.])",
                "reduce range(5000) as $i (1; [.])",
            ):
                result = await jq(pool, program)
                assert isinstance(result, OutputInvalid), (program, result)
                assert "cannot be stored" in result.message
            assert isinstance(await jq(pool, "reduce range(64) as $i (1; [.])"), Ok)

        run_with_pool(scenario, size=1)

    def test_output_is_limited_on_both_sides(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            request = JqRequest(program='"a" * .', input=98, max_output_bytes=100)
            assert await pool.evaluate(request, 20) == Ok(value="a" * 98)
            request = JqRequest(program='"a" * .', input=99, max_output_bytes=100)
            assert await pool.evaluate(request, 20) == OutputTooLarge(limit_bytes=100)
            assert await jq(pool, '"a" * 50000000') == OutputTooLarge(limit_bytes=MAX_BYTES)
            assert isinstance(await jq(pool, "[range(140000)]"), Ok)

        run_with_pool(scenario, size=1)

    def test_input_is_checked_before_anything_runs(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            for value in (float("nan"), "\ud800", "a\0b", {1: 2}, "x" * MAX_INPUT_BYTES):
                assert isinstance(await jq(pool, ".", value), InputRefused)
            assert isinstance(await jq(pool, " " * (MAX_SOURCE_CHARS + 1)), InputRefused)
            assert not pool.worker_pids
            assert isinstance(await jq(pool, "length", "x" * (MAX_INPUT_BYTES - 2)), Ok)

        run_with_pool(scenario, size=1)


class TestExpressions:
    def test_cel_answers_as_it_does_in_the_service(self) -> None:
        context = {"inputs": {"xs": [3, 1, 2], "t": "2026-07-01T00:00:00Z"}, "steps": {"a": {"output": {"n": 2**40}}}}
        sources = [
            "inputs.xs.map(x, x * 2)",
            "inputs.xs.filter(x, x > 1)",
            "steps.a.output",
            "{'n': steps.a.output.n, 'all': inputs.xs.all(x, x > 0)}",
            "timestamp(inputs.t).getHours('America/New_York')",
            "timestamp(inputs.t).getHours('Asia/Tokyo') + timestamp(inputs.t).getHours('Europe/Paris')",
            "1 / 0",
            "steps.b.output",
            "inputs.nope.map(x, x)",
        ]

        async def scenario(pool: SandboxPool) -> None:
            for source in sources:
                expression = cel.compile(source)
                result = await pool.evaluate(CelRequest(expression=source, context=expression.prune(context)), 20)
                try:
                    expected: Result = Ok(value=expression.evaluate(context))
                except cel.ExpressionError as error:
                    expected = EvaluationFailed(message=str(error))
                assert result == expected, source
            assert isinstance(await evaluate_cel(pool, "1 +"), EvaluationFailed)

        run_with_pool(scenario, size=1)

    @pytest.mark.parametrize(
        "expression",
        [
            "['" + "a" * 30 + "']" + ".map(a, a + a)" * 28,
            "cel.bind(a, '" + "a" * 2000 + "', " + "cel.bind(a, a+a+a+a+a+a+a+a, " * 9 + "a.size()" + ")" * 10,
        ],
    )
    def test_a_memory_bomb_in_cel_is_named(self, expression: str) -> None:
        async def scenario(pool: SandboxPool) -> None:
            assert isinstance(await evaluate_cel(pool, expression), EvaluationOutOfMemory)
            assert await evaluate_cel(pool, "1 + 1") == Ok(value=2)

        run_with_pool(scenario, size=1)

    def test_cel_that_takes_too_long_is_killed(self) -> None:
        rows = [{"n": index, "text": "x" * 50} for index in range(9000)]

        async def scenario(pool: SandboxPool) -> None:
            request = CelRequest(expression="inputs.rows.map(r, r.n).size()", context={"inputs": {"rows": rows}})
            assert await pool.evaluate(request, 0.05) == EvaluationTimedOut(seconds=0.05)

        run_with_pool(scenario, size=1)

    def test_a_time_zone_is_no_way_to_a_file(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            for zone in ("../../../etc/passwd", "/etc/passwd", "file:/etc/passwd", "/proc/self/environ"):
                result = await evaluate_cel(pool, f"timestamp(0).getHours('{zone}')")
                assert isinstance(result, EvaluationFailed)
                assert "root:" not in result.message

        run_with_pool(scenario, size=1)

    def test_the_two_languages_do_not_wait_for_each_other(self) -> None:
        async def scenario(pool: SandboxPool) -> None:
            hanging = asyncio.create_task(jq(pool, ENDLESS, timeout=60))
            await busy_worker(pool)
            assert await evaluate_cel(pool, "[1, 2].map(x, x)") == Ok(value=[1, 2])
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)

        run_with_pool(scenario, size=1)
