-- Idempotent by id, the key of the message that asked for the notification. Returns the ids whose
-- user exists; for the others nothing is written.
INSERT INTO nightshift.notification (id, user_id, kind, title, body, enqueued_at)
SELECT wanted.id, wanted.user_id, wanted.kind, wanted.title, wanted.body, wanted.enqueued_at
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
    AS wanted (id, user_id, kind, title, body, enqueued_at)
WHERE EXISTS (SELECT FROM app.users WHERE users.id = wanted.user_id)
RETURNING id
