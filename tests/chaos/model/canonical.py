"""One state for all those that differ only in names, or in what cannot matter any more."""

from __future__ import annotations

from taskforge.domain.states import RUN_FINAL
from tests.chaos.model.bounds import Budget
from tests.chaos.model.committed import Committed
from tests.chaos.model.rows import Grant, Tables
from tests.chaos.model.states import LIVE, Kind, Message, State, renamed

_SWAP = ((0, 1), (1, 0))
_NONE = ((), ())
_NOTHING_LEFT = Budget()


class Canonical:
    """See `of`. `keeps_everything`: nothing is dropped for being void, because it may not be."""

    def __init__(self, committed: Committed, *, keeps_everything: bool) -> None:
        self.committed = committed
        self._keeps_everything = keeps_everything

    def of(self, state: State) -> State:
        """The state that stands for this one. The executors are alike, so their names do not matter."""
        state = self._settled(state)
        one, other = state.tasks
        if one < other:
            return state
        swapped = self._swapped(state)
        return swapped if one > other else min(state, swapped)

    def _settled(self, state: State) -> State:
        """The state without what cannot matter any more."""
        tables = self.committed[state.tables]
        if tables.run in RUN_FINAL and not state.left.redrives and not self._keeps_everything:
            # Nothing can be leased again, and `Committed` has seen that no report changes anything.
            state = state._replace(net=tuple(m for m in state.net if m.awaited), found=(), left=_NOTHING_LEFT)
        elif state.net and not self._keeps_everything:
            state = state._replace(net=tuple(m for m in state.net if not _is_spent(tables, m)))
        if state.acted or state.spent != _NONE:
            state = self._without_old_leases(state, tables)
        return state

    def _without_old_leases(self, state: State, tables: Tables) -> State:
        """Nobody can be told again of a lease that is gone and in no answer."""
        told = {(message.executor, grant) for message in state.net for grant in message.grants}
        told |= {(executor, task.lease) for executor in LIVE for task in state.tasks[executor] if not task.result}

        def matters(executor: int, lease: Grant) -> bool:
            return tables.rows[lease.step].is_leased_by(executor, lease.token) or (executor, lease) in told

        one, other = (tuple(lease for lease in state.spent[executor] if matters(executor, lease)) for executor in LIVE)
        return state._replace(spent=(one, other), acted=tuple(act for act in state.acted if matters(*act)))

    def _swapped(self, state: State) -> State:
        names = dict(_SWAP)
        return state._replace(
            tables=self.committed.renamed(state.tables, _SWAP),
            tasks=(state.tasks[1], state.tasks[0]),
            spent=(state.spent[1], state.spent[0]),
            net=renamed(state.net, names),
            acted=tuple(sorted((names[executor], lease) for executor, lease in state.acted)),
        )


def _is_spent(tables: Tables, message: Message) -> bool:
    """Whether this is a late report under a token that is not the newest: `Committed` has seen that it is void."""
    if message.awaited or message.kind is not Kind.REPORT:
        return False
    lease = Grant(*message.lease)
    return lease.token < tables.rows[lease.step].view.token
