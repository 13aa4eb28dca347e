"""What a state of the protocol consists of, and small changes of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from tests.chaos.model.bounds import Budget
from tests.chaos.model.checker import Label, Move
from tests.chaos.model.rows import Grant

GRANTED = ""
POLL = -1
LIVE = (0, 1)  #: the names of living executors; those of dead ones follow


class Kind(IntEnum):
    """What travels."""

    REPORT = 0
    REPORT_ANSWER = 1
    CLAIM = 2
    CLAIM_ANSWER = 3


class Task(NamedTuple):
    """Work under a lease: it was granted, or `result` is being reported."""

    lease: Grant
    result: str = GRANTED
    is_deaf: bool = False  #: heartbeats arrive but are not answered: its own clock may say that the lease is gone


class Message(NamedTuple):
    """A call or an answer on its way."""

    kind: Kind
    executor: int
    lease: Grant | tuple[()] = ()  #: of a report
    result: str = ""  #: of a report; the verdict in its answer
    hint: int = POLL  #: of a claim
    grants: tuple[Grant, ...] = ()  #: in an answer; in a claim, what is held
    awaited: bool = True  #: False: nobody waits for the answer any more


Net = tuple[Message, ...]
Tasks = tuple[tuple[Task, ...], tuple[Task, ...]]
Leases = tuple[tuple[Grant, ...], tuple[Grant, ...]]


class State(NamedTuple):
    """Everything at one moment."""

    tables: int  #: the number of the tables
    tasks: Tasks  #: of the two living executors
    spent: Leases  #: what they once held and do not take again
    net: Net
    acted: tuple[tuple[int, Grant], ...]  #: leases, with their holders, under which the outside effect was asked for
    found: tuple[tuple[str, int], ...]  #: what sweeps have found and not looked at again yet
    left: Budget


def fault(label: Label, after: State, budget: str, wrong: str | None = None) -> Move[State]:
    """A move that need not happen, and that happens only so often."""
    left = after.left._replace(**{budget: getattr(after.left, budget) - 1})
    return Move(label, after._replace(left=left), False, wrong)


def sent(net: Net, message: Message) -> Net:
    """One more message."""
    return tuple(sorted((*net, message)))


def without(net: Net, message: Message) -> Net:
    """One message less."""
    place = net.index(message)
    return net[:place] + net[place + 1 :]


def given_up(net: Net, message: Message) -> Net:
    """Nobody waits for this call or answer any more: the call may still arrive."""
    rest = without(net, message)
    match message.kind:
        case Kind.REPORT:
            return sent(rest, message._replace(awaited=False))
        case Kind.CLAIM:
            return sent(rest, late_claim(message.executor))
        case _:
            return rest


def late_claim(executor: int) -> Message:
    """A claim for whose answer nobody waits. One that takes whatever is QUEUED does all that any other could."""
    return Message(Kind.CLAIM, executor, awaited=False)


def pending_report(net: Net, executor: int, lease: Grant) -> Message:
    """The call, or the answer to it, that a reporting task waits for."""
    return next(m for m in net if m.executor == executor and m.awaited and m.lease == lease)


def pending_claim(net: Net, executor: int) -> Message | None:
    """The claim, or the answer to it, that an executor waits for."""
    return next((m for m in net if m.executor == executor and m.awaited and m.kind >= Kind.CLAIM), None)


def with_task(state: State, executor: int, old: Task | None, new: Task | None) -> State:
    """The state with a task exchanged, added or removed."""
    tasks = [task for task in state.tasks[executor] if task != old]
    if new is not None:
        tasks.append(new)
    return state._replace(tasks=_at(state.tasks, executor, tuple(sorted(tasks))))


def with_spent(state: State, executor: int, lease: Grant) -> State:
    """The state in which an executor remembers that it held a lease."""
    spent = tuple(sorted({*state.spent[executor], lease}))
    return state._replace(spent=_at(state.spent, executor, spent))


def forgotten(state: State, executor: int) -> State:
    """The state in which an executor knows nothing: it has just started."""
    return state._replace(tasks=_at(state.tasks, executor, ()), spent=_at(state.spent, executor, ()))


def renamed(net: Net, names: Mapping[int, int]) -> Net:
    """The messages with other names of executors."""
    return tuple(sorted(m._replace(executor=names.get(m.executor, m.executor)) for m in net))


def _at(pair: tuple[tuple, tuple], place: int, value: tuple) -> tuple[tuple, tuple]:  # type: ignore[type-arg]
    return (value, pair[1]) if place == 0 else (pair[0], value)
