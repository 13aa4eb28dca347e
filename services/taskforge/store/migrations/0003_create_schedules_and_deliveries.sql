-- Schedules and their ticks: written by the scheduler. Webhook deliveries: written by ingest.

CREATE TABLE schedules (
    trigger_id uuid PRIMARY KEY,
    workflow text NOT NULL,
    id text NOT NULL,
    revision_id uuid NOT NULL,
    definition jsonb NOT NULL,
    next_fire_at timestamptz,
    last_run_id uuid,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX schedules_due ON schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;

-- Every tick, also one that started nothing. The key is what makes any number of schedulers safe.
CREATE TABLE ticks (
    trigger_id uuid NOT NULL,
    nominal_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('FIRED', 'SKIPPED_OVERLAP', 'COALESCED', 'MISSED_WINDOW')),
    run_id uuid,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (trigger_id, nominal_at),
    CHECK ((outcome = 'FIRED') = (run_id IS NOT NULL))
);

CREATE TABLE webhook_deliveries (
    delivery_id uuid PRIMARY KEY,
    trigger_id uuid NOT NULL,
    revision_id uuid NOT NULL, -- what it was judged by, and what its run is pinned to
    verdict text NOT NULL CHECK (verdict IN ('RECEIVED', 'ACCEPTED', 'DUPLICATE', 'FILTERED', 'BAD_SIGNATURE',
                                             'UNPROCESSABLE')),
    run_id uuid,
    dedupe_key text,
    body bytea NOT NULL,
    content_type text NOT NULL DEFAULT '',
    headers jsonb NOT NULL DEFAULT '{}',
    query text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (verdict NOT IN ('ACCEPTED', 'RECEIVED') OR run_id IS NOT NULL)
);
CREATE INDEX webhook_deliveries_by_trigger ON webhook_deliveries (trigger_id, delivery_id DESC);
-- Deliveries whose run may not have been started because ingest died in between.
CREATE INDEX webhook_deliveries_received ON webhook_deliveries (received_at) WHERE verdict = 'RECEIVED';

CREATE TABLE webhook_keys (
    trigger_id uuid NOT NULL,
    key text NOT NULL,
    delivery_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (trigger_id, key)
);
CREATE INDEX webhook_keys_expires_at ON webhook_keys (expires_at);
