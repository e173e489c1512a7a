-- The newest entries before a place in the list, $2 of them; of those that are not wanted only their place.
SELECT seq, at, actor, action, target, encode(hash, 'hex') AS "hash!",
    CASE WHEN ($3::text IS NULL OR actor = $3) AND ($4::text IS NULL OR action = $4)
              AND ($5::text IS NULL OR target = $5)
              AND at >= coalesce($6, '-infinity'::timestamptz)
              AND at < coalesce($7, 'infinity'::timestamptz)
         THEN details::text END AS details
FROM nightshift.audit
WHERE seq < coalesce($1, 9223372036854775807)
ORDER BY seq DESC
LIMIT $2
