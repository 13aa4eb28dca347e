-- Schedules and ticks. Only the scheduler runs these.

-- name: newest_trigger_change
SELECT max(updated_at) AS changed_at, count(*) AS triggers FROM triggers;

-- name: find_changed_schedules
-- Triggers whose schedule is missing or follows an older revision.
SELECT t.trigger_id, t.workflow, t.id, t.revision_id, t.definition,
       s.trigger_id IS NOT NULL AND s.definition = t.definition AS same_definition
FROM triggers AS t
LEFT JOIN schedules AS s ON s.trigger_id = t.trigger_id
WHERE t.kind = 'schedule' AND (s.trigger_id IS NULL OR s.revision_id <> t.revision_id)
  AND t.trigger_id <> ALL(:without::uuid[])
LIMIT :limit;

-- name: delete_removed_schedules
DELETE FROM schedules AS s
WHERE NOT EXISTS (SELECT 1 FROM triggers AS t WHERE t.trigger_id = s.trigger_id AND t.kind = 'schedule');

-- name: upsert_schedules
-- A schedule whose definition is the same keeps its next time.
INSERT INTO schedules AS s (trigger_id, workflow, id, revision_id, definition, next_fire_at)
SELECT i.trigger_id, i.workflow, i.id, i.revision_id, i.definition::jsonb, i.next_fire_at
FROM unnest(:trigger_ids::uuid[], :workflows::text[], :ids::text[], :revision_ids::uuid[], :definitions::text[],
            :next_fire_ats::timestamptz[])
    AS i(trigger_id, workflow, id, revision_id, definition, next_fire_at)
ON CONFLICT (trigger_id) DO UPDATE
SET revision_id = EXCLUDED.revision_id,
    next_fire_at = CASE WHEN s.definition = EXCLUDED.definition THEN s.next_fire_at ELSE EXCLUDED.next_fire_at END,
    definition = EXCLUDED.definition,
    updated_at = clock_timestamp();

-- name: lock_due_schedules
-- Another scheduler's rows are left to it.
SELECT s.trigger_id, s.workflow, s.id, s.revision_id, s.definition, s.next_fire_at, s.last_run_id,
       clock_timestamp() AS now
FROM schedules AS s
WHERE s.next_fire_at <= clock_timestamp() AND s.trigger_id <> ALL(:without::uuid[])
ORDER BY s.next_fire_at
LIMIT :limit
FOR UPDATE SKIP LOCKED;

-- name: find_active_runs
SELECT run_id FROM runs
WHERE run_id = ANY(:run_ids::uuid[]) AND run_id BETWEEN :first::uuid AND :last::uuid
  AND state IN ('QUEUED', 'RUNNING', 'CANCELLING');

-- name: insert_ticks
-- The key decides: a tick that exists was handled by somebody else, and nothing may be started for it.
INSERT INTO ticks (trigger_id, nominal_at, outcome, run_id)
SELECT i.trigger_id, i.nominal_at, i.outcome, i.run_id
FROM unnest(:trigger_ids::uuid[], :nominal_ats::timestamptz[], :outcomes::text[], :run_ids::uuid[])
    AS i(trigger_id, nominal_at, outcome, run_id)
ON CONFLICT (trigger_id, nominal_at) DO NOTHING
RETURNING trigger_id, nominal_at;

-- name: update_schedules
UPDATE schedules AS s
SET next_fire_at = i.next_fire_at, last_run_id = coalesce(i.last_run_id, s.last_run_id)
FROM unnest(:trigger_ids::uuid[], :next_fire_ats::timestamptz[], :last_run_ids::uuid[])
    AS i(trigger_id, next_fire_at, last_run_id)
WHERE s.trigger_id = i.trigger_id;

-- name: look
-- Whether triggers have changed, and how long until a schedule is due.
SELECT (SELECT max(updated_at) FROM triggers) AS changed_at,
       (SELECT count(*) FROM triggers) AS triggers,
       (SELECT extract(epoch FROM min(next_fire_at) - clock_timestamp())::float8
        FROM schedules WHERE trigger_id <> ALL(:without::uuid[])) AS fire_in;

-- name: database_now
SELECT clock_timestamp();
