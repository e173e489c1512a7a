-- Idempotent by key: a message that is dead already stays as it was, and so does one that waits, such
-- as a redriven one that is delivered once more.
INSERT INTO nightshift.dead_letter
    (key, function, queue, reason, description, message_id, session_id, sequence_number,
     delivery_count, enqueued_at, properties, body, body_hash, attempt, gen, holds_session,
     fingerprint, call_id)
SELECT key, function, queue, reason, description, message_id, session_id, sequence_number,
    delivery_count, enqueued_at, properties::json, body, body_hash, attempt, gen, holds_session,
    fingerprint, call_id
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::bigint[], $9::integer[], $10::timestamptz[], $11::text[], $12::bytea[], $13::uuid[],
            $14::integer[], $15::integer[], $16::boolean[], $17::text[], $18::uuid[])
    AS letter (key, function, queue, reason, description, message_id, session_id, sequence_number,
               delivery_count, enqueued_at, properties, body, body_hash, attempt, gen, holds_session, fingerprint,
               call_id)
WHERE NOT EXISTS (SELECT FROM nightshift.open_message AS open WHERE open.key = letter.key)
ORDER BY key
ON CONFLICT (key) DO NOTHING
