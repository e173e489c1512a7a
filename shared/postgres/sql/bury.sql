-- Idempotent by key: a message that is dead already stays as it was.
INSERT INTO nightshift.dead_letter
    (key, function, reason, description, message_id, session_id, sequence_number, delivery_count,
     enqueued_at, properties, body, body_hash, attempt, gen)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::json, $11, $12, $13, $14)
ON CONFLICT (key) DO NOTHING
