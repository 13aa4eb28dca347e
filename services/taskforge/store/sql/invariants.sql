-- What the invariants are checked against. Only the gateway runs these, and only to read. Every query is bounded: by a
-- page of runs, or by a number of ticks.

-- name: find_runs
-- Newest first. `seq` is the number of a run's events, so that a page can be cut by how much there is to read.
SELECT run_id, seq
FROM runs
WHERE run_id < :before::uuid AND run_id >= :lowest::uuid AND created_at >= :since
ORDER BY run_id DESC
LIMIT :limit;

-- name: find_runs_of_workflow
-- See run_reads.sql for how its index is asked.
SELECT r.run_id, r.seq
FROM unnest(:states::text[]) AS s(state)
CROSS JOIN LATERAL (
    SELECT run_id, seq FROM runs
    WHERE workflow = :workflow AND (state, run_id) < (s.state, :before::uuid)
      AND (state, run_id) >= (s.state, :lowest::uuid) AND created_at >= :since
    ORDER BY state DESC, run_id DESC
    LIMIT :limit
) AS r
ORDER BY r.run_id DESC
LIMIT :limit;

-- name: read_runs
SELECT r.run_id, r.state, r.seq, r.cause_kind, r.cause_id, r.ended_at, r.workflow, r.revision_id,
       coalesce(v.workflow, '') AS pinned_to, r.cause_trigger, r.deadline_at
FROM runs AS r
LEFT JOIN revisions AS v ON v.revision_id = r.revision_id
WHERE r.run_id = ANY(:run_ids::uuid[])
ORDER BY r.run_id;

-- name: read_steps
SELECT run_id, step, state, epoch, lease_token, result_hash, started_at,
       extract(epoch FROM clock_timestamp() - queued_at)::float8 AS queued_for,
       extract(epoch FROM clock_timestamp() - lease_until)::float8 AS expired_for,
       extract(epoch FROM clock_timestamp() - due_at)::float8 AS overdue_for
FROM steps
WHERE run_id = ANY(:run_ids::uuid[])
ORDER BY run_id, step;

-- name: read_attempts
SELECT run_id, step, epoch, attempt, outcome, lease_token, executor_id, started_at, ended_at
FROM attempts
WHERE run_id = ANY(:run_ids::uuid[])
ORDER BY run_id, step, epoch, attempt;

-- name: read_events
SELECT run_id, seq, step, from_state, to_state, cause, epoch, attempt, lease_token, at
FROM events
WHERE run_id = ANY(:run_ids::uuid[])
ORDER BY run_id, seq;

-- name: read_letters
SELECT dead_letter_id, run_id, step, epoch, state
FROM dead_letters
WHERE run_id = ANY(:run_ids::uuid[])
ORDER BY run_id, step, epoch;

-- name: find_audited
-- The resources that somebody is known to have asked to run again or to close.
SELECT DISTINCT object
FROM audit
WHERE action IN ('dead_letter.redrive', 'dead_letter.discard', 'run.retry') AND object = ANY(:objects::text[]);

-- name: read_delivery_causes
-- The deliveries that runs name, with the runs that they name.
SELECT i.run_id, 'webhook' AS kind, d.run_id AS caused
FROM unnest(:run_ids::uuid[], :delivery_ids::uuid[]) AS i(run_id, delivery_id)
LEFT JOIN webhook_deliveries AS d ON d.delivery_id = i.delivery_id;

-- name: read_tick_causes
-- The ticks that runs name. Of a schedule that was removed, or made anew under its old name, nothing is known.
SELECT i.run_id, 'schedule' AS kind, k.run_id AS caused
FROM unnest(:run_ids::uuid[], :workflows::text[], :ids::text[], :nominal_ats::timestamptz[])
    AS i(run_id, workflow, id, nominal_at)
JOIN triggers AS t ON t.workflow = i.workflow AND t.id = i.id
JOIN ticks AS k ON k.trigger_id = t.trigger_id AND k.nominal_at = i.nominal_at;

-- name: find_schedule
-- The schedule to look at after a place: the one that was begun, or the next one.
SELECT trigger_id, workflow, id, definition, next_fire_at, updated_at,
       extract(epoch FROM clock_timestamp() - next_fire_at)::float8 AS overdue_for
FROM schedules
WHERE trigger_id >= :from_id::uuid AND (:workflow::text = '' OR workflow = :workflow)
ORDER BY trigger_id
LIMIT 1;

-- name: read_ticks
SELECT t.trigger_id, t.nominal_at, t.outcome, t.run_id, t.handled_at, r.cause_id AS run_cause
FROM ticks AS t
LEFT JOIN runs AS r ON r.run_id = t.run_id
WHERE t.trigger_id = :trigger_id AND t.nominal_at > :after::timestamptz
ORDER BY t.nominal_at
LIMIT :limit;
