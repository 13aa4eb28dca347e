-- Runs, their steps and their history. Only the scheduler runs these. Everything takes arrays: a call is a batch.
-- `first` and `last` bound the array of run ids. No array lets the planner pass by a partition; bounds do.

-- name: lock_runs
-- The order makes two batches wait for each other instead of deadlocking.
SELECT run_id, workflow, revision_id, state, seq, error, deadline_at < clock_timestamp() AS is_overdue
FROM runs
WHERE run_id = ANY(:run_ids::uuid[]) AND run_id BETWEEN :first::uuid AND :last::uuid
ORDER BY run_id
FOR UPDATE;

-- name: lock_free_runs
-- The same, without those that another transaction holds.
SELECT run_id, workflow, revision_id, state, seq, error, deadline_at < clock_timestamp() AS is_overdue
FROM runs
WHERE run_id = ANY(:run_ids::uuid[]) AND run_id BETWEEN :first::uuid AND :last::uuid
ORDER BY run_id
FOR UPDATE SKIP LOCKED;

-- name: wait_for_locks
-- For the rest of the transaction.
SELECT set_config('lock_timeout', :milliseconds::text, true);

-- name: find_runs
SELECT run_id FROM runs WHERE run_id = ANY(:run_ids::uuid[]) AND run_id BETWEEN :first::uuid AND :last::uuid;

-- name: read_steps
-- Read after the lock, in a statement of its own, so that it sees what the lock waited for.
-- A lease that begins in the future and was not renewed since is dead: this server's clock was set back.
SELECT s.run_id, s.step, s.state, s.epoch, s.attempt, s.failures, s.crashes, s.lease_token, s.executor_id,
       s.lease_until > n.now AND NOT (s.started_at > n.now + interval '1 minute' AND s.lease_until > s.started_at)
           AS lease_alive,
       s.due_at <= n.now AS is_due, s.branch, s.result_hash, s.started_at,
       coalesce(extract(epoch FROM n.now - s.first_started_at), 0)::float8 AS elapsed
FROM (SELECT clock_timestamp() AS now) AS n
JOIN steps AS s ON s.run_id = ANY(:run_ids::uuid[]) AND s.run_id BETWEEN :first::uuid AND :last::uuid;

-- name: write_barrier
-- Makes a transaction that has written nothing wait at its commit until the standbys have all that was written before.
SELECT pg_logical_emit_message(true, 'taskforge', '');

-- name: create_runs
-- New runs and their first steps, as one statement. Returns the runs that were written, and when. Left out, with all that
-- belongs to them, are those whose id exists: a call that was sent again, and those whose key somebody has taken.
-- Keys are sorted by the caller, so that two batches with the same ones do not deadlock.
WITH taken AS (
    INSERT INTO idempotency_keys (scope, key, run_id, request_hash)
    SELECT i.scope, i.key, i.run_id, i.request_hash
    FROM unnest(:scopes::text[], :keys::text[], :owners::uuid[], :request_hashes::bytea[])
        AS i(scope, key, run_id, request_hash)
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING run_id
), late AS MATERIALIZED (
    SELECT run_id FROM unnest(:owners::uuid[]) AS i(run_id) EXCEPT SELECT run_id FROM taken
), created AS (
    INSERT INTO runs (run_id, workflow, revision_id, state, seq, cause_kind, cause_trigger, cause_id, inputs, trigger,
                      labels, created_at, deadline_at)
    SELECT i.run_id, i.workflow, i.revision_id, 'QUEUED', i.seq, i.cause_kind, i.cause_trigger, i.cause_id, i.inputs,
           i.trigger, i.labels, statement_timestamp(), statement_timestamp() + i.timeout
    FROM unnest(:new_runs::run_insert[]) AS i
    WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM late))
    ON CONFLICT (run_id) DO NOTHING
    RETURNING run_id
), left_out AS MATERIALIZED (
    SELECT run_id FROM unnest(:new_runs::run_insert[]) EXCEPT SELECT run_id FROM created
), first_steps AS (
    INSERT INTO steps (run_id, step, state, cause, epoch, attempt, failures, crashes, lease_token, queued_at, branch)
    SELECT i.run_id, i.step, i.state, i.cause, i.epoch, i.attempt, i.failures, i.crashes, i.token,
           statement_timestamp(), i.branch
    FROM unnest(:steps::step_write[]) AS i
    WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM left_out))
), new_events AS (
    INSERT INTO events (run_id, seq, step, from_state, to_state, cause, epoch, attempt, lease_token, message, at)
    SELECT i.run_id, i.seq, i.step, i.from_state, i.state, i.cause, i.epoch, i.attempt, i.token, '',
           statement_timestamp()
    FROM unnest(:steps::step_write[]) AS i
    WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM left_out))
    UNION ALL
    SELECT i.run_id, i.seq, NULL, i.from_state, i.to_state, i.cause, 0, 0, 0, i.message, statement_timestamp()
    FROM unnest(:events::run_event[]) AS i
    WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM left_out))
)
SELECT run_id, statement_timestamp() AS now FROM created;

