-- The messages wait from now on, or go on waiting, for the copies with the numbers that are returned.
-- A parked one, and so on, waits for no copy. One whose call is under way gets a copy only if that is not settled
-- in time.
INSERT INTO nightshift.open_message
    (key, function, queue, gen, attempt, reason, due_at, rescue_at, last_error, message_id,
     session_id, sequence_number, enqueued_at, properties, body, body_hash, call_id,
     concurrency_key)
SELECT key, $15, $16, gen, attempt, reason,
    coalesce(clock_timestamp() + make_interval(secs => lease), due_at),
    CASE
        WHEN reason IN ('parked', 'paused', 'queued') THEN 'infinity'
        WHEN lease IS NOT NULL THEN clock_timestamp() + make_interval(secs => lease)
        ELSE greatest(due_at, clock_timestamp()) + interval '2 minutes'
    END,
    last_error, message_id, session_id, sequence_number, enqueued_at, properties::json, body,
    body_hash, call_id, concurrency_key
FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::timestamptz[], $6::text[],
            $7::text[], $8::text[], $9::bigint[], $10::timestamptz[], $11::text[], $12::bytea[],
            $13::uuid[], $14::uuid[], $17::float8[], $18::uuid[])
    AS waiting (key, gen, attempt, reason, due_at, last_error, message_id, session_id,
                sequence_number, enqueued_at, properties, body, body_hash, call_id, lease, concurrency_key)
ORDER BY key
ON CONFLICT (key) DO UPDATE
SET gen = greatest(open_message.gen + 1, excluded.gen),
    queue = excluded.queue,
    attempt = excluded.attempt,
    reason = excluded.reason,
    due_at = excluded.due_at,
    rescue_at = excluded.rescue_at,
    rescues = 0,
    last_error = coalesce(excluded.last_error, open_message.last_error),
    body = excluded.body,
    body_hash = excluded.body_hash,
    call_id = excluded.call_id,
    concurrency_key = excluded.concurrency_key,
    changed_at = clock_timestamp()
RETURNING key, gen
