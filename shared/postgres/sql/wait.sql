-- The message waits from now on, or goes on waiting, for the copy with the number that is returned.
INSERT INTO nightshift.open_message
    (key, function, queue, gen, attempt, reason, due_at, rescue_at, last_error, message_id,
     session_id, sequence_number, enqueued_at, properties, body, body_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, greatest($7, clock_timestamp()) + interval '2 minutes', $8, $9,
        $10, $11, $12, $13::text::json, $14, $15)
ON CONFLICT (key) DO UPDATE
SET gen = greatest(open_message.gen + 1, excluded.gen),
    queue = excluded.queue,
    attempt = excluded.attempt,
    reason = excluded.reason,
    due_at = excluded.due_at,
    rescue_at = excluded.rescue_at,
    rescues = 0,
    last_error = excluded.last_error,
    changed_at = clock_timestamp()
RETURNING gen
