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

-- name: list_open_dead_letters
-- The state is a constant: only so is the partial index of open ones used.
SELECT dead_letter_id, run_id, step, workflow, step_id, state, error, reason, attempts, crashes, created_at, closed_at,
       closed_by, comment
FROM dead_letters
WHERE state = 'OPEN' AND dead_letter_id < :before::uuid
  AND (:workflow::text = '' OR workflow = :workflow) AND (:run_id::uuid IS NULL OR run_id = :run_id)
ORDER BY dead_letter_id DESC
LIMIT :limit;

-- name: list_closed_dead_letters
SELECT dead_letter_id, run_id, step, workflow, step_id, state, error, reason, attempts, crashes, created_at, closed_at,
       closed_by, comment
FROM dead_letters
WHERE state = :state AND dead_letter_id < :before::uuid
  AND (:workflow::text = '' OR workflow = :workflow) AND (:run_id::uuid IS NULL OR run_id = :run_id)
ORDER BY dead_letter_id DESC
LIMIT :limit;
