"""Moves of the protocol in words."""

from __future__ import annotations

from tests.chaos.model.checker import Label
from tests.chaos.model.rows import Grant, Tables
from tests.chaos.model.states import POLL, Kind, Message

_NAMES = ("Alice", "Bob", "the first dead executor", "the second dead executor", "the third dead executor")


def tell(label: Label, before: Tables, after: Tables) -> str:
    """A move, whose label is (who, does what, of what …), and what it changed in the database."""
    return "; ".join([_say(*label), *_changes(before, after)])


def _say(actor: object, verb: object, *of: object) -> str:
    match of:
        case (Message() as message,):
            return _arrival(message)
        case (int(step), int(epoch)):
            return f"{actor} {verb} step {step} of epoch {epoch}"
    who = _NAMES[actor] if isinstance(actor, int) else str(actor)
    return " ".join([who, str(verb), *map(_name, of)])


def _arrival(message: Message) -> str:
    who = _NAMES[message.executor]
    late = "" if message.awaited else "late "
    match message.kind:
        case Kind.REPORT:
            return f"{who}'s {late}report of {_name(message.lease)} arrives: {message.result}"
        case Kind.REPORT_ANSWER:
            grants = "".join(f", with {_name(grant)}" for grant in message.grants)
            return f"{who} hears about {_name(message.lease)}: {message.result}{grants}"
        case Kind.CLAIM:
            kind = "poll" if message.hint == POLL else f"claim of step {message.hint}"
            return f"{who}'s {late}{kind} arrives"
        case Kind.CLAIM_ANSWER:
            return f"{who} hears of {', '.join(_name(grant) for grant in message.grants)}"


def _name(part: object) -> str:
    match part:
        case Grant(step=step, token=token):
            return f"step {step} under token {token}"
        case int():
            return f"step {part}"
        case _:
            return str(part)


def _changes(before: Tables, after: Tables) -> list[str]:
    told = []
    for step, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)):
        if old.view != new.view:
            told.append(f"step {step} {old.view.state}→{new.view.state} token {new.view.token}")
    if before.run is not after.run:
        told.append(f"run {before.run}→{after.run}")
    return told
