-- What is redriven and of which no copy was sent yet is dead again, as it was. What a sweep is about to send
-- is left to it.
WITH wanted AS (
    SELECT key FROM nightshift.open_message
    WHERE key = ANY($1::uuid[]) AND reason = 'redrive' AND rescues < 0 AND was IS NOT NULL
    ORDER BY key
    FOR UPDATE SKIP LOCKED),
gone AS (
    DELETE FROM nightshift.open_message AS open USING wanted
    WHERE open.key = wanted.key
    RETURNING open.*)
INSERT INTO nightshift.dead_letter
    (key, function, queue, reason, description, message_id, session_id, sequence_number,
     delivery_count, enqueued_at, properties, body, body_hash, attempt, gen, fingerprint, call_id,
     holds_session, dead_at)
SELECT key, function, queue, was ->> 'reason', coalesce(last_error, ''), message_id, session_id,
    sequence_number, (was ->> 'delivery_count')::integer, enqueued_at, properties, body, body_hash,
    (was ->> 'attempt')::integer, gen, was ->> 'fingerprint', call_id,
    (was ->> 'holds_session')::boolean, (was ->> 'dead_at')::timestamptz
FROM gone
ON CONFLICT (key) DO NOTHING
