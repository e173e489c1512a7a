-- Ticks whose message may have been lost (expired, purged): it is sent again with the same id, after
-- 15 minutes, 30, an hour, up to 6 hours. Where it was not lost, its claim recognises the second one.
UPDATE nightshift.schedule_tick
SET sends = sends + 1,
    resend_at = $2 + least(interval '15 minutes' * 2 ^ least(sends, 10), interval '6 hours')
WHERE id IN (
    SELECT id FROM nightshift.schedule_tick
    WHERE function = $1 AND state = 'enqueued' AND resend_at <= $2
    ORDER BY written_at, due_at
    LIMIT 100)
RETURNING id, run_at, body AS "body!"
