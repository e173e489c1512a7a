-- What became of keys that could not be claimed. A key that is not there was given up by its holder
-- in the meantime.
SELECT claim.key AS "key!", taken.body_hash = claim.body_hash AS "same_body!"
FROM unnest($1::uuid[], $3::uuid[]) AS claim (key, body_hash)
CROSS JOIN LATERAL (
    SELECT inbox.body_hash FROM nightshift.inbox
    WHERE inbox.key = claim.key AND inbox.enqueued_day IN ($2::date - 1, $2, $2 + 1)
    ORDER BY inbox.enqueued_day
    LIMIT 1
) AS taken
