INSERT INTO nightshift.outbox (id, queue, message_id, session_id, due_at, properties, body, wakes)
SELECT id, queue, message_id, session_id, due_at, properties::json, body, wakes
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[],
            $7::bytea[], $8::uuid[])
    AS promised (id, queue, message_id, session_id, due_at, properties, body, wakes)
