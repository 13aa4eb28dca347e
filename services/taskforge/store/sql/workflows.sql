-- Definitions: workflows, their immutable revisions and their triggers. Only the gateway runs these.

-- name: lock_definitions
-- One change of definitions at a time. They are rare, and readers that follow `triggers.updated_at` rely on its values
-- being committed in their own order.
SELECT pg_advisory_xact_lock(7610002);

-- name: read_workflows
-- Also the deleted ones: who applies a name again gets its history back.
SELECT w.name, w.revision_id, w.revision, w.created_at, w.updated_at, w.deleted_at IS NOT NULL AS deleted,
       r.source_hash
FROM workflows AS w
JOIN revisions AS r ON r.revision_id = w.revision_id
WHERE w.name = ANY(:names::text[]);

-- name: insert_revisions
INSERT INTO revisions (revision_id, workflow, number, source, source_hash, description, labels, secrets, created_by)
SELECT i.revision_id, i.workflow, i.number, i.source, i.source_hash, i.description, i.labels,
       ARRAY(SELECT jsonb_array_elements_text(i.secrets)), :actor::text
FROM unnest(:revision_ids::uuid[], :workflows::text[], :numbers::integer[], :sources::text[], :source_hashes::text[],
            :descriptions::text[], :labels::jsonb[], :secrets::jsonb[])
    AS i(revision_id, workflow, number, source, source_hash, description, labels, secrets);

-- name: put_workflows
INSERT INTO workflows AS w (name, revision_id, revision)
SELECT i.name, i.revision_id, i.revision
FROM unnest(:names::text[], :revision_ids::uuid[], :revisions::integer[]) AS i(name, revision_id, revision)
ON CONFLICT (name) DO UPDATE
SET revision_id = EXCLUDED.revision_id, revision = EXCLUDED.revision, updated_at = clock_timestamp(), deleted_at = NULL
RETURNING w.name, w.revision_id, w.created_at, w.updated_at;

-- name: delete_stale_triggers
-- Those that a definition no longer has, and those whose kind changed: what happened to a schedule is no webhook's past.
DELETE FROM triggers AS t
WHERE t.workflow = ANY(:names::text[])
  AND NOT EXISTS (
      SELECT 1 FROM unnest(:workflows::text[], :ids::text[], :kinds::text[]) AS k(workflow, id, kind)
      WHERE k.workflow = t.workflow AND k.id = t.id AND k.kind = t.kind
  );

-- name: put_triggers
-- A trigger keeps its id and its path for as long as its workflow names it; an unchanged one is not touched.
INSERT INTO triggers AS t (trigger_id, workflow, id, kind, revision_id, path_key, definition)
SELECT i.trigger_id, i.workflow, i.id, i.kind, i.revision_id, i.path_key, i.definition
FROM unnest(:trigger_ids::uuid[], :workflows::text[], :ids::text[], :kinds::text[], :revision_ids::uuid[],
            :path_keys::text[], :definitions::jsonb[])
    AS i(trigger_id, workflow, id, kind, revision_id, path_key, definition)
ON CONFLICT (workflow, id) DO UPDATE
SET revision_id = EXCLUDED.revision_id, definition = EXCLUDED.definition, updated_at = clock_timestamp()
WHERE (t.revision_id, t.definition) IS DISTINCT FROM (EXCLUDED.revision_id, EXCLUDED.definition);

-- name: read_triggers
SELECT workflow, id, kind, path_key, definition
FROM triggers
WHERE workflow = ANY(:names::text[])
ORDER BY workflow, id;

-- name: find_missing_secrets
SELECT n.name FROM unnest(:names::text[]) AS n(name)
WHERE NOT EXISTS (SELECT 1 FROM secrets AS s WHERE s.name = n.name);

-- name: read_current
-- What a start needs, for all starts of a batch.
SELECT name, revision_id, revision FROM workflows WHERE name = ANY(:names::text[]) AND deleted_at IS NULL;

-- name: read_revision
-- The current one, or with `number` an earlier one.
SELECT w.name, r.revision_id, r.number, r.source, r.source_hash, r.description, r.labels, w.created_at,
       r.created_at AS revised_at
FROM workflows AS w
JOIN revisions AS r ON r.workflow = w.name AND r.number = coalesce(:number::integer, w.revision)
WHERE w.name = :name AND w.deleted_at IS NULL;

-- name: read_sources
SELECT revision_id, workflow, number, source FROM revisions WHERE revision_id = ANY(:revision_ids::uuid[]);

-- name: list_workflows
SELECT w.name, r.revision_id, r.number, r.source_hash, r.description, r.labels, w.created_at,
       w.updated_at AS revised_at
FROM workflows AS w
JOIN revisions AS r ON r.revision_id = w.revision_id
WHERE w.deleted_at IS NULL AND w.name > :after
ORDER BY w.name
LIMIT :limit;

-- name: has_active_runs
SELECT EXISTS (
    SELECT 1 FROM runs WHERE workflow = :name AND state IN ('QUEUED', 'RUNNING', 'CANCELLING')
);

-- name: delete_workflow
UPDATE workflows SET deleted_at = clock_timestamp() WHERE name = :name AND deleted_at IS NULL;
