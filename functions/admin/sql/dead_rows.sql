SELECT key, function, coalesce(fingerprint, '') AS "fingerprint!", reason, description, attempt, dead_at,
    enqueued_at, message_id, session_id, holds_session, length(body) AS "body_bytes!",
    properties::text AS "properties!"
FROM nightshift.dead_letter
WHERE key = ANY($1::uuid[])
