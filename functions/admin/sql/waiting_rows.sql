SELECT key, function, reason, attempt, due_at, last_error, message_id, session_id, enqueued_at, opened_at,
    properties::text AS "properties!"
FROM nightshift.open_message
WHERE key = ANY($1::uuid[])
