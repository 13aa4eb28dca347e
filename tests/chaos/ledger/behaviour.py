"""What the ledger's server does with a request, and who says so: a script, or the request's own query.

Pure. A behaviour travels as a flat mapping of text, which is a query string as well as the body of a script.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

EVERY_PATH = "*"


class Do(StrEnum):
    """The ways to answer. All but `rst_before` write a line for good first."""

    OK = "ok"
    STATUS = "status"  #: `status` (503), perhaps with `retry_after`
    RANDOM_5XX = "random_5xx"  #: one of 500, 502, 503, 504; half of the attempts unless `chance` says otherwise
    HANG = "hang"  #: never
    DRIP = "drip"  #: a body of which a byte comes `every` second
    DRIP_HEAD = "drip_head"  #: a header of which a byte comes `every` second
    HUGE = "huge"  #: a body without end, or of `size` bytes and said so
    GZIPBOMB = "gzipbomb"  #: a small compressed body that becomes `size` bytes, 10 GiB unless told
    ENCODINGS = "encodings"  #: a body compressed `depth` times, 50 unless told
    HEADERS = "headers"  #: headers without end
    CONTINUE100 = "continue100"  #: `100 Continue` without end
    RST_BEFORE = "rst_before"  #: the connection is reset, and nothing was done
    RST_AFTER_EFFECT = "rst_after_effect"  #: the connection is reset after it was done
    REDIRECT = "redirect"  #: to `location`, or to itself for ever
    BODY = "body"  #: the bytes of `body`, or those that `named` names; see bodies.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """A way to answer, with its particulars. `delay`, `chance` and `attempts` go with every way."""

    do: Do = Do.OK
    delay: float = 0.0  #: seconds between the line and the answer
    chance: float = 1.0  #: that an attempt meets it; the same attempt of the same ticket always does or never does
    attempts: int = 0  #: only the first so many attempts of a step meet it; 0 is all of them
    status: int = 0
    retry_after: str = ""  #: as it is, or `in:SECONDS` for a date that far ahead
    every: float = 1.0
    size: int = 0
    depth: int = 50
    location: str = ""
    named: str = ""
    body: bytes = b""
    content_type: str = "application/json"

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Behaviour:
        """Read it from a query; what belongs to somebody else is left alone. Raises ValueError for nonsense."""
        readers: Mapping[str, Any] = {
            "do": Do,
            "delay": float,
            "chance": float,
            "attempts": int,
            "status": int,
            "every": float,
            "size": int,
            "depth": int,
            "body": _from_text,
        }
        names = {each.name for each in fields(cls)}
        found = {name: readers.get(name, str)(value) for name, value in query.items() if name in names}
        if found.get("do") is Do.RANDOM_5XX:
            found.setdefault("chance", 0.5)
        return cls(**found)

    def written(self) -> dict[str, str]:
        """As `read` reads it."""
        usual = Behaviour()
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        changed = {name: value for name, value in values.items() if value != getattr(usual, name)}
        if self.do is Do.RANDOM_5XX:
            changed["chance"] = self.chance
        return {name: _to_text(value) if isinstance(value, bytes) else str(value) for name, value in changed.items()}

    @property
    def query(self) -> str:
        """For a URL: `do=status&status=503`."""
        return urlencode(self.written())


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is known of a request before it is answered."""

    path: str
    ticket: str
    step: str
    epoch: int
    attempt: int

    @property
    def luck(self) -> random.Random:
        """Chance that is this attempt's own, whatever else happens at the same time."""
        return random.Random(f"{self.path}/{self.ticket}/{self.step}/{self.epoch}/{self.attempt}")


@dataclass(slots=True, kw_only=True)
class Rule:
    """A behaviour for requests to a path, counted from when the rule was made."""

    behaviour: Behaviour
    path: str = EVERY_PATH
    nth: int = 0  #: only the n-th request, from 1; 0 is all of them
    times: int = 0  #: so many requests at most; 0 is no limit
    seen: int = field(default=0)
    used: int = field(default=0)

    def takes(self, call: Call) -> bool:
        """Whether this request is the rule's; it is counted."""
        if self.path not in (EVERY_PATH, call.path):
            return False
        self.seen += 1
        if (self.nth and self.seen != self.nth) or (self.times and self.used >= self.times):
            return False
        if not meets(self.behaviour, call):
            return False
        self.used += 1
        return True


def meets(behaviour: Behaviour, call: Call) -> bool:
    """Whether this attempt is one that the behaviour is for."""
    if behaviour.attempts and call.attempt > behaviour.attempts:
        return False
    return behaviour.chance >= 1.0 or call.luck.random() < behaviour.chance


def decide(rules: list[Rule], query: Mapping[str, str], call: Call) -> Behaviour:
    """The first rule that takes the request decides, or else its query."""
    for rule in rules:
        if rule.takes(call):
            return rule.behaviour
    behaviour = Behaviour.read(query)
    return behaviour if meets(behaviour, call) else Behaviour(delay=behaviour.delay)


def _to_text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()


def _from_text(value: str) -> bytes:
    return base64.b64decode(value, altchars=b"-_", validate=True)
