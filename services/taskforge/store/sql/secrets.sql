-- Secrets, sealed. Only the gateway runs these; executors get them from the scheduler.

-- name: lock_secret
-- Also for a name that has no row yet, so that two first values do not both become version 1.
SELECT pg_advisory_xact_lock(7610003, hashtext(:name));

-- name: read_secret
SELECT version, sealed FROM secrets WHERE name = :name;

-- name: put_secret
INSERT INTO secrets AS s (name, version, sealed)
VALUES (:name, :version, :sealed)
ON CONFLICT (name) DO UPDATE
SET version = EXCLUDED.version, sealed = EXCLUDED.sealed, updated_at = clock_timestamp();

-- name: describe_secret
SELECT name, version, created_at, updated_at FROM secrets WHERE name = :name;

-- name: list_secrets
SELECT name, version, created_at, updated_at FROM secrets WHERE name > :after ORDER BY name LIMIT :limit;

-- name: find_uses
-- Workflows whose current revision uses one of the secrets.
SELECT u.secret, w.name AS workflow
FROM workflows AS w
JOIN revisions AS r ON r.revision_id = w.revision_id
CROSS JOIN LATERAL unnest(r.secrets) AS u(secret)
WHERE w.deleted_at IS NULL AND r.secrets && :names::text[] AND u.secret = ANY(:names::text[])
ORDER BY u.secret, w.name;

-- name: delete_secret
DELETE FROM secrets WHERE name = :name;
