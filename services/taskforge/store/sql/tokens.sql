-- API tokens, as digests. Only the gateway runs these.

-- name: put_token
-- Does nothing when it is there already, so that replicas may all do it at each start.
INSERT INTO tokens AS t (name, digest)
VALUES (:name, :digest)
ON CONFLICT (name) DO UPDATE
SET digest = EXCLUDED.digest, revoked_at = NULL
WHERE t.digest <> EXCLUDED.digest OR t.revoked_at IS NOT NULL;

-- name: read_tokens
SELECT name, digest FROM tokens WHERE revoked_at IS NULL;
