-- Idempotent: what is gone is gone.
DELETE FROM nightshift.schedule_tick
WHERE id IN (
    SELECT id FROM nightshift.schedule_tick
    WHERE written_at < nightshift.now() - make_interval(days => $1)
      AND state NOT IN ('enqueued', 'buffered')
    ORDER BY written_at
    LIMIT $2)
