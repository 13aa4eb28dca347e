-- Runs as people see them. Only the gateway runs these, and only to read. Ids are UUIDv7: newer runs have greater ones,
-- and each query below walks an index in that order. A list by state or workflow compares whole keys of its index, not the
-- columns one by one: else the planner may walk the primary key instead, past everything that is not asked for.

-- name: read_run
SELECT r.run_id, r.workflow, r.revision_id, v.number AS revision, r.state, r.seq, r.cause_kind, r.cause_trigger,
       r.cause_id, r.labels, r.error, r.created_at, r.started_at, r.ended_at, r.inputs, r.output
FROM runs AS r
LEFT JOIN revisions AS v ON v.revision_id = r.revision_id
WHERE r.run_id = :run_id;

-- name: read_run_steps
-- Outputs after the first `output_budget` bytes are left out: one answer cannot hold any number of them.
SELECT step, state, cause, attempt, crashes, executor_id, due_at, started_at, ended_at, error,
       CASE WHEN taken <= :output_budget::bigint THEN output END AS output,
       output IS NOT NULL AND taken > :output_budget::bigint AS output_omitted
FROM (
    SELECT *, sum(coalesce(octet_length(output::text), 0)) OVER (ORDER BY step) AS taken
    FROM steps
    WHERE run_id = :run_id
) AS sized
ORDER BY step;

-- name: read_run_attempts
SELECT step, epoch, attempt, outcome, error, executor_id, started_at, ended_at
FROM attempts
WHERE run_id = :run_id
ORDER BY step, epoch, attempt;

-- name: read_run_head
SELECT run_id, workflow, revision_id, state, seq FROM runs WHERE run_id = :run_id;

-- name: read_run_sequences
-- What has changed, for all watchers at once.
SELECT run_id, seq FROM runs WHERE run_id = ANY(:run_ids::uuid[]);

-- name: find_runs_between
-- The runs whose ids begin with a prefix.
SELECT run_id FROM runs
WHERE run_id >= :low::uuid AND run_id <= :high::uuid
ORDER BY run_id DESC
LIMIT :limit;

-- name: list_runs
SELECT r.run_id, r.workflow, r.revision_id, v.number AS revision, r.state, r.seq, r.cause_kind, r.cause_trigger,
       r.cause_id, r.labels, r.error, r.created_at, r.started_at, r.ended_at
FROM runs AS r
LEFT JOIN revisions AS v ON v.revision_id = r.revision_id
WHERE r.run_id < :before::uuid AND r.run_id >= :lowest::uuid AND r.created_at >= :since
  AND r.state = ANY(:states::text[])
ORDER BY r.run_id DESC
LIMIT :limit;

-- name: list_runs_of_states
-- The newest of each state, and of those the newest: so many rows are read, wherever in the history they are. Runs that
-- succeeded are not in the index.
SELECT r.run_id, r.workflow, r.revision_id, v.number AS revision, r.state, r.seq, r.cause_kind, r.cause_trigger,
       r.cause_id, r.labels, r.error, r.created_at, r.started_at, r.ended_at
FROM unnest(:states::text[]) AS s(state)
CROSS JOIN LATERAL (
    SELECT * FROM runs
    WHERE (state, run_id) < (s.state, :before::uuid) AND (state, run_id) >= (s.state, :lowest::uuid)
      AND state <> 'SUCCEEDED' AND created_at >= :since
    ORDER BY state DESC, run_id DESC
    LIMIT :limit
) AS r
LEFT JOIN revisions AS v ON v.revision_id = r.revision_id
ORDER BY r.run_id DESC
LIMIT :limit;

-- name: list_runs_of_workflow
SELECT r.run_id, r.workflow, r.revision_id, v.number AS revision, r.state, r.seq, r.cause_kind, r.cause_trigger,
       r.cause_id, r.labels, r.error, r.created_at, r.started_at, r.ended_at
FROM unnest(:states::text[]) AS s(state)
CROSS JOIN LATERAL (
    SELECT * FROM runs
    WHERE workflow = :workflow AND (state, run_id) < (s.state, :before::uuid)
      AND (state, run_id) >= (s.state, :lowest::uuid) AND created_at >= :since
    ORDER BY state DESC, run_id DESC
    LIMIT :limit
) AS r
LEFT JOIN revisions AS v ON v.revision_id = r.revision_id
ORDER BY r.run_id DESC
LIMIT :limit;

-- name: list_run_events
SELECT seq, at, step, from_state, to_state, cause, attempt, executor_id, message
FROM events
WHERE run_id = :run_id AND seq > :after::bigint
ORDER BY seq
LIMIT :limit;

-- name: list_run_logs
-- Numbers are given before commits, so a follower could step over a line that is committed late. A line is therefore
-- shown only once no earlier transaction is open; after ten seconds it is shown in any case, since a transaction that
-- is that old is none of the scheduler's.
SELECT l.log_id, l.step, l.attempt, l.at, l.level, l.message, l.data
FROM logs AS l
WHERE l.run_id = :run_id AND l.log_id > :after::bigint AND (:step::integer < 0 OR l.step = :step)
  AND (age(l.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid)
       OR l.at < clock_timestamp() - interval '10 seconds')
ORDER BY l.log_id
LIMIT :limit;
