-- Webhook deliveries and the keys that make them count once. Only the ingest runs these. A call is a batch.

-- name: find_webhooks
-- The webhooks at these paths, each with its secret as it is sealed now.
SELECT t.trigger_id, t.workflow, t.id, t.path_key, t.revision_id, s.name AS secret, s.version, s.sealed
FROM unnest(:workflows::text[], :ids::text[]) AS k(workflow, id)
JOIN triggers AS t ON t.workflow = k.workflow AND t.id = k.id AND t.kind = 'webhook'
LEFT JOIN secrets AS s ON s.name = t.definition ->> 'secret';

-- name: read_revisions
SELECT revision_id, workflow, source FROM revisions WHERE revision_id = ANY(:revision_ids::uuid[]);

-- name: store_deliveries
-- Takes keys, new ones and those whose time was over, and stores the deliveries that got theirs or have none to take.
-- Returns which were stored. One that is there already was stored by the same call, sent again. Two transactions that
-- want the same key wait for each other; the order keeps them from deadlocking.
WITH i AS (
    SELECT *
    FROM unnest(:delivery_ids::uuid[], :trigger_ids::uuid[], :revision_ids::uuid[], :verdicts::text[],
                :run_ids::uuid[], :dedupe_keys::text[], :wanted_keys::text[], :ttls::interval[], :bodies::bytea[],
                :content_types::text[], :headers::text[], :queries::text[], :messages::text[])
        AS i(delivery_id, trigger_id, revision_id, verdict, run_id, dedupe_key, wanted_key, ttl, body, content_type,
             headers, query, message)
), taken AS (
    INSERT INTO webhook_keys AS k (trigger_id, key, delivery_id, expires_at)
    SELECT i.trigger_id, i.wanted_key, i.delivery_id, clock_timestamp() + i.ttl
    FROM i
    WHERE i.wanted_key IS NOT NULL
    ORDER BY i.trigger_id, i.wanted_key
    ON CONFLICT (trigger_id, key) DO UPDATE SET delivery_id = EXCLUDED.delivery_id, expires_at = EXCLUDED.expires_at
    WHERE k.expires_at <= clock_timestamp()
    RETURNING k.delivery_id
)
INSERT INTO webhook_deliveries (delivery_id, trigger_id, revision_id, verdict, run_id, dedupe_key, body, content_type,
                                headers, query, message)
SELECT i.delivery_id, i.trigger_id, i.revision_id, i.verdict, i.run_id, i.dedupe_key, i.body, i.content_type,
       i.headers::jsonb, i.query, i.message
FROM i
WHERE i.wanted_key IS NULL OR i.delivery_id IN (SELECT taken.delivery_id FROM taken)
ON CONFLICT (delivery_id) DO NOTHING
RETURNING delivery_id;

-- name: read_key_owners
SELECT k.trigger_id, k.key, k.delivery_id, d.run_id, d.verdict
FROM unnest(:trigger_ids::uuid[], :keys::text[]) AS i(trigger_id, key)
JOIN webhook_keys AS k ON k.trigger_id = i.trigger_id AND k.key = i.key
JOIN webhook_deliveries AS d ON d.delivery_id = k.delivery_id;

-- name: accept_deliveries
UPDATE webhook_deliveries SET verdict = 'ACCEPTED'
WHERE delivery_id = ANY(:delivery_ids::uuid[]) AND verdict = 'RECEIVED';

-- name: refuse_delivery
-- Only one whose run was never started: the sender is told so, and may send it again.
UPDATE webhook_deliveries SET verdict = 'UNPROCESSABLE', run_id = NULL, message = :message
WHERE delivery_id = :delivery_id AND verdict = 'RECEIVED';

-- name: release_key
DELETE FROM webhook_keys AS k USING webhook_deliveries AS d
WHERE d.delivery_id = :delivery_id AND k.trigger_id = d.trigger_id AND k.key = d.dedupe_key
  AND k.delivery_id = d.delivery_id;

-- name: find_unstarted
-- Deliveries whose run may not exist: whoever stored them did not come back to say so.
SELECT d.delivery_id, d.trigger_id, d.revision_id, d.verdict, d.run_id, d.body, d.content_type, d.headers, d.query,
       d.received_at, t.id AS trigger
FROM webhook_deliveries AS d
LEFT JOIN triggers AS t ON t.trigger_id = d.trigger_id
WHERE d.verdict = 'RECEIVED' AND d.received_at < clock_timestamp() - :age::interval
ORDER BY d.received_at
LIMIT :limit;

-- name: read_delivery
SELECT d.delivery_id, d.trigger_id, d.revision_id, d.verdict, d.run_id, d.body, d.content_type, d.headers, d.query,
       d.received_at, t.id AS trigger
FROM webhook_deliveries AS d
LEFT JOIN triggers AS t ON t.trigger_id = d.trigger_id
WHERE d.delivery_id = :delivery_id;

-- name: delete_expired_keys
-- In small steps, so that no sender waits behind it.
DELETE FROM webhook_keys
WHERE (trigger_id, key) IN (
    SELECT trigger_id, key FROM webhook_keys
    WHERE expires_at <= clock_timestamp()
    ORDER BY expires_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
);
