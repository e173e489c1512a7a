-- The newest runs that have not ended before a place in the list, $5 of them, and which of them are wanted.
-- Limits keep the server from reading all that waits and is dead to find what belongs to a few runs.
WITH looked AS (
    SELECT key, function, started_at, ended_at, cancelled, progress, report
    FROM nightshift.run
    WHERE started_at >= coalesce($1, '-infinity'::timestamptz)
      AND started_at < coalesce($2, 'infinity'::timestamptz)
      AND (started_at, key) < (coalesce($3, 'infinity'::timestamptz),
           coalesce($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
      AND ended_at IS NULL AND ($8::text IS NULL OR function = $8)
    ORDER BY started_at DESC, key DESC
    LIMIT $5)
SELECT looked.key AS "key!", looked.started_at AS "at!",
    (($6::text IS NULL OR $6 = CASE
            WHEN cancelled IS NOT NULL THEN 'cancelled'
            WHEN dead.key IS NOT NULL THEN 'dead'
            WHEN open.reason = 'calling' THEN 'running'
            WHEN open.key IS NOT NULL THEN 'waiting'
            ELSE 'done'
        END)
     AND ($7::text IS NULL OR concat_ws(' ', progress, report, cancelled, open.message_id,
            open.last_error, dead.message_id, dead.description) ILIKE $7)) AS "is_wanted!"
FROM looked
LEFT JOIN LATERAL (
    SELECT key, reason, message_id, last_error FROM nightshift.open_message
    WHERE key = looked.key LIMIT 1) AS open ON true
LEFT JOIN LATERAL (
    SELECT key, message_id, description FROM nightshift.dead_letter
    WHERE key = looked.key LIMIT 1) AS dead ON true
ORDER BY looked.started_at DESC, looked.key DESC
