-- Idempotent: what is done stays done, and what was cancelled stays cancelled. A failed one that is sent
-- again by hand may still be done.
UPDATE nightshift.schedule_tick
SET state = $2, why = $3, ended_at = nightshift.now(), resend_at = NULL
WHERE id = $1 AND (state = 'enqueued' OR state = 'failed' AND $2 = 'done')
