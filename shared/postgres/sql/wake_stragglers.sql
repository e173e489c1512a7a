-- What was put aside by a process that had not heard of the end of the pause.
WITH straggler AS (
    SELECT key FROM nightshift.open_message AS open
    WHERE reason = 'paused'
      AND NOT EXISTS (SELECT FROM nightshift.control WHERE control.function = open.function)
    ORDER BY function, sequence_number
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
UPDATE nightshift.open_message AS open
SET gen = gen + 1,
    reason = 'turn',
    due_at = clock_timestamp(),
    rescue_at = clock_timestamp(),
    rescues = -1,
    changed_at = clock_timestamp()
FROM straggler
WHERE open.key = straggler.key
