-- Definitions, secrets, tokens and the audit log: written by the gateway alone.

CREATE TABLE workflows (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    revision_id uuid NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz
);

-- Immutable. A run pins one for its whole life, so rows outlive their workflow.
CREATE TABLE revisions (
    revision_id uuid PRIMARY KEY,
    workflow text NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    source text NOT NULL,
    source_hash text NOT NULL,
    description text NOT NULL DEFAULT '',
    labels jsonb NOT NULL DEFAULT '{}',
    secrets text[] NOT NULL DEFAULT '{}',
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (workflow, number)
);

-- What starts a workflow besides a person, from its current revision. `definition` is the trigger's compiled form.
CREATE TABLE triggers (
    trigger_id uuid PRIMARY KEY,
    workflow text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('schedule', 'webhook')),
    revision_id uuid NOT NULL REFERENCES revisions,
    path_key text NOT NULL,
    definition jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (workflow, id)
);
CREATE INDEX triggers_updated_at ON triggers (updated_at);

CREATE TABLE secrets (
    name text PRIMARY KEY CHECK (name ~ '^[A-Z][A-Z0-9_]{0,62}$'),
    version integer NOT NULL CHECK (version > 0),
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Tokens are kept as SHA-256 digests of 256 random bits.
CREATE TABLE tokens (
    name text PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);

CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
