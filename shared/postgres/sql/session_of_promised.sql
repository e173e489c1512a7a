-- The session of what waits for a promised copy.
SELECT open.function, open.session_id AS "session_id!"
FROM nightshift.outbox JOIN nightshift.open_message AS open ON open.key = outbox.wakes
WHERE outbox.id = $1 AND open.session_id IS NOT NULL
