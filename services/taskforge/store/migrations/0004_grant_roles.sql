-- One writer a table. Reads are wider, but nobody reads what they do not need. Passwords are set by the migrator.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['taskforge_gateway', 'taskforge_scheduler', 'taskforge_ingest'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- roles belong to the cluster; another database of it made this one
        END;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE ON workflows, secrets, tokens TO taskforge_gateway;
GRANT SELECT, INSERT ON revisions, audit TO taskforge_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON triggers TO taskforge_gateway;
GRANT DELETE ON secrets TO taskforge_gateway;
GRANT SELECT ON runs, steps, attempts, events, logs, dead_letters, schedules, ticks, webhook_deliveries,
    schema_migrations TO taskforge_gateway;

GRANT SELECT, INSERT, UPDATE ON runs, steps, dead_letters, schedules TO taskforge_scheduler;
GRANT SELECT, INSERT ON attempts, events, logs, ticks TO taskforge_scheduler;
GRANT SELECT, INSERT, DELETE ON idempotency_keys TO taskforge_scheduler;
GRANT DELETE ON schedules TO taskforge_scheduler;
GRANT SELECT ON workflows, revisions, triggers, secrets TO taskforge_scheduler;
GRANT EXECUTE ON FUNCTION ensure_partitions(integer) TO taskforge_scheduler;

GRANT SELECT, INSERT, UPDATE ON webhook_deliveries TO taskforge_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_keys TO taskforge_ingest;
GRANT SELECT ON triggers, revisions, secrets TO taskforge_ingest;
