"""The points. docs/contributing.md has them as a table, by their numbers."""

from __future__ import annotations

from enum import StrEnum


class Point(StrEnum):
    """Moments at which dying, hanging or failing has a consequence of its own."""

    REQUEST_PARSED = "request-parsed"  #: K1: a request is understood, nothing is done yet
    BEFORE_COMMIT = "before-commit"  #: K2: nothing committed; all is written, but for the one statement of some
    AFTER_COMMIT = "after-commit"  #: K3: committed, and nobody knows
    BEFORE_REPLY = "before-reply"  #: K4: done, the caller not told
    DUE_SELECTED = "due-selected"  #: K5: due rows read, nothing done about them
    FIRING_COMMITTED = "firing-committed"  #: K6: a schedule's run is durable, not hinted
    MID_SWEEP = "mid-sweep"  #: K7: between two rows of a sweep, inside its transaction
    TIMER_PROMOTED = "timer-promoted"  #: K8: retries are QUEUED, their hints perhaps not sent
    HINT_READ = "hint-read"  #: K9: a hint has left the stream, nothing claimed
    CLAIM_COMMITTED = "claim-committed"  #: K10: leases granted; scheduler: not told; executor: told, not begun
    EFFECT_SENT = "effect-in-flight"  #: K11: a request has taken effect, its answer is not read
    EFFECT_DONE = "effect-done"  #: K12: an effectful step has ended, not reported
    COMPLETION_COMMITTED = "completion-committed"  #: K13: a report is durable; scheduler: not told; executor: not used
    BEFORE_ACK = "before-ack"  #: K14: hints were handed on, not yet deleted from the stream
    RENEWING = "renewing"  #: K15: a heartbeat is about to be sent
    DRAINING = "draining"  #: K16: an executor takes no more work, and has some
