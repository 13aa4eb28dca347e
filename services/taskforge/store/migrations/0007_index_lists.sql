-- Lists are as fast with a long history as with a short one, and the guard of final states no longer locks rows twice.
-- oldest program: 4

-- A list of a state reads as many rows as it shows, however rare the state is. Nearly all runs succeed; those are found
-- by their ids alone.
CREATE INDEX runs_of_workflow ON runs (workflow, state, run_id);
CREATE INDEX runs_of_state ON runs (state, run_id) WHERE state <> 'SUCCEEDED';
CREATE INDEX dead_letters_of_state ON dead_letters (state, dead_letter_id);
DROP INDEX runs_by_workflow, runs_active, runs_unsuccessful, dead_letters_open;

-- Whether a closed dead letter was closed by somebody is asked by its name.
CREATE INDEX audit_by_object ON audit (object);

-- Before the update, the trigger took a lock of its own on each row, with its record in the log. Afterwards it only looks,
-- and what it refuses is rolled back all the same.
DROP TRIGGER steps_final_states ON steps;
CREATE TRIGGER steps_final_states AFTER UPDATE ON steps FOR EACH ROW
    WHEN (OLD.state IN ('SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED') AND NEW.epoch = OLD.epoch)
    EXECUTE FUNCTION refuse_to_leave_final_state();