-- name: write_runs
-- Everything that a batch changes, as one statement. Returns the runs that were written, and when. Left out, with all that
-- belongs to them, are runs that are not as they were read: another state or sequence, or a step with another state or
-- fencing token or, for a completion, without a good lease.
-- Who passes holds the run's lock, under which alone its steps change, other than by having their leases renewed. Should
-- PostgreSQL pass by a step that is being renewed, nothing is written at all: 18 does, if it has left out partitions both
-- at the start and for each row. That plan is for looking only, as in `stale`. What is updated is found by the batch's
-- ids and numbers, each alone, and then compared: no more rows than there are changes, for few steps in each run.
WITH stale AS MATERIALIZED (
    SELECT i.run_id
    FROM unnest(:steps::step_write[]) AS i
    WHERE i.existed AND (
        SELECT s.state = i.from_state AND s.lease_token = i.from_token
               AND (NOT i.needs_lease OR s.lease_until > clock_timestamp()
                    AND NOT (s.started_at > clock_timestamp() + interval '1 minute'
                             AND s.lease_until > s.started_at))
        FROM steps AS s
        WHERE s.run_id = i.run_id AND s.step = i.step AND s.run_id BETWEEN :first::uuid AND :last::uuid
    ) IS NOT TRUE
), updated AS (
    UPDATE runs AS r
    SET state = i.state,
        seq = i.seq,
        error = CASE WHEN i.state = 'SUCCEEDED' THEN NULL ELSE i.error END,
        output = CASE WHEN i.state = 'SUCCEEDED' THEN i.output END,
        started_at = CASE WHEN i.state = 'RUNNING' THEN coalesce(r.started_at, statement_timestamp())
                          ELSE r.started_at END,
        deadline_at = coalesce(statement_timestamp() + i.timeout, r.deadline_at),
        ended_at = CASE WHEN i.state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
                        THEN coalesce(r.ended_at, statement_timestamp()) END
    FROM unnest(:runs::run_update[]) AS i
    WHERE r.run_id = i.run_id AND r.run_id = ANY(:run_ids::uuid[]) AND r.run_id BETWEEN :first::uuid AND :last::uuid
      AND r.state = i.from_state AND r.seq = i.from_seq
      AND i.run_id <> ALL (ARRAY(SELECT run_id FROM stale))
    RETURNING r.run_id
), left_out AS MATERIALIZED (
    SELECT run_id FROM unnest(:run_ids::uuid[]) AS i(run_id) EXCEPT SELECT run_id FROM updated
), changes AS MATERIALIZED (
    SELECT i.* FROM unnest(:steps::step_write[]) AS i WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM left_out))
), new_steps AS (
    INSERT INTO steps (run_id, step, state, cause, epoch, attempt, failures, crashes, lease_token, executor_id,
                       lease_until, queued_at, due_at, first_started_at, started_at, ended_at, branch, output, error,
                       result_hash)
    SELECT i.run_id, i.step, i.state, i.cause, i.epoch, i.attempt, i.failures, i.crashes, i.token, i.executor_id,
           CASE WHEN i.state = 'RUNNING' THEN clock_timestamp() + :lease::interval END,
           CASE WHEN i.state = 'QUEUED' THEN statement_timestamp() END,
           CASE WHEN i.state = 'RETRYING' THEN statement_timestamp() + i.delay END,
           statement_timestamp() - i.elapsed,
           statement_timestamp() - i.elapsed,
           CASE WHEN i.state IN ('SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED') THEN statement_timestamp() END,
           i.branch, i.output, i.error, i.result_hash
    FROM changes AS i
    WHERE NOT i.existed
), changed_steps AS (
    UPDATE steps AS s
    SET state = i.state, cause = i.cause, epoch = i.epoch, attempt = i.attempt, failures = i.failures,
        crashes = i.crashes, lease_token = i.token,
        executor_id = coalesce(i.executor_id, s.executor_id),
        lease_until = CASE WHEN i.state = 'RUNNING' THEN clock_timestamp() + :lease::interval END,
        queued_at = CASE WHEN i.state = 'QUEUED' THEN statement_timestamp() END,
        due_at = CASE WHEN i.state = 'RETRYING' THEN statement_timestamp() + i.delay END,
        first_started_at = CASE WHEN i.epoch = s.epoch
                                THEN coalesce(s.first_started_at, statement_timestamp() - i.elapsed)
                                ELSE statement_timestamp() - i.elapsed END,
        started_at = coalesce(statement_timestamp() - i.elapsed, s.started_at),
        ended_at = CASE WHEN i.state IN ('SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED')
                        THEN statement_timestamp() END,
        branch = i.branch, output = i.output, error = i.error, result_hash = i.result_hash
    FROM changes AS i
    WHERE i.existed AND s.run_id = i.run_id AND s.step = i.step
      AND s.run_id = ANY(:run_ids::uuid[]) AND s.run_id BETWEEN :first::uuid AND :last::uuid
      AND s.step = ANY(ARRAY(SELECT step FROM changes WHERE existed))
    RETURNING 1
), new_attempts AS (
    INSERT INTO attempts (run_id, step, epoch, attempt, outcome, lease_token, executor_id, error, started_at, ended_at)
    SELECT i.run_id, i.step, i.epoch, i.attempt, i.outcome, i.token, i.executor_id, i.error,
           coalesce(i.started_at, statement_timestamp() - i.elapsed), statement_timestamp()
    FROM unnest(:attempts::attempt_insert[]) AS i
    WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM left_out))
), new_events AS (
    INSERT INTO events (run_id, seq, step, from_state, to_state, cause, epoch, attempt, lease_token, executor_id,
                        message, at)
    SELECT i.run_id, i.seq, i.step, i.from_state, i.state, i.cause, i.epoch, i.attempt, i.token, i.executor_id,
           coalesce(i.error ->> 'message', ''), statement_timestamp()
    FROM changes AS i
    UNION ALL
    SELECT i.run_id, i.seq, NULL, i.from_state, i.to_state, i.cause, 0, 0, 0, NULL, i.message, statement_timestamp()
    FROM unnest(:events::run_event[]) AS i
    WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM left_out))
), new_dead_letters AS (
    INSERT INTO dead_letters (dead_letter_id, run_id, step, epoch, workflow, step_id, error, reason, attempts, crashes)
    SELECT i.dead_letter_id, i.run_id, i.step, i.epoch, i.workflow, i.step_id, i.error, i.reason, i.attempts, i.crashes
    FROM unnest(:dead_letters::dead_letter_insert[]) AS i
    WHERE i.run_id <> ALL (ARRAY(SELECT run_id FROM left_out))
)
SELECT run_id, statement_timestamp() AS now
FROM updated
WHERE (SELECT count(*) FROM changed_steps) = (SELECT count(*) FROM changes WHERE existed) OR refuse_write();

