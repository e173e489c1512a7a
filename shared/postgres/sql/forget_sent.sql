-- A message whose copy was sent late, after an outage, is not overdue yet. One that is being run at
-- this moment needs no more time.
WITH sent AS (DELETE FROM nightshift.outbox WHERE id = ANY($1::uuid[]) RETURNING wakes),
late AS (
    SELECT key FROM nightshift.open_message
    WHERE key IN (SELECT wakes FROM sent)
      AND rescue_at < clock_timestamp() + interval '2 minutes'
    FOR UPDATE SKIP LOCKED)
UPDATE nightshift.open_message AS open
SET rescue_at = clock_timestamp() + interval '2 minutes'
FROM late
WHERE open.key = late.key
