-- Idempotent by key: a message that is dead already stays as it was.
INSERT INTO nightshift.dead_letter
    (key, function, queue, reason, description, message_id, session_id, sequence_number,
     delivery_count, enqueued_at, properties, body, body_hash, attempt, gen, holds_session,
     fingerprint)
SELECT key, function, queue, reason, description, message_id, session_id, sequence_number,
    delivery_count, enqueued_at, properties::json, body, body_hash, attempt, gen, holds_session,
    fingerprint
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::bigint[], $9::integer[], $10::timestamptz[], $11::text[], $12::bytea[], $13::uuid[],
            $14::integer[], $15::integer[], $16::boolean[], $17::text[])
    AS letter (key, function, queue, reason, description, message_id, session_id, sequence_number,
               delivery_count, enqueued_at, properties, body, body_hash, attempt, gen, holds_session, fingerprint)
ORDER BY key
ON CONFLICT (key) DO NOTHING