-- name: insert_keys
-- Sorted by the caller, so that two batches with the same keys do not deadlock.
INSERT INTO idempotency_keys (scope, key, run_id, request_hash)
SELECT i.scope, i.key, i.run_id, i.request_hash
FROM unnest(:scopes::text[], :keys::text[], :run_ids::uuid[], :request_hashes::bytea[])
    AS i(scope, key, run_id, request_hash)
ON CONFLICT (scope, key) DO NOTHING;

-- name: read_keys
SELECT k.scope, k.key, k.run_id, k.request_hash
FROM idempotency_keys AS k
JOIN unnest(:scopes::text[], :keys::text[]) AS i(scope, key) ON k.scope = i.scope AND k.key = i.key;

-- name: forget_keys
-- Keys are promised for a day; they are kept for two.
DELETE FROM idempotency_keys
WHERE (scope, key) IN (
    SELECT scope, key FROM idempotency_keys
    WHERE created_at < clock_timestamp() - interval '2 days'
    ORDER BY created_at LIMIT 1000
);

-- name: read_run_inputs
SELECT run_id, inputs, trigger, created_at FROM runs
WHERE run_id = ANY(:run_ids::uuid[]) AND run_id BETWEEN :first::uuid AND :last::uuid;

-- name: read_results
SELECT s.run_id, s.step, s.output, s.error
FROM steps AS s
JOIN unnest(:run_ids::uuid[], :steps::integer[]) AS i(run_id, step) ON s.run_id = i.run_id AND s.step = i.step
WHERE s.run_id BETWEEN :first::uuid AND :last::uuid AND s.state IN ('SUCCEEDED', 'FAILED');

