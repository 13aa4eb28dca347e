-- Whether a service may rely on the database that it is connected to. Every service runs these.

-- name: read_settings
-- As they are for this session: a role, a database or the URL may have changed them.
SELECT current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS standbys;

-- name: read_schema
-- `required` is what programs must know that do not know the newest migrations.
SELECT coalesce(max(number), 0) AS newest,
       coalesce(max(coalesce(oldest_program, number)) FILTER (WHERE number > :known::integer), 0) AS required
FROM schema_migrations;
