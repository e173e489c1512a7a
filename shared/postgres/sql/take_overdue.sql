-- Messages whose copy should have come and has not: it was swallowed, it expired, or the queue was
-- purged. Another one with the same number is sent: whichever comes first runs. A copy may also be
-- late because its queue is long, so the pauses double: 2 minutes, 4, 8, up to 6 hours. One whose
-- copy still waits in the outbox needs no other. The statement's own time lets the index find those that are due.
WITH overdue AS (
    SELECT key FROM nightshift.open_message AS open
    WHERE rescue_at <= statement_timestamp()
      AND NOT EXISTS (SELECT FROM nightshift.outbox WHERE outbox.wakes = open.key)
    ORDER BY rescue_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
UPDATE nightshift.open_message AS open
SET rescues = rescues + 1,
    rescue_at = clock_timestamp()
        + least(interval '2 minutes' * 2 ^ least(rescues + 1, 10), interval '6 hours')
FROM overdue
WHERE open.key = overdue.key
RETURNING open.key, function, queue, gen, attempt, rescues, session_id, enqueued_at,
    properties::text AS "properties!", body
