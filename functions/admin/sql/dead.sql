-- The newest dead letters before a place in the list, $5 of them, and which of them are wanted.
SELECT key, dead_at AS at,
    (($6::text IS NULL OR reason = $6)
     AND ($7::text IS NULL OR concat_ws(' ', message_id, description) ILIKE $7)) AS "is_wanted!"
FROM nightshift.dead_letter
WHERE dead_at >= coalesce($1, '-infinity'::timestamptz)
  AND dead_at < coalesce($2, 'infinity'::timestamptz)
  AND (dead_at, key) < (coalesce($3, 'infinity'::timestamptz),
       coalesce($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
ORDER BY dead_at DESC, key DESC
LIMIT $5
