-- The installation at a glance. Only the gateway runs these. Partial indexes keep each count as small as what it counts.

-- name: read_status
SELECT clock_timestamp() AS now,
       current_setting('server_version') AS server_version,
       (SELECT max(number) FROM schema_migrations) AS schema_version,
       (SELECT count(*) FROM runs WHERE state IN ('QUEUED', 'RUNNING', 'CANCELLING')) AS active_runs,
       (SELECT count(*) FROM dead_letters WHERE state = 'OPEN') AS open_dead_letters,
       q.queued_steps,
       greatest(coalesce(extract(epoch FROM clock_timestamp() - q.oldest), 0), 0)::float8 AS oldest_queued_seconds
FROM (SELECT count(*) AS queued_steps, min(queued_at) AS oldest FROM steps WHERE state = 'QUEUED') AS q;

-- name: ping
SELECT 1;
