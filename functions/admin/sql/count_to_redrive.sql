SELECT count(*) AS "all!",
    count(*) FILTER (WHERE queue IS NULL OR function = '' OR reason = 'broken-copy') AS "stuck!"
FROM nightshift.dead_letter
WHERE ($1::text IS NULL OR function = $1)
  AND ($2::text IS NULL OR fingerprint = $2)
  AND ($3::text IS NULL OR reason = $3)
  AND dead_at >= coalesce($4, '-infinity'::timestamptz)
  AND dead_at < coalesce($5, 'infinity'::timestamptz)
  AND ($6::text IS NULL OR concat_ws(' ', message_id, description) ILIKE $6)
  AND ($7::uuid[] IS NULL OR key = ANY($7))
