-- The tick that has waited longest. Under the schedule's lock, so nobody else releases it.
WITH next AS (
    SELECT id FROM nightshift.schedule_tick
    WHERE function = $1 AND state = 'buffered'
      AND NOT EXISTS (
          SELECT FROM nightshift.schedule_tick AS running
          WHERE running.function = $1 AND running.state = 'enqueued')
    ORDER BY written_at, due_at
    LIMIT 1)
UPDATE nightshift.schedule_tick AS tick
SET state = 'enqueued', sends = 1, resend_at = greatest(run_at, $2) + interval '15 minutes'
FROM next
WHERE tick.id = next.id
RETURNING tick.id, run_at, body AS "body!"
