"""A failure tells what is needed to find its cause: conftests of layers with a stack import the hook."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.support.stack import OwnStack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes of the test's own stack have written last."""
    report = yield
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    stack = fixtures.get("stack")
    if report.failed and isinstance(stack, OwnStack):
        report.sections += [(f"the end of {name}'s log", text) for name, text in stack.log_ends().items()]
    return report
