"""CEL: what expressions refer to, what they cost, and errors that say what to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskforge.language import cel
from taskforge.language.paths import format_reference, parse_simple

CONTEXT: dict[str, Any] = {
    "inputs": {"n": 3, "f": 1.5, "s": "text", "l": [1, 2, {"x": 4}], "none": None, "yes": True, "big": 2**70, "a-b": 1},
    "trigger": {"type": "manual", "id": ""},
    "steps": {
        "fetch": {"state": "SUCCEEDED", "output": {"status": 200, "body": {"total": 5, "count": 1}}},
        "off": {"state": "SKIPPED"},
        "bad": {"state": "FAILED"},
    },
    "run": {"id": "r1", "workflow": "w", "created_at": "2026-01-01T00:00:00Z"},
}


def value_of(source: str) -> Any:
    return cel.compile(source).evaluate(CONTEXT)


def error_of(source: str) -> str:
    with pytest.raises(cel.ExpressionError) as caught:
        value_of(source)
    return str(caught.value)


def refusal(source: str) -> cel.CompileError:
    with pytest.raises(cel.CompileError) as caught:
        cel.compile(source)
    return caught.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("inputs.n", 3),
        ("inputs['a-b']", 1),
        ("inputs.l[2].x", 4),
        ("inputs.big", 2**70),
        ("steps.fetch.output.status == 200 && inputs.n > 2", True),
        ("inputs.n == 3.0", True),
        ("inputs.l", [1, 2, {"x": 4}]),
        ("{'a': inputs.n, 'b': [inputs.s]}", {"a": 3, "b": ["text"]}),
        ("has(steps.off.output) ? steps.off.output.x : 'none'", "none"),
        ("has(inputs.missing)", False),
        ("inputs.?missing.orValue(7)", 7),
        ("steps.?nobody.?output.orValue('x')", "x"),
        ("inputs.l.map(i, type(i) == int)", [True, True, False]),
        ("inputs.l.exists(i, i == 2)", True),
        ("cel.bind(x, inputs.n, x + x)", 6),
        ("size(inputs.s)", 4),
        ("inputs.s.upperAscii() + '!'", "TEXT!"),
        ("math.greatest(inputs.n, 9)", 9),
        ("base64.encode(bytes(inputs.s))", "dGV4dA=="),
        ("timestamp(run.created_at) + duration('90s')", "2026-01-01T00:01:30Z"),
        ("duration('1h')", "3600s"),
        ("[timestamp(run.created_at)]", ["2026-01-01T00:00:00Z"]),
        ("null", None),
        ("3u", 3),
    ],
)
def test_expressions_have_json_values(source: str, value: Any) -> None:
    found = value_of(source)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("steps.fetch.output.body.totl", "no key 'totl' in steps.fetch.output.body; did you mean 'total'?"),
        ("steps.fetch.output.body.totl > 3", "no key 'totl' in steps.fetch.output.body; did you mean 'total'?"),
        ("steps.fetch.output.body.zzz", "no key 'zzz' in steps.fetch.output.body; it has: count, total"),
        ("steps.off.output.x", "step 'off' was skipped, it has no output; guard it with has(steps.off.output)"),
        ("steps.off.output.x == 1", "step 'off' was skipped, it has no output; guard it with has(steps.off.output)"),
        ("steps.bad.output", "step 'bad' failed, it has no output; guard it with has(steps.bad.output)"),
        ("steps.later.output", "step 'later' has not ended yet"),
        ("inputs.missing", "the input 'missing' was not given; guard it with has(inputs.missing)"),
        ("trigger.body.ref", "the run was started by a manual trigger, which has no 'body'"),
        ("secrets.TOKEN", "'secrets' is not available here"),
        ("inputs.none.x", "inputs.none is null; it has no 'x'"),
        ("inputs.none.x == 1", "inputs.none is null; it has no 'x'"),
        ("inputs.s.x", "inputs.s is text; it has no 'x'"),
        ("inputs.l.x", "inputs.l is a list; 'x' needs an item of it, such as inputs.l[0]"),
        ("inputs.l[9]", "no item [9] in inputs.l: the list has 3"),
        ("inputs.l[inputs.n]", "no item [3]: the list has 3"),
        ("inputs.n + 1.5", "+ does not work on int and double; write double(…) around the int to use +"),
        ("inputs.n + 'x'", "+ does not work on int and string; write string(…) around the other one"),
        ("inputs.s > 5", "> does not work on string and int; convert the text with int(…) or double(…)"),
        ("inputs.n && true", "&& needs true or false on each side; compare with == or use has(…)"),
        ("inputs.n ? 1 : 2", "the condition before ? must be true or false"),
        ("'t' in inputs.s", "in needs a list or an object on its right; for text write x.contains(…)"),
        ("size(inputs.n)", "size does not work on int"),
        ("inputs.n.contains('a')", "contains does not work on int and string"),
        ("1 / (inputs.n - 3)", "divide by zero"),
        ("int(inputs.s)", "cannot convert string to int"),
        ("inputs.big + 1", "the integer 1180591620717411303424 does not fit into 64 bits"),
        ("b'x'", "the result is bytes, which JSON has not: use base64.encode(…) or string(…)"),
        ("optional.of(1)", "the result is an optional: add .orValue(null) or another default"),
        ("type(1)", "the result is a type, which JSON has not: use string(type(…))"),
        ("{1: 2}", "the key 1 is not text; JSON objects have text keys: write string(1)"),
        ("1.0 / 0.0", "the result is inf, which is not a JSON number"),
    ],
)
def test_errors_say_what_is_wrong_with_the_data_and_what_to_write(source: str, message: str) -> None:
    assert error_of(source) == f"${{{{ {source} }}}}: {message}"


def test_an_error_keeps_its_words_when_only_the_pruned_context_is_there() -> None:
    expression = cel.compile("steps.off.output.items.map(i, i.x)")
    pruned = json.loads(json.dumps(expression.prune(CONTEXT)))
    with pytest.raises(cel.ExpressionError, match="step 'off' was skipped"):
        expression.evaluate(pruned)


def test_loops_over_too_much_are_stopped() -> None:
    nested = "inputs.l.map(a, inputs.l.map(b, inputs.l.map(c, inputs.l.map(d, inputs.l.map(e, 1)))))"
    deeper = nested.replace("map(e, 1)", "map(e, " + nested + ")")
    assert "10,000" in error_of(f"size({deeper})")


@pytest.mark.parametrize(
    ("source", "marked", "words", "hint"),
    [
        ("imputs.x", "imputs", "unknown name 'imputs'", "did you mean 'inputs'?"),
        ("inputs.n == foo", "foo", "unknown name 'foo'", "known here: inputs, run, secrets, steps, trigger"),
        ("steps.fetch-all.output", "all", "unknown name 'all'", "steps['fetch-all']"),
        ("vars.x", "vars", "'vars' is not available yet", ""),
        ("env.HOME", "env", "unknown name 'env'", "workflows see no environment"),
        ("len(inputs.l)", "len", "unknown function 'len'", "write size(…)"),
        ("inputs.s.lowerASCII()", "lowerASCII", "unknown function 'lowerASCII'", ""),
        ("inputs.n = 1", "=", "unexpected '='", "compare with =="),
        ("inputs.yes and true", "and", "unexpected 'and'", "write &&"),
        ("not inputs.yes", "inputs", "unexpected 'inputs'", "write !"),
        ("inputs.n | size", "|", "unexpected '|'", "CEL has no filters"),
        ("inputs.n != None", "None", "unknown name 'None'", "write null"),
        ("inputs.l[*].x", "*", "unexpected '*'", "no wildcard"),
        ("inputs.n ==", "=", "the expression ends too early", ""),
        ("inputs.s == 'x", "'", "a string is not closed", ""),
        ("1 + 'a'", "+", "+ does not work on int and string", ""),
        ("true ? 'a' : 1", "?", "both results of ? : must have one type, not string and int", ""),
        ("'日本' == foo", "foo", "unknown name 'foo'", ""),
        ("inputs.n ==\n  foo", "foo", "unknown name 'foo'", ""),
        ("(" * 40 + "1" + ")" * 40, "(" * 40 + "1" + ")" * 40, "nested too deeply", "two steps"),
        ("'" + "a" * 5000 + "'", "'", "4000 are allowed", ""),
    ],
)
def test_what_cannot_be_compiled_is_marked_and_explained(source: str, marked: str, words: str, hint: str) -> None:
    error = refusal(source)
    assert words in error.message
    assert hint in error.hint
    assert source[error.offset : error.offset + error.length] == marked


def references(source: str) -> list[str]:
    return sorted({format_reference(reference.path) for reference in cel.compile(source).references})


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("steps.a.output.b", ["steps.a.output.b"]),
        ("steps['a-b'].output[0].c == 1", ["steps['a-b'].output[0].c"]),
        ("size(inputs.x) > 1 && run.id != ''", ["inputs.x", "run.id"]),
        ("has(steps.a.output)", ["steps.a.output"]),
        ("steps.a.?output.?b.orValue(inputs.x)", ["inputs.x", "steps.a.output.b"]),
        ("inputs[run.id].x", ["inputs", "run.id"]),
        ("inputs.l.map(i, i.x + inputs.n)", ["inputs.l", "inputs.n"]),
        ("[1].map(inputs, inputs + 1)", []),
        ("{'a': inputs.b, inputs.k: [inputs.z]}", ["inputs.b", "inputs.k", "inputs.z"]),
        ("cel.bind(x, steps.a.output, x.b)", ["steps.a.output"]),
        ("type(inputs.n) == int", ["inputs.n"]),
        ("dyn(inputs).a", ["inputs"]),
    ],
)
def test_references_are_read_from_the_syntax_tree(source: str, found: list[str]) -> None:
    assert references(source) == found


@pytest.mark.parametrize(
    ("source", "guarded"), [("has(inputs.x)", True), ("inputs.?x", True), ("inputs.x == 1", False)]
)
def test_a_reference_knows_whether_it_is_tested(source: str, guarded: bool) -> None:
    assert [reference.guarded for reference in cel.compile(source).references] == [guarded]


def test_a_computed_index_makes_a_reference_dynamic() -> None:
    assert [reference.dynamic for reference in cel.compile("steps[inputs.x].output").references] == [False, True]


@pytest.mark.parametrize(
    ("source", "cheap"),
    [
        ("inputs.a", True),
        ("steps.a.output.status == 200 && size(inputs.x) > 3", True),
        ("inputs.s.matches('^a+$')", True),
        ("inputs.s.split(',')[0]", True),
        ("inputs.s.matches(inputs.p)", False),
        ("inputs.l.map(x, x)", False),
        ("inputs.l.all(x, x > 0)", False),
        ("cel.bind(x, 1, x)", False),
        ("inputs.s.replace('a', 'b')", False),
        ("'%d'.format([1])", False),
        ("inputs.l.join(',')", False),
        ("+".join(["inputs.s"] * 18), False),
        ("'" + "a" * 2100 + "' == inputs.s", False),
    ],
)
def test_only_what_is_linear_in_its_operands_is_cheap(source: str, cheap: bool) -> None:
    assert cel.compile(source).is_cheap is cheap


def test_large_operands_make_a_cheap_expression_costly_but_never_a_path() -> None:
    context = {"inputs": {"rows": [{"id": n} for n in range(10_000)], "text": "x" * 1_000_000, "n": 1}}
    assert cel.compile("size(inputs.rows) > 3").costly(context)
    assert cel.compile("inputs.text == 'x'").costly(context)
    assert not cel.compile("inputs.n == 1").costly(context)
    assert not cel.compile("inputs.rows").costly(context)


def test_a_path_gives_the_value_itself() -> None:
    assert value_of("inputs.l") is CONTEXT["inputs"]["l"]


def test_only_what_is_referred_to_is_passed_on() -> None:
    expression = cel.compile("steps.fetch.output.body.total > inputs.n && has(steps.off.output)")
    assert expression.prune(CONTEXT) == {
        "inputs": {"n": 3},
        "steps": {"fetch": {"state": "SUCCEEDED", "output": {"body": {"total": 5}}}, "off": {"state": "SKIPPED"}},
    }


def test_pruning_never_writes_into_the_context() -> None:
    before = json.dumps(CONTEXT)
    cel.compile("steps.fetch.output == steps.fetch.output.body && inputs == inputs.l").prune(CONTEXT)
    assert json.dumps(CONTEXT) == before


def test_a_condition_must_be_a_boolean() -> None:
    assert cel.compile("inputs.yes").holds(CONTEXT) is True
    with pytest.raises(cel.ExpressionError, match="a condition must be true or false, this is a number"):
        cel.compile("inputs.n").holds(CONTEXT)


def test_a_condition_can_be_answered_elsewhere() -> None:
    source = "inputs.l.exists(i, i == 9)"
    assert cel.compile(source).holds(CONTEXT, {source: True}) is True


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children, max_size=3),
    max_leaves=10,
)
paths = st.lists(st.sampled_from([".a", ".b", ".c", "['a']", "[0]", "[1]"]), max_size=4).map("".join)


@settings(max_examples=200, deadline=None)
@given(value=json_values, path=paths)
def test_reading_a_path_directly_gives_what_cel_gives(value: Any, path: str) -> None:
    """The short cut for plain paths and the real evaluator never disagree."""
    context = {"inputs": {"v": value}}
    plain = f"inputs.v{path}"
    assert parse_simple(plain) is not None
    direct, evaluated = attempt(plain, context), attempt(f"true ? dyn({plain}) : null", context)
    assert direct == evaluated


def attempt(source: str, context: dict[str, Any]) -> Any:
    try:
        return cel.compile(source).evaluate(context)
    except cel.ExpressionError as error:
        # The evaluator cannot always say how far it came: compare that there is an error, not its words.
        return re.sub(".*", "failed", str(error)[:1])


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="inputs.ab[]()'\"+=<>&|!?:1 {},\n\\", max_size=30))
def test_any_text_compiles_or_is_refused_with_a_place(source: str) -> None:
    try:
        cel.compile(source)
    except cel.CompileError as refused:
        offset, message = refused.offset, refused.message
    else:
        offset, message = 0, "compiled"
    assert message
    assert 0 <= offset <= len(source)
