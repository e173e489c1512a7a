-- The letters that died first, which are the transaction's from now on; what another one changes is left
-- to that.
SELECT key FROM nightshift.dead_letter
WHERE ($1::text IS NULL OR function = $1)
  AND ($2::text IS NULL OR fingerprint = $2)
  AND ($3::text IS NULL OR reason = $3)
  AND dead_at >= coalesce($4, '-infinity'::timestamptz)
  AND dead_at < coalesce($5, 'infinity'::timestamptz)
  AND ($6::text IS NULL OR concat_ws(' ', message_id, description) ILIKE $6)
  AND ($7::uuid[] IS NULL OR key = ANY($7))
  AND (NOT $9::boolean OR (queue IS NOT NULL AND function <> '' AND reason <> 'broken-copy'))
ORDER BY dead_at, key
LIMIT $8
FOR UPDATE SKIP LOCKED
