-- Runs and everything that happens to them: written by the scheduler alone.
-- Every primary key starts with run_id, a UUIDv7, and the tables are partitioned by it: a week is dropped, not deleted,
-- and a database that shards on a key keeps a run in one place.

CREATE TABLE runs (
    run_id uuid NOT NULL,
    workflow text NOT NULL,
    revision_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    seq bigint NOT NULL,
    cause_kind text NOT NULL CHECK (cause_kind IN ('manual', 'webhook', 'schedule')),
    cause_trigger text NOT NULL DEFAULT '',
    cause_id text NOT NULL DEFAULT '',
    inputs json NOT NULL,
    trigger json NOT NULL,
    labels jsonb NOT NULL DEFAULT '{}',
    output json,
    error jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    deadline_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (run_id),
    CHECK ((ended_at IS NOT NULL) = (state IN ('SUCCEEDED', 'FAILED', 'CANCELLED'))),
    CHECK (output IS NULL OR state = 'SUCCEEDED')
) PARTITION BY RANGE (run_id);
CREATE INDEX runs_by_workflow ON runs (workflow, run_id DESC);
-- Small whatever the history's size: only runs that have not ended.
CREATE INDEX runs_active ON runs (run_id) WHERE state IN ('QUEUED', 'RUNNING', 'CANCELLING');
-- What people look for in a long history.
CREATE INDEX runs_unsuccessful ON runs (run_id) WHERE state IN ('FAILED', 'CANCELLED');
CREATE INDEX runs_deadline ON runs (deadline_at)
    WHERE deadline_at IS NOT NULL AND state IN ('QUEUED', 'RUNNING');

-- A row exists once a step has left PENDING, or was sent back to it by a redrive.
-- lease_until has no index on purpose: a heartbeat must stay a HOT update.
CREATE TABLE steps (
    run_id uuid NOT NULL,
    step integer NOT NULL CHECK (step >= 0),
    state text NOT NULL CHECK (state IN ('PENDING', 'QUEUED', 'RUNNING', 'RETRYING', 'WAITING', 'SUCCEEDED', 'FAILED',
                                         'SKIPPED', 'CANCELLED')),
    cause text NOT NULL,
    epoch integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    lease_token bigint NOT NULL DEFAULT 0,
    executor_id uuid,
    lease_until timestamptz,
    queued_at timestamptz,
    due_at timestamptz,
    first_started_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    branch integer,
    output json,
    error jsonb,
    result_hash bytea,
    PRIMARY KEY (run_id, step),
    CHECK ((state = 'RUNNING') = (lease_until IS NOT NULL)),
    CHECK ((state = 'RETRYING') = (due_at IS NOT NULL)),
    CHECK ((state = 'QUEUED') = (queued_at IS NOT NULL)),
    CHECK ((state IN ('SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'RUNNING' OR executor_id IS NOT NULL)
) PARTITION BY RANGE (run_id);
CREATE INDEX steps_queued ON steps (queued_at) WHERE state = 'QUEUED';
CREATE INDEX steps_running ON steps (run_id) WHERE state = 'RUNNING';
CREATE INDEX steps_due ON steps (due_at) WHERE state = 'RETRYING';

-- One row an ended attempt; append-only.
CREATE TABLE attempts (
    run_id uuid NOT NULL,
    step integer NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('SUCCEEDED', 'FAILED', 'TIMED_OUT', 'CRASHED', 'UNKNOWN', 'CANCELLED')),
    lease_token bigint NOT NULL,
    executor_id uuid,
    error jsonb,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, step, epoch, attempt)
) PARTITION BY RANGE (run_id);

-- One row a committed change of a run (step IS NULL) or of a step; append-only, numbered without gaps within a run.
CREATE TABLE events (
    run_id uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    step integer,
    from_state text NOT NULL,
    to_state text NOT NULL,
    cause text NOT NULL,
    epoch integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    lease_token bigint NOT NULL DEFAULT 0,
    executor_id uuid,
    message text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, seq)
) PARTITION BY RANGE (run_id);

CREATE TABLE logs (
    run_id uuid NOT NULL,
    step integer NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    number integer NOT NULL,
    level text NOT NULL CHECK (level IN ('debug', 'info', 'warning', 'error')),
    message text NOT NULL,
    data json,
    at timestamptz NOT NULL,
    log_id bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (run_id, step, epoch, attempt, number)
) PARTITION BY RANGE (run_id);
CREATE INDEX logs_in_order ON logs (run_id, log_id);

-- Weekly partitions, made ahead by the scheduler's maintenance. The default one catches ids from a clock that jumped.
CREATE TABLE runs_default PARTITION OF runs DEFAULT;
CREATE TABLE steps_default PARTITION OF steps DEFAULT;
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;
CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE TABLE logs_default PARTITION OF logs DEFAULT;

-- The smallest UUIDv7 of a moment.
CREATE FUNCTION first_uuid7_at(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

-- Makes the partitions of the weeks from last week to `weeks_ahead` from now. Runs as its owner: the scheduler's role
-- owns no table. Heap pages keep room for HOT updates where rows are updated.
CREATE FUNCTION ensure_partitions(weeks_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    made integer := 0;
    week timestamptz;
    part text;
    parent text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('taskforge.ensure_partitions'));
    FOR offset_weeks IN -1..weeks_ahead LOOP
        week := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + offset_weeks * interval '7 days';
        FOREACH parent IN ARRAY ARRAY['runs', 'steps', 'attempts', 'events', 'logs'] LOOP
            part := format('%s_%s', parent, to_char(week AT TIME ZONE 'UTC', 'IYYY"w"IW'));
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L) %s', part, parent,
                           first_uuid7_at(week), first_uuid7_at(week + interval '7 days'),
                           CASE WHEN parent IN ('runs', 'steps') THEN 'WITH (fillfactor = 70)' ELSE '' END);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION ensure_partitions(integer) FROM PUBLIC;
SELECT ensure_partitions(2);

-- Final states are left only by a redrive, which counts up the epoch. The last line of defence behind compare-and-set.
CREATE FUNCTION refuse_to_leave_final_state() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'step % of run % is % and cannot become %', OLD.step, OLD.run_id, OLD.state, NEW.state
        USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER steps_final_states BEFORE UPDATE ON steps FOR EACH ROW
    WHEN (OLD.state IN ('SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED') AND NEW.epoch = OLD.epoch)
    EXECUTE FUNCTION refuse_to_leave_final_state();

CREATE TABLE idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    run_id uuid NOT NULL,
    request_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

-- Steps that gave up. Kept until redriven or discarded, whatever retention does to the run.
CREATE TABLE dead_letters (
    dead_letter_id uuid PRIMARY KEY,
    run_id uuid NOT NULL,
    step integer NOT NULL,
    epoch integer NOT NULL,
    workflow text NOT NULL,
    step_id text NOT NULL,
    state text NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'REDRIVEN', 'DISCARDED')),
    error jsonb NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    closed_by text,
    comment text NOT NULL DEFAULT '',
    UNIQUE (run_id, step, epoch),
    CHECK ((state = 'OPEN') = (closed_at IS NULL)),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL))
);
CREATE INDEX dead_letters_open ON dead_letters (dead_letter_id) WHERE state = 'OPEN';
