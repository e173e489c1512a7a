-- Idempotent: what has ended or was cancelled stays so.
UPDATE nightshift.schedule_tick
SET state = 'cancelled', why = $2, ended_at = $3, resend_at = NULL
WHERE function = $1 AND state = 'enqueued'
