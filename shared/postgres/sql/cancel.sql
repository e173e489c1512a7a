-- Nothing waits any more, which the inbox explains, and the run has ended: no epoch can write it. Idempotent
-- by key.
WITH closed AS (DELETE FROM nightshift.open_message WHERE key = $1),
started AS (DELETE FROM nightshift.lone_start WHERE key = $1),
noted AS (UPDATE nightshift.inbox SET skipped = $3 WHERE key = $1 AND enqueued_day = $2)
UPDATE nightshift.run
SET epoch = epoch + 1, cancelled = $3, changed_at = clock_timestamp(), ended_at = clock_timestamp()
WHERE key = $1
