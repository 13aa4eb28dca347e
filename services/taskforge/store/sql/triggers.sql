-- Schedules and webhooks as people see them. Only the gateway runs these, and only to read.

-- name: list_triggers
-- By workflow and id; `only` is empty for those of all workflows.
SELECT t.trigger_id, t.workflow, t.id, t.path_key, t.definition, clock_timestamp() AS now
FROM triggers AS t
WHERE t.kind = :kind AND (:only::text = '' OR t.workflow = :only)
  AND (t.workflow, t.id) > (:after_workflow::text, :after_id::text)
ORDER BY t.workflow, t.id
LIMIT :limit;

-- name: read_trigger
SELECT t.trigger_id, t.workflow, t.id, t.path_key, t.definition, clock_timestamp() AS now
FROM triggers AS t
WHERE t.kind = :kind AND t.workflow = :workflow AND t.id = :id;

-- name: last_ticks
-- The newest few of each schedule.
SELECT t.trigger_id, k.nominal_at, k.handled_at, k.outcome, k.run_id
FROM unnest(:trigger_ids::uuid[]) AS t(trigger_id)
CROSS JOIN LATERAL (
    SELECT nominal_at, handled_at, outcome, run_id
    FROM ticks
    WHERE ticks.trigger_id = t.trigger_id
    ORDER BY nominal_at DESC
    LIMIT :count
) AS k
ORDER BY t.trigger_id, k.nominal_at DESC;

-- name: list_deliveries
SELECT delivery_id, verdict, run_id, dedupe_key, octet_length(body) AS body_bytes, message, received_at
FROM webhook_deliveries
WHERE trigger_id = :trigger_id AND delivery_id < :before::uuid
ORDER BY delivery_id DESC
LIMIT :limit;
