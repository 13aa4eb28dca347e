"""All rules, and the one function that applies them.

To add one: write a function from rows to violations whose docstring begins with the invariant's id, and list it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from taskforge.invariants import (
    call_rules,
    cause_rules,
    definition_rules,
    driver_rules,
    effect_rules,
    history_rules,
    lease_rules,
    letter_rules,
    schedule_rules,
    secret_rules,
)
from taskforge.invariants.rows import History, Outside, Violation

Rule = Callable[[History], Iterable[Violation]]
OutsideRule = Callable[[History, Outside], Iterable[Violation]]

#: What the database alone must satisfy, at any moment.
DATABASE_RULES: tuple[Rule, ...] = (
    cause_rules.causes_are_unique,
    cause_rules.causes_name_their_runs,
    history_rules.history_has_no_gaps,
    history_rules.history_is_a_path,
    history_rules.final_states_are_final,
    history_rules.runs_can_move,
    history_rules.ended_runs_hold_nothing,
    lease_rules.results_are_accepted_once,
    lease_rules.results_have_their_hash,
    lease_rules.tokens_grow,
    lease_rules.leases_do_not_overlap,
    lease_rules.attempts_have_no_gaps,
    lease_rules.nothing_is_claimed_after_a_stop,
    definition_rules.needs_come_first,
    definition_rules.retries_keep_to_their_policy,
    definition_rules.only_pinned_steps_run,
    definition_rules.ended_runs_are_whole,
    letter_rules.letters_match_steps,
    letter_rules.failed_steps_have_letters,
    letter_rules.closed_letters_were_audited,
    schedule_rules.ticks_are_unique,
    schedule_rules.fired_ticks_have_runs,
    schedule_rules.no_tick_is_missing,
    schedule_rules.nothing_is_early,
)

#: What must hold between the database and those who were outside.
OUTSIDE_RULES: tuple[OutsideRule, ...] = (
    driver_rules.acknowledged_runs_exist,
    driver_rules.one_request_is_one_run,
    driver_rules.refused_requests_made_nothing,
    driver_rules.shed_requests_made_nothing,
    driver_rules.confirmed_cancels_are_kept,
    driver_rules.confirmed_runs_can_be_read,
    effect_rules.effects_happened,
    effect_rules.effects_are_bounded,
    effect_rules.repetitions_can_be_told,
    effect_rules.no_ghosts,
    effect_rules.nothing_after_the_end,
    call_rules.stale_calls_changed_nothing,
    call_rules.lost_leases_stay_lost,
    call_rules.the_accepted_result_is_kept,
    secret_rules.secrets_do_not_leak,
)


def check(history: History, outside: Outside | None = None) -> list[Violation]:
    """Every violation, of what the database says and, if given, of what was seen from outside."""
    found = [violation for rule in DATABASE_RULES for violation in rule(history)]
    if outside is not None:
        found += [violation for rule in OUTSIDE_RULES for violation in rule(history, outside)]
    return found
