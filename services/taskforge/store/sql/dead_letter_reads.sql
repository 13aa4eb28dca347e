-- Dead letters as people see them. Only the gateway runs these, and only to read.

-- name: read_dead_letter
SELECT dead_letter_id, run_id, step, workflow, step_id, state, error, reason, attempts, crashes, created_at, closed_at,
       closed_by, comment
FROM dead_letters
WHERE dead_letter_id = :id;

-- name: find_dead_letters_between
SELECT dead_letter_id FROM dead_letters
WHERE dead_letter_id >= :low::uuid AND dead_letter_id <= :high::uuid
ORDER BY dead_letter_id DESC
LIMIT :limit;

-- name: list_dead_letters
-- Whole keys of the index are compared, so that the planner cannot walk the primary key past those of other states.
SELECT dead_letter_id, run_id, step, workflow, step_id, state, error, reason, attempts, crashes, created_at, closed_at,
       closed_by, comment
FROM dead_letters
WHERE (state, dead_letter_id) < (:state, :before::uuid)
  AND (state, dead_letter_id) >= (:state, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (:workflow::text = '' OR workflow = :workflow) AND (:run_id::uuid IS NULL OR run_id = :run_id)
ORDER BY state DESC, dead_letter_id DESC
LIMIT :limit;
