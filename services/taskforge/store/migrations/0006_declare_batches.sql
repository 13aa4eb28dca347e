-- The rows in which the scheduler hands over what a batch changes: an array of rows costs both sides a third of what as
-- many arrays as there are columns would. A type that is in use is never changed; another column needs another type.
-- oldest program: 4

CREATE TYPE run_insert AS (
    run_id uuid, workflow text, revision_id uuid, seq bigint, cause_kind text, cause_trigger text, cause_id text,
    inputs json, trigger json, labels jsonb, timeout interval
);

-- `timeout` begins anew.
CREATE TYPE run_update AS (
    run_id uuid, from_state text, from_seq bigint, state text, seq bigint, error jsonb, output json, timeout interval
);

-- A change of a run itself, for its history.
CREATE TYPE run_event AS (run_id uuid, seq bigint, from_state text, to_state text, cause text, message text);

-- `seq` is the change's number in the history. An attempt begins with it if it has an `elapsed`: how long it took.
CREATE TYPE step_write AS (
    run_id uuid, step integer, seq bigint, existed boolean, needs_lease boolean, from_state text, from_token bigint,
    state text, cause text, epoch integer, attempt integer, failures integer, crashes integer, token bigint,
    executor_id uuid, delay interval, elapsed interval, branch integer, output json, error jsonb, result_hash bytea
);

-- `elapsed`: of an attempt that no earlier transaction began.
CREATE TYPE attempt_insert AS (
    run_id uuid, step integer, epoch integer, attempt integer, outcome text, token bigint, executor_id uuid,
    error jsonb, started_at timestamptz, elapsed interval
);

CREATE TYPE dead_letter_insert AS (
    dead_letter_id uuid, run_id uuid, step integer, epoch integer, workflow text, step_id text, error jsonb,
    reason text, attempts integer, crashes integer
);

-- For a statement that finds at its end that it has not changed all it was to change.
CREATE FUNCTION refuse_write() RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row was changed in between' USING ERRCODE = 'serialization_failure';
END
$$;
