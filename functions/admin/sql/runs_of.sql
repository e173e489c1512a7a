-- The newest runs of a function before a place in the list, $5 of them, and which of them are wanted.
WITH looked AS (
    SELECT key, function, started_at, ended_at, cancelled, progress, report
    FROM nightshift.run
    WHERE started_at >= coalesce($1, '-infinity'::timestamptz)
      AND started_at < coalesce($2, 'infinity'::timestamptz)
      AND (started_at, key) < (coalesce($3, 'infinity'::timestamptz),
           coalesce($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
      AND function = $8
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
LEFT JOIN nightshift.open_message AS open ON open.key = looked.key
LEFT JOIN nightshift.dead_letter AS dead ON dead.key = looked.key
ORDER BY looked.started_at DESC, looked.key DESC
