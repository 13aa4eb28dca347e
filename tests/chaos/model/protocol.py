"""Executors, messages, time and faults around the database of the model.

Schedulers hold no state between transactions, so any number of them is any order of transactions. A message waits in
`net` for as long as it likes. A call that is given up, because it never arrived or because its answer was lost after
the commit, stays there as a late one and is asked again. An executor that is paused does nothing for a while.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskforge.domain.states import RUN_FINAL, RunState, StepState
from tests.chaos.model.bounds import Size
from tests.chaos.model.canonical import Canonical
from tests.chaos.model.checker import Label, Move
from tests.chaos.model.committed import Committed, Written
from tests.chaos.model.rows import TAKEN, Bug, Grant, Result, Tables, Verdict
from tests.chaos.model.states import (
    GRANTED,
    LIVE,
    POLL,
    Kind,
    Message,
    State,
    Task,
    fault,
    forgotten,
    given_up,
    late_claim,
    pending_claim,
    pending_report,
    renamed,
    sent,
    with_spent,
    with_task,
    without,
)
from tests.chaos.model.transactions import Transactions
from tests.chaos.model.words import tell

SLOTS = 2
_ANSWERS = (Kind.REPORT_ANSWER, Kind.CLAIM_ANSWER)
_HINTED = frozenset({StepState.QUEUED, StepState.RUNNING, StepState.RETRYING})


class Protocol:
    """A `Model` of one run."""

    def __init__(self, size: Size, bugs: frozenset[Bug] = frozenset(), *, keeps_everything: bool | None = None) -> None:
        self._bugs = bugs
        # What is dropped was seen to be void in a model without mistakes.
        self._keeps_everything = bool(bugs) if keeps_everything is None else keeps_everything
        self._budget = size.budget
        self._steps = range(size.steps)
        self.committed = Committed(Transactions(size.workflow, bugs), bugs)
        self._canonical = Canonical(self.committed, keeps_everything=self._keeps_everything)

    def start(self) -> State:
        """A run that was just accepted."""
        return State(self.committed.start(), ((), ()), ((), ()), (), (), (), self._budget)

    def is_end(self, state: State) -> bool:
        """Whether the run has ended."""
        return self.committed[state.tables].run in RUN_FINAL

    def tell(self, label: Label, before: State, after: State) -> str:
        """A move in words."""
        return tell(label, self.committed[before.tables], self.committed[after.tables])

    def canonical(self, state: State) -> State:
        """One state for all that differ in what cannot matter."""
        return self._canonical.of(state)

    def moves(self, state: State) -> Iterator[Move[State]]:
        """Everything that can happen next."""
        tables = self.committed[state.tables]
        wrong = None if self._keeps_everything else self.committed.broken_by_any_report(state.tables)
        if wrong is not None:
            yield Move(("the net", "delivers such a report"), state, False, wrong)
        for executor in LIVE:
            yield from self._claims(state, tables, executor)
            for task in state.tasks[executor]:
                yield from self._works(state, tables, executor, task)
            yield from self._crashes(state, executor)
        for message in dict.fromkeys(state.net):
            yield self._arrives(state, message)
        yield from self._time(state, tables)
        yield from self._sweeps(state, tables)
        yield from self._people(state, tables)

    # --- executors ------------------------------------------------------------------------------

    def _claims(self, state: State, tables: Tables, executor: int) -> Iterator[Move[State]]:
        pending = pending_claim(state.net, executor)
        if pending is not None:
            if state.left.timeouts:
                net = given_up(state.net, pending)
                yield fault((executor, "gives up its claim"), state._replace(net=net), "timeouts")
            return
        tasks = state.tasks[executor]
        if len(tasks) >= SLOTS or tables.run in RUN_FINAL:
            return
        if state.left.timeouts:
            late = state._replace(net=sent(state.net, late_claim(executor)))
            yield fault((executor, "sends a claim in vain"), late, "timeouts")
        calls = [Message(Kind.CLAIM, executor, grants=known(state, executor))]
        for step in self._steps:
            # A hint may come at any time, twice or never; of a step that nobody could want yet it changes nothing.
            if tables.rows[step].view.state in _HINTED and all(task.lease.step != step for task in tasks):
                calls.append(Message(Kind.CLAIM, executor, hint=step))
        for call in calls:
            yield from self._calls(state, call, is_idle=not tasks)

    def _calls(self, state: State, call: Message, *, is_idle: bool) -> Iterator[Move[State]]:
        what = ("polls",) if call.hint == POLL else ("claims", call.hint)
        if is_idle:
            # Nothing can happen to an idle executor while its call is on its way: it may as well arrive at once.
            after, wrong = self._claim_arrives(state, call)
            if after is not state or wrong:
                yield Move((call.executor, *what, "at once"), after, True, wrong)
        else:
            yield Move((call.executor, *what), state._replace(net=sent(state.net, call)))

    def _works(self, state: State, tables: Tables, executor: int, task: Task) -> Iterator[Move[State]]:
        lease, left = task.lease, state.left
        is_good = tables.rows[lease.step].is_leased_by(executor, lease.token)
        if not is_good or task.is_deaf:
            yield Move((executor, "drops", lease), self._dropped(state, executor, task))
        elif left.deaf:
            deaf = with_task(state, executor, task, task._replace(is_deaf=True))
            yield fault((executor, "hears no more heartbeats of", lease), deaf, "deaf")
        if task.result != GRANTED:
            yield from self._waits(state, executor, task)
            return
        yield self._reports(state, executor, task, Result.SUCCEEDED)
        if is_good and tables.run is RunState.CANCELLING:
            yield self._reports(state, executor, task, Result.CANCELLED)
        if left.failures:
            yield self._reports(state, executor, task, Result.FAILED, "failures")
        if left.releases:
            yield self._reports(state, executor, task, Result.RELEASED, "releases")

    def _reports(self, state: State, executor: int, task: Task, result: Result, budget: str = "") -> Move[State]:
        """The effect is asked for, its result is known, and the call with it is sent."""
        lease, act = task.lease, (executor, task.lease)
        wrong = f"I11: a second effect under token {lease.token}" if act in state.acted else None
        after = with_task(state, executor, task, task._replace(result=result))
        net = sent(state.net, Message(Kind.REPORT, executor, lease, result))
        after = after._replace(net=net, acted=tuple(sorted({*state.acted, act})))
        label = (executor, "acts and reports", lease, result)
        return fault(label, after, budget, wrong) if budget else Move(label, after, True, wrong)

    def _waits(self, state: State, executor: int, task: Task) -> Iterator[Move[State]]:
        left = state.left
        if not (left.timeouts or left.refusals):
            return
        net = given_up(state.net, pending_report(state.net, executor, task.lease))
        if state.left.timeouts:
            again = state._replace(net=sent(net, Message(Kind.REPORT, executor, task.lease, task.result)))
            yield fault((executor, "reports again", task.lease), again, "timeouts")
        if state.left.refusals and task.result == Result.SUCCEEDED:
            after = with_task(state, executor, task, task._replace(result=Result.UNSTORABLE))
            instead = Message(Kind.REPORT, executor, task.lease, Result.UNSTORABLE)
            refused = after._replace(net=sent(net, instead))
            yield fault((executor, "is refused and reports a failure of", task.lease), refused, "refusals")

    def _crashes(self, state: State, executor: int) -> Iterator[Move[State]]:
        if not state.left.crashes:
            return
        net = state.net
        for message in net:
            if message.executor == executor and message.awaited:
                net = given_up(net, message)
        names = ((executor, len(LIVE) + self._budget.crashes - state.left.crashes),)
        after = forgotten(state, executor)._replace(
            tables=self.committed.renamed(state.tables, names),
            net=renamed(net, dict(names)),
            acted=tuple(act for act in state.acted if act[0] != executor),
        )
        yield fault((executor, "crashes"), after, "crashes")

    def _dropped(self, state: State, executor: int, task: Task) -> State:
        """The work is over, whatever is answered."""
        if task.result != GRANTED:
            call = pending_report(state.net, executor, task.lease)
            state = state._replace(net=given_up(state.net, call))
        return self._ended(state, executor, task)

    def _ended(self, state: State, executor: int, task: Task) -> State:
        after = with_task(state, executor, task, None)
        return after if Bug.LEASES_FORGOTTEN in self._bugs else with_spent(after, executor, task.lease)

    def _taken(self, state: State, executor: int, grant: Grant) -> State:
        """Begin to work under a lease, unless it is held or was."""
        held = [task.lease for task in state.tasks[executor]]
        newest = max((lease.token for lease in (*held, *state.spent[executor]) if lease.step == grant.step), default=0)
        if newest >= grant.token and Bug.GRANT_TAKEN_TWICE not in self._bugs:
            return state
        return with_task(state, executor, None, Task(grant))

    # --- messages -------------------------------------------------------------------------------

    def _arrives(self, before: State, message: Message) -> Move[State]:
        state, wrong = before._replace(net=without(before.net, message)), None
        match message.kind:
            case Kind.REPORT:
                state, wrong = self._report_arrives(state, message)
            case Kind.REPORT_ANSWER:
                state = self._report_answered(state, message)
            case Kind.CLAIM:
                state, wrong = self._claim_arrives(state, message)
            case Kind.CLAIM_ANSWER:
                for grant in message.grants:
                    state = self._taken(state, message.executor, grant)
        return Move(("the net", "delivers", message), state, True, wrong)

    def _report_arrives(self, state: State, message: Message) -> tuple[State, str | None]:
        done = self.committed.complete(state.tables, message.executor, Grant(*message.lease), Result(message.result))
        after = state._replace(tables=done.after)
        if message.awaited:
            grants = () if done.following is None else (done.following,)
            answer = message._replace(kind=Kind.REPORT_ANSWER, result=done.verdict, grants=grants)
            # How long an answer without a lease takes makes no difference: it may as well arrive at once.
            after = after._replace(net=sent(after.net, answer)) if grants else self._report_answered(after, answer)
        return after, done.wrong

    def _report_answered(self, state: State, message: Message) -> State:
        task = next(task for task in state.tasks[message.executor] if task.lease == message.lease and task.result)
        state = self._ended(state, message.executor, task)
        if Verdict(message.result) in TAKEN:
            for grant in message.grants:
                state = self._taken(state, message.executor, grant)
        return state

    def _claim_arrives(self, state: State, message: Message) -> tuple[State, str | None]:
        hint = None if message.hint == POLL else message.hint
        done = self.committed.claim(state.tables, message.executor, hint, frozenset(message.grants))
        if not done.grants:
            return state, done.wrong  # an empty answer changes nothing, so it need not travel
        after = state._replace(tables=done.after)
        if message.awaited:
            answer = Message(Kind.CLAIM_ANSWER, message.executor, grants=done.grants)
            after = after._replace(net=sent(after.net, answer))
        return after, done.wrong

    # --- time, sweeps, people -------------------------------------------------------------------

    def _time(self, state: State, tables: Tables) -> Iterator[Move[State]]:
        for step, row in enumerate(tables.rows):
            if row.is_leased:
                number = self.committed.with_row(state.tables, step, row._replace(alive=False))
                after, label = state._replace(tables=number), ("time", "ends the lease of", step)
                if not _is_held(state, row.holder, Grant(step, row.view.token)):
                    yield Move(label, after)
                elif state.left.pauses:
                    # Its holder is too slow to renew it, or the answer to reach its holder.
                    yield fault(label, after, "pauses")
            elif row.view.state is StepState.RETRYING and not row.due:
                number = self.committed.with_row(state.tables, step, row._replace(due=True))
                yield Move(("time", "ends the backoff of", step), state._replace(tables=number))

    def _sweeps(self, state: State, tables: Tables) -> Iterator[Move[State]]:
        """A sweep finds rows in one statement and changes them in a later transaction."""
        if Bug.NO_SWEEPER in self._bugs:
            return
        for step, row in enumerate(tables.rows):
            expired = row.view.state is StepState.RUNNING and not row.alive
            for kind, is_found in (("expired", expired), ("due", row.due)):
                if is_found:
                    yield self._swept(state, kind, step)
                if is_found and state.left.slow_sweeps:
                    found = tuple(sorted((*state.found, (kind, step))))
                    yield fault(("a slow sweep", "finds", kind, step), state._replace(found=found), "slow_sweeps")
        for kind, step in dict.fromkeys(state.found):
            place = state.found.index((kind, step))
            rest = state.found[:place] + state.found[place + 1 :]
            yield self._swept(state._replace(found=rest), kind, step)

    def _swept(self, state: State, kind: str, step: int) -> Move[State]:
        sweep = self.committed.expire if kind == "expired" else self.committed.queue_due
        done = sweep(state.tables, step)
        return Move(("a sweep", "changes", kind, step), state._replace(tables=done.after), True, done.wrong)

    def _people(self, state: State, tables: Tables) -> Iterator[Move[State]]:
        wishes: list[tuple[str, Label, Written]] = []
        if state.left.cancels:
            wishes.append(("cancels", ("somebody", "cancels the run"), self.committed.cancel(state.tables)))
        if state.left.redrives:
            wishes.append(("redrives", ("somebody", "retries the run"), self.committed.retry_run(state.tables)))
            for letter in tables.letters:
                done = self.committed.redrive(state.tables, letter.step, letter.epoch)
                label = ("somebody", "redrives", letter.step, letter.epoch)
                wishes.append(("redrives", label, done))
        for budget, what, done in wishes:
            if done.after != state.tables:
                yield fault(what, state._replace(tables=done.after), budget, done.wrong)


def known(state: State, executor: int) -> tuple[Grant, ...]:
    """What a poll names: leases that are worked under, and those that were given up and may still be good."""
    return tuple(sorted((*(task.lease for task in state.tasks[executor]), *state.spent[executor])))


def _is_held(state: State, holder: int, lease: Grant) -> bool:
    """Whether somebody alive works under a lease, or is about to hear of it."""
    if holder not in LIVE:
        return False
    heard = any(
        lease in message.grants for message in state.net if message.executor == holder and message.kind in _ANSWERS
    )
    return heard or any(task.lease == lease for task in state.tasks[holder])
