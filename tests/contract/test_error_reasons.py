"""Every reason that the code gives is declared, every declared one is given, and the manual explains them all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskforge.domain import errors
from taskforge.v1 import error_reason_pb2
from tests.support.places import ROOT

_SERVICES = ROOT / "services" / "taskforge"
_GENERATED = {_SERVICES / "v1", _SERVICES / "internal"}
_PAGE = ROOT / "docs" / "reference" / "errors.md"
_ERROR_CLASSES = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.TaskforgeError)
}
#: Keywords that carry a reason, whoever they are given to.
_REASON_KEYWORDS = {"unavailable_reason"}


def declared() -> set[str]:
    names = error_reason_pb2.ErrorReason.keys()
    return {name.removeprefix("ERROR_REASON_") for name in names} - {"UNSPECIFIED"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(_SERVICES.rglob("*.py")):
        if not _GENERATED & set(path.parents):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def raised() -> dict[str, str]:
    """Reasons that are written where an error is made, and the file of each."""
    found: dict[str, str] = {}
    for path, tree in sources():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            for argument in _reason_arguments(call):
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    found.setdefault(argument.value, str(path.relative_to(ROOT)))
    return found


def _reason_arguments(call: ast.Call) -> Iterator[ast.expr]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in _ERROR_CLASSES and call.args:
        yield call.args[0]
    for keyword in call.keywords:
        if keyword.arg in _REASON_KEYWORDS or (name == "ItemError" and keyword.arg == "reason"):
            yield keyword.value


def written() -> set[str]:
    """Every string of the services; a reason may travel through a constant or a table before it is raised."""
    return {
        node.value
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_no_code_gives_a_reason_that_is_not_declared() -> None:
    assert {reason: path for reason, path in raised().items() if reason not in declared()} == {}


def test_every_declared_reason_is_given_somewhere() -> None:
    assert declared() - written() == set()


def test_the_manual_lists_exactly_the_declared_reasons() -> None:
    listed = re.findall(r"^\| `([A-Z_]+)` \|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == declared()


def test_a_new_reason_goes_to_the_end() -> None:
    """A number that was given back is never given out again."""
    numbers = list(error_reason_pb2.ErrorReason.values())
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("name", sorted(_ERROR_CLASSES))
def test_every_error_class_has_a_grpc_code(name: str) -> None:
    from google.rpc import code_pb2

    assert getattr(errors, name).code in code_pb2.Code.keys()  # noqa: SIM118 -- an enum wrapper, not a mapping
