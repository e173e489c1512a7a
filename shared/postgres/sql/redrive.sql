-- Dead messages wait again, for a copy that the next sweep sends. Idempotent: what is not dead any
-- more is redriven already, and what waits is not made to wait twice; whose copy was broken waits by
-- itself. The first of them is due at $3, or now, and each later one $2 seconds after it. The first copy is no
-- rescue. What the letter was is kept until then.
WITH wanted AS (
    SELECT key, dead_at
    FROM nightshift.dead_letter
    WHERE key = ANY($1::uuid[]) AND queue IS NOT NULL AND function <> ''
      AND reason <> 'broken-copy'
    ORDER BY key
    FOR UPDATE),
turns AS MATERIALIZED (
    SELECT key, coalesce($3, clock_timestamp())
        + make_interval(secs => $2::float8 * (row_number() OVER (ORDER BY dead_at, key) - 1)) AS due
    FROM wanted),
risen AS (
    INSERT INTO nightshift.open_message
        (key, function, queue, gen, attempt, reason, due_at, rescue_at, rescues, last_error,
         message_id, session_id, sequence_number, enqueued_at, properties, body, body_hash, call_id, was)
    SELECT dead.key, function, queue, gen + 1, 0, 'redrive', due, due, -1, description,
        message_id, session_id, sequence_number, enqueued_at, properties, body, body_hash, call_id,
        json_build_object('reason', reason, 'fingerprint', fingerprint, 'dead_at', dead.dead_at,
            'delivery_count', delivery_count, 'holds_session', holds_session, 'attempt', attempt)
    FROM nightshift.dead_letter AS dead JOIN turns USING (key)
    ON CONFLICT (key) DO NOTHING
    RETURNING key),
reopened AS (
    UPDATE nightshift.run SET ended_at = NULL FROM risen
    WHERE run.key = risen.key AND cancelled IS NULL)
DELETE FROM nightshift.dead_letter AS dead USING risen
WHERE dead.key = risen.key
RETURNING dead.key