-- name: find_queued
SELECT run_id, step FROM steps WHERE state = 'QUEUED' ORDER BY queued_at LIMIT :limit;

-- name: find_leases_of
-- Which of them are unknown to their executors is not asked here: planning that would cost more than reading them all.
-- One that has more time left than any lease has is of a clock that was set back since: its executor may have done the
-- work and forgotten it.
SELECT run_id, step, lease_token, executor_id FROM steps
WHERE state = 'RUNNING' AND executor_id = ANY(:executor_ids::uuid[]) AND lease_until > clock_timestamp()
  AND lease_until <= clock_timestamp() + 2 * :lease::interval
LIMIT :limit;

-- name: find_queued_since
-- QUEUED for so long that their hint may be lost.
SELECT run_id, step FROM steps
WHERE state = 'QUEUED' AND queued_at < clock_timestamp() - :age::interval
ORDER BY queued_at LIMIT :limit;

-- name: look
-- How many steps wait, and whether the sweeps below and the one above would find anything: an idle database is asked this
-- one question instead of theirs.
SELECT (SELECT count(*) FROM (SELECT 1 FROM steps WHERE state = 'QUEUED' LIMIT :limit) AS waiting) AS queued,
       EXISTS (SELECT 1 FROM steps WHERE state = 'QUEUED' AND queued_at < clock_timestamp() - :age::interval) AS unheard,
       EXISTS (
           SELECT 1 FROM steps
           WHERE state = 'RUNNING' AND (lease_until < clock_timestamp()
               OR (started_at > clock_timestamp() + interval '1 minute' AND lease_until > started_at))
       ) AS expired,
       EXISTS (
           SELECT 1 FROM runs WHERE state IN ('QUEUED', 'RUNNING') AND deadline_at < clock_timestamp()
       ) AS overdue,
       (SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM steps WHERE state = 'RETRYING') AS retry_in;

-- name: find_expired
SELECT run_id, step FROM steps
WHERE state = 'RUNNING' AND (lease_until < clock_timestamp()
    OR (started_at > clock_timestamp() + interval '1 minute' AND lease_until > started_at))
ORDER BY run_id LIMIT :limit;

