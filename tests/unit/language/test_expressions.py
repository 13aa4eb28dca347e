"""The scanner finds where an expression ends, whatever the expression holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.language.expressions import ScanError, split_template


def split(text: str) -> list[str | tuple[str]]:
    """Literal parts as text, expressions in a tuple."""
    return [(part.text,) if part.is_code else part.text for part in split_template(text)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ["plain"]),
        ("", [""]),
        ("a ${{ x }} b", ["a ", ("x",), " b"]),
        ("${{x}}", [("x",)]),
        ("${{ x }}${{ y }}", [("x",), ("y",)]),
        ('${{ {"a": {"b": 1}} }}', [('{"a": {"b": 1}}',)]),
        ('${{ {"a": {"b": 1}}}}', [('{"a": {"b": 1}}',)]),
        ("${{ 'a }} b' }}", [("'a }} b'",)]),
        ('${{ "it\'s" }}', [('"it\'s"',)]),
        (r"${{ 'a\'}}' }}", [(r"'a\'}}'",)]),
        (r"${{ r'\' }}", [(r"r'\'",)]),
        ("${{ '''a'b}}''' }}", [("'''a'b}}'''",)]),
        ("${{ `a}}b` }}", [("`a}}b`",)]),
        ("${{ a // why }} b", [("a // why",), " b"]),
        ("${{ a // it's\n }}", [("a // it's",)]),
        ("${{\n  a &&\n  b\n}}", [("a &&\n  b",)]),
        ("$${{ x }}", ["$", ("x",)]),
        ("{{ x }}", ["{{ x }}"]),
        ("$ {{ x }}", ["$ {{ x }}"]),
        ("a }} b", ["a }} b"]),
    ],
)
def test_templates_are_split(text: str, parts: list[str | tuple[str]]) -> None:
    assert split(text) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${{ x", "not closed with }}"),
        ("a ${{ x }", "a } stands alone"),
        ("${{ }}", "empty"),
        ("${{ 'x }}", "a string in the expression is not closed"),
        ("${{ {'a': 1 }}", "a } stands alone"),
    ],
)
def test_broken_templates_are_refused(text: str, message: str) -> None:
    with pytest.raises(ScanError, match=message):
        split_template(text)


def test_offsets_lead_back_to_the_text() -> None:
    text = "a ${{  x }} ${{ y}}"
    assert [text[part.offset :].startswith(part.text) for part in split_template(text)] == [True] * 4


@given(st.text(alphabet="${} '\"`\\/ab\nr", max_size=60))
def test_any_text_is_split_without_loss_or_refused(text: str) -> None:
    try:
        parts = split_template(text)
    except ScanError as refused:
        offset, parts = refused.offset, ()
    else:
        offset = 0
    assert 0 <= offset <= len(text)
    assert all(text[part.offset : part.offset + len(part.text)] == part.text for part in parts)
