-- What waits under a key, and whether it is a run. Whoever works on it in a transaction is waited for.
SELECT open.function, open.reason, open.attempt, open.message_id, open.session_id, open.enqueued_at,
    open.properties::text AS "properties!", open.concurrency_key,
    EXISTS (SELECT FROM nightshift.run WHERE run.key = open.key) AS "is_run!"
FROM nightshift.open_message AS open
WHERE open.key = $1
FOR UPDATE OF open
