"""The tables by number, and every transaction with what it breaks: computed once, for there are few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

from taskforge.domain.states import RunState
from tests.chaos.model.properties import broken_by_change, broken_by_grants, broken_by_verdict
from tests.chaos.model.rows import NOBODY, Bug, Grant, Result, Row, Tables, Verdict
from tests.chaos.model.transactions import Change, Transactions


class Claimed(NamedTuple):
    """What a claim does."""

    after: int
    grants: tuple[Grant, ...]
    wrong: str | None


class Completed(NamedTuple):
    """What a report does."""

    after: int
    verdict: Verdict
    following: Grant | None
    wrong: str | None


class Written(NamedTuple):
    """What any other transaction does."""

    after: int
    wrong: str | None


class Committed:
    """All tables met so far."""

    def __init__(self, transactions: Transactions, bugs: frozenset[Bug]) -> None:
        self._do = transactions
        self._answers_without_commit = Bug.ANSWER_WITHOUT_COMMIT in bugs
        self._tables: list[Tables] = []
        self._numbers: dict[Tables, int] = {}
        self._claims: dict[tuple[int, int, int | None, frozenset[Grant]], Claimed] = {}
        self._reports: dict[tuple[int, int, Grant, str], Completed] = {}
        self._writes: dict[tuple[int, str, tuple[int, ...]], Written] = {}
        self._probed: dict[int, str | None] = {}
        self._renamed: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}

    def __getitem__(self, number: int) -> Tables:
        return self._tables[number]

    def start(self) -> int:
        """The tables of a run that was just accepted."""
        return self._number(self._do.started())

    def claim(self, number: int, executor: int, hint: int | None, held: frozenset[Grant]) -> Claimed:
        """See `Transactions.claim`."""
        key = (number, executor, hint, held)
        if key not in self._claims:
            before = self._tables[number]
            change, grants = self._do.claim(before, executor, hint, held)
            wrong = self._broken(before, change, None) or broken_by_grants(change.after, executor, grants)
            self._claims[key] = Claimed(self._number(change.after), grants, wrong)
        return self._claims[key]

    def complete(self, number: int, executor: int, lease: Grant, result: Result) -> Completed:
        """See `Transactions.complete`."""
        key = (number, executor, lease, result)
        if key not in self._reports:
            self._reports[key] = self._complete(self._tables[number], executor, lease, result)
        return self._reports[key]

    def _complete(self, before: Tables, executor: int, lease: Grant, result: Result) -> Completed:
        accept_next = result is not Result.RELEASED
        change, verdict, following = self._do.complete(before, executor, lease, result, accept_next=accept_next)
        after = before if self._answers_without_commit else change.after
        grants = () if following is None else (following,)
        wrong = (
            self._broken(before, change, lease)
            or broken_by_verdict(before, after, executor, lease, result, verdict)
            or broken_by_grants(after, executor, grants)
        )
        return Completed(self._number(after), verdict, following, wrong)

    def expire(self, number: int, step: int) -> Written:
        """See `Transactions.expire`."""
        return self._write(number, "expire", (step,), lambda tables: self._do.expire(tables, step))

    def queue_due(self, number: int, step: int) -> Written:
        """See `Transactions.queue_due`."""
        return self._write(number, "queue due", (step,), lambda tables: self._do.queue_due(tables, step))

    def cancel(self, number: int) -> Written:
        """See `Transactions.cancel`."""
        return self._write(number, "cancel", (), self._do.cancel)

    def retry_run(self, number: int) -> Written:
        """See `Transactions.retry_run`."""
        return self._write(number, "retry run", (), self._do.retry_run)

    def redrive(self, number: int, step: int, epoch: int) -> Written:
        """See `Transactions.redrive`."""
        return self._write(number, "redrive", (step, epoch), lambda tables: self._do.redrive(tables, step, epoch))

    def with_row(self, number: int, step: int, row: Row) -> int:
        """The tables with another row: time has passed."""
        tables = self._tables[number]
        return self._number(tables._replace(rows=(*tables.rows[:step], row, *tables.rows[step + 1 :])))

    def renamed(self, number: int, names: tuple[tuple[int, int], ...]) -> int:
        """The tables with other names of executors."""
        key = (number, names)
        if key not in self._renamed:
            tables, new = self._tables[number], dict(names)
            rows = tuple(row._replace(holder=new.get(row.holder, row.holder)) for row in tables.rows)
            self._renamed[key] = self._number(tables._replace(rows=rows))
        return self._renamed[key]

    def _write(self, number: int, name: str, of: tuple[int, ...], do: Callable[[Tables], Change]) -> Written:
        key = (number, name, of)
        if key not in self._writes:
            before = self._tables[number]
            change = do(before)
            self._writes[key] = Written(self._number(change.after), self._broken(before, change, None))
        return self._writes[key]

    def _broken(self, before: Tables, change: Change, by: Grant | None) -> str | None:
        return broken_by_change(before, change, self._do.workflow, by=by)

    def _number(self, tables: Tables) -> int:
        number = self._numbers.setdefault(tables, len(self._tables))
        if number == len(self._tables):
            self._tables.append(tables)
        return number

    def broken_by_any_report(self, number: int) -> str | None:
        """What any report breaks that could arrive now, whoever sent it and under whatever token was ever issued."""
        if number not in self._probed:
            self._probed[number] = next(self._probe(number), None)
        return self._probed[number]

    def _probe(self, number: int) -> Iterator[str]:
        tables = self._tables[number]
        names = {0, 1, *(row.holder for row in tables.rows)} - {NOBODY}
        for step, row in enumerate(tables.rows):
            leases = [Grant(step, token) for token in range(1, row.view.token + 2)]
            for executor, lease, result in product(names, leases, Result):
                if result is Result.CANCELLED and tables.run is not RunState.CANCELLING and row.is_leased:
                    continue  # whoever holds a good lease is told to stop while the run is CANCELLING, never else
                wrong = self.complete(number, executor, lease, result).wrong
                if wrong is not None:
                    yield f"{wrong}: a report of {result} under token {lease.token} of step {step}"
