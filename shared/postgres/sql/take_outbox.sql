-- Takes messages whose turn has come, and makes it nobody else's for as long as one try may take:
-- 10 s, twice that after each failed one, at most 5 minutes.
WITH taken AS (
    SELECT id FROM nightshift.outbox
    WHERE next_try_at <= statement_timestamp()
    ORDER BY next_try_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED)
UPDATE nightshift.outbox
SET tries = tries + 1,
    next_try_at = clock_timestamp() + least(interval '10 seconds' * 2 ^ least(tries, 10), interval '5 minutes')
FROM taken
WHERE outbox.id = taken.id
RETURNING outbox.id, queue, message_id, session_id, due_at, properties::text AS "properties!", body,
    wakes
