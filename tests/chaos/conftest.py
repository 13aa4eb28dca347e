"""The stack that is killed: two executors and short leases, so that what they held is taken back within seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.ledger import Ledger, ledger
from tests.support.failures import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.stack import OwnStack, own_stack

LEASE_SECONDS = 3


@pytest.fixture(scope="module")
def stack() -> Iterator[OwnStack]:
    """A stack of this layer's own, wherever the others run."""
    with own_stack(TASKFORGE_EXECUTORS="2", TASKFORGE_LEASE_SECONDS=str(LEASE_SECONDS)) as stack:
        yield stack


@pytest.fixture(name="ledger")
def _ledger() -> Iterator[Ledger]:
    with ledger() as server:
        yield server
