-- A migration says which programs can go on with it, and every service can see what it is connected to.
-- oldest program: 4

-- The newest migration that a program must know to run on a schema with this one; NULL: this one.
ALTER TABLE schema_migrations ADD COLUMN oldest_program integer;

GRANT SELECT ON schema_migrations TO taskforge_scheduler, taskforge_ingest;
