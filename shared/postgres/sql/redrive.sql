-- Dead messages wait again, for a copy that the next sweep sends. Idempotent: what is not dead any
-- more is redriven already. The first of them is due now, and each later one $2 seconds after it. The first copy is no rescue.
WITH wanted AS (
    SELECT key, dead_at
    FROM nightshift.dead_letter
    WHERE key = ANY($1::uuid[]) AND queue IS NOT NULL AND function <> ''
    ORDER BY key
    FOR UPDATE),
turns AS (SELECT key, row_number() OVER (ORDER BY dead_at, key) - 1 AS turn FROM wanted),
risen AS (
    DELETE FROM nightshift.dead_letter AS dead USING turns
    WHERE dead.key = turns.key
    RETURNING dead.*, clock_timestamp() + make_interval(secs => $2::float8 * turns.turn) AS due)
INSERT INTO nightshift.open_message
    (key, function, queue, gen, attempt, reason, due_at, rescue_at, rescues, last_error, message_id,
     session_id, sequence_number, enqueued_at, properties, body, body_hash)
SELECT key, function, queue, gen + 1, 0, 'redrive', due, due, -1, description, message_id, session_id,
    sequence_number, enqueued_at, properties, body, body_hash
FROM risen
RETURNING key