-- name: find_due
SELECT run_id, step FROM steps
WHERE state = 'RETRYING' AND due_at <= clock_timestamp()
ORDER BY due_at LIMIT :limit;

-- name: seconds_to_next_due
SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM steps WHERE state = 'RETRYING';

-- name: find_overdue_runs
SELECT run_id FROM runs
WHERE state IN ('QUEUED', 'RUNNING') AND deadline_at < clock_timestamp()
ORDER BY deadline_at LIMIT :limit;

-- name: renew_leases
-- Rows that another transaction is changing right now are left out: waiting for them could deadlock.
WITH wanted AS (
    SELECT run_id, step, token
    FROM unnest(:run_ids::uuid[], :steps::integer[], :tokens::bigint[]) AS w(run_id, step, token)
), locked AS (
    SELECT s.run_id, s.step
    FROM steps AS s
    JOIN wanted AS w ON s.run_id = w.run_id AND s.step = w.step AND s.lease_token = w.token
    WHERE s.run_id BETWEEN :first::uuid AND :last::uuid
      AND s.state = 'RUNNING' AND s.executor_id = :executor_id::uuid AND s.lease_until > clock_timestamp()
    ORDER BY s.run_id, s.step
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE steps AS s
SET lease_until = clock_timestamp() + :lease::interval
FROM locked AS l
WHERE s.run_id = l.run_id AND s.run_id BETWEEN :first::uuid AND :last::uuid AND s.step = l.step
RETURNING s.run_id, s.step;

-- name: read_leases
SELECT w.run_id, w.step, w.token,
       coalesce(s.state = 'RUNNING' AND s.lease_token = w.token AND s.lease_until > clock_timestamp(), false) AS alive,
       coalesce(r.state = 'CANCELLING', true) AS stopping
FROM unnest(:run_ids::uuid[], :steps::integer[], :tokens::bigint[]) AS w(run_id, step, token)
LEFT JOIN steps AS s ON s.run_id = w.run_id AND s.run_id BETWEEN :first::uuid AND :last::uuid AND s.step = w.step
LEFT JOIN runs AS r ON r.run_id = w.run_id AND r.run_id BETWEEN :first::uuid AND :last::uuid;

-- name: insert_logs
-- In the order given, which is the order in which lines are numbered for those who follow.
INSERT INTO logs (run_id, step, epoch, attempt, number, level, message, data, at)
SELECT i.run_id, i.step, i.epoch, i.attempt, i.number, i.level, i.message, i.data::json, i.at
FROM unnest(:run_ids::uuid[], :steps::integer[], :epochs::integer[], :attempts::integer[], :numbers::integer[],
            :levels::text[], :messages::text[], :datas::text[], :ats::timestamptz[]) WITH ORDINALITY
    AS i(run_id, step, epoch, attempt, number, level, message, data, at, place)
JOIN runs AS r ON r.run_id = i.run_id AND r.run_id BETWEEN :first::uuid AND :last::uuid
ORDER BY i.place
ON CONFLICT DO NOTHING;

-- name: read_dead_letter
SELECT dead_letter_id, run_id, step, epoch, state FROM dead_letters WHERE dead_letter_id = :id;

-- name: find_open_dead_letters
SELECT dead_letter_id FROM dead_letters WHERE run_id = ANY(:run_ids::uuid[]) AND state = 'OPEN';

-- name: close_dead_letters
UPDATE dead_letters
SET state = :state, closed_at = clock_timestamp(), closed_by = :actor, comment = :comment
WHERE dead_letter_id = ANY(:ids::uuid[]) AND state = 'OPEN';

-- name: read_revisions
SELECT revision_id, workflow, number, source FROM revisions WHERE revision_id = ANY(:revision_ids::uuid[]);

-- name: read_sealed_secrets
SELECT name, version, sealed FROM secrets WHERE name = ANY(:names::text[]);

-- name: ensure_partitions
SELECT ensure_partitions(:weeks::integer);
