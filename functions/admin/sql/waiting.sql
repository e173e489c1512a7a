-- What waits, the newest first, before a place in the list: $3 of them, and which of them are wanted.
SELECT key, opened_at AS at,
    (($4::text IS NULL OR function = $4) AND ($5::text IS NULL OR reason = $5)) AS "is_wanted!"
FROM nightshift.open_message
WHERE (opened_at, key) < (coalesce($1, 'infinity'::timestamptz),
       coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
  AND ($6::uuid IS NULL OR key = $6)
ORDER BY opened_at DESC, key DESC
LIMIT $3
